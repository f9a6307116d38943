"""The table of predictions, by m3fm or any other system: one row per sample and question."""

from pathlib import Path

from pydantic import TypeAdapter

from m3fm.clinical.tasks import TASKS, Task
from m3fm.core.errors import InputError

COLUMNS = (
    "exam",
    "patient",
    "task",
    "side",
    "nodule",
    "question",
    "probabilities",
    "label",
    "mask",
    "split",
    "model",
)
KEY = ["task", "exam", "side", "nodule", "question"]
"""The columns that distinguish predictions."""

BESIDE = "tasks.json"
"""File beside a table whose predictions are of tasks that are not in `m3fm.clinical.tasks`."""


def known_tasks(path: Path) -> dict[str, Task]:
    """Return the tasks that a table may predict: ours, and those that a file beside it describes."""
    beside = path.with_name(BESIDE)
    if not beside.is_file():
        return TASKS
    try:
        found = TypeAdapter(list[Task]).validate_json(beside.read_text())
    except ValueError as error:
        raise InputError(f"{beside} describes no tasks: {' '.join(str(error).split())}") from error
    return {**TASKS, **{task.name: task for task in found}}
