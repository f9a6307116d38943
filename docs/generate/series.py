"""Tables of curation and of the plan of a training step."""

from docs.generate.tables import code, table
from m3fm.cli.plan import WORKERS
from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.ct.geometry import REASONS
from m3fm.dataset.examine import CRASHED
from m3fm.training.costs import task_costs
from m3fm.training.planner import forecast, task_units
from m3fm.training.planner import table as planned


def reasons() -> str:
    """Return the table of reasons for which a series is rejected."""
    known = {
        **REASONS,
        CRASHED: "m3fm itself failed on it; `detail` names the place in the code. Please report it",
    }
    return table(
        ["reason", "the series is rejected because"], [[code(key), why] for key, why in known.items()]
    )


def plan(size: str) -> str:
    """Return what `m3fm plan` prints for a preset."""
    run = preset(size)
    units = task_units(TASKS.values(), run.train, task_costs(run))
    return planned(forecast(units, int(workers)) for workers in WORKERS.split(","))
