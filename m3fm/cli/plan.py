"""The command that shows how workers share an optimiser step, and measures the costs behind the plan."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from m3fm.cli.app import STEPS, AsJson, Params, app, enter_state, load_config
from m3fm.core.errors import InputError

if TYPE_CHECKING:
    from m3fm.config.sections import RunConfig

WORKERS = "2,3,4,6,8,12,16,19,24,32,48,64,96,128,192,256,384,512"


@app.command(rich_help_panel=STEPS)
def plan(
    workers: Annotated[
        str, typer.Option(help="Numbers of workers to compare, separated by commas.")
    ] = WORKERS,
    assignments: Annotated[
        bool, typer.Option("--assignments", help="Show the micro-batches of each configured worker.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time each scale here, and print the costs for params.yaml.")
    ] = False,
    repeats: Annotated[
        int, typer.Option(min=1, help="Number of timings of which --measure takes the median.")
    ] = 5,
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the duration of a multitask step for several numbers of workers, from the configured costs.

    The estimate covers the forward and backward passes, not gradient reduction or the update. It is in
    seconds if costs were measured, otherwise in operations. Nothing runs without --measure.
    """
    run = load_config(params)
    if measure:
        _measure(run, repeats, as_json)
    else:
        _show(run, _numbers(workers), assignments, as_json)


def _numbers(workers: str) -> list[int]:
    try:
        numbers = [int(part) for part in workers.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise InputError(
            f"--workers is {workers!r}; pass positive integers separated by commas, such as 2,4,8"
        )
    return numbers


def _show(run: "RunConfig", workers: list[int], assignments: bool, as_json: bool) -> None:
    from m3fm.clinical.tasks import TASKS
    from m3fm.training.costs import task_costs
    from m3fm.training.planner import assign, forecast, table, task_units

    units = task_units(TASKS.values(), run.train, task_costs(run))
    found = [forecast(units, number) for number in workers]
    who = [Counter(unit.name for unit in work) for work in assign(units, run.launch.workers)]
    if as_json:
        print(json.dumps({"forecasts": [one.to_dict() for one in found], "assignments": who}))
        return
    print(f"{len(units)} micro-batches, {sum(unit.cost for unit in units):.4g} {_unit(run)} of work\n")
    print(table(found))
    if assignments:
        print(f"\nOf {len(who)} workers, each with its micro-batches by task:")
        for worker, work in enumerate(who):
            print(f"{worker}: {', '.join(f'{name} {count}' for name, count in work.items()) or 'nothing'}")


def _unit(run: "RunConfig") -> str:
    return "seconds" if run.launch.costs.train else "operations"


def _measure(run: "RunConfig", repeats: int, as_json: bool) -> None:
    enter_state()
    import torch

    from m3fm.training.measure import measure_costs

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    costs = measure_costs(run, device, repeats).model_dump()
    if as_json:
        print(json.dumps(costs))
        return
    where = "processor time of a CPU, float32"
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name()}, {run.launch.precision}"
    print(f"# Seconds of one sample of {run.preset}: {where}, torch {torch.__version__}")
    print("launch:\n  costs:")
    for part, seconds in costs.items():
        print(f"    {part}: {{{', '.join(f'{name}: {value}' for name, value in seconds.items())}}}")
