"""The table of predictions, made by m3fm or another system: one row per sample and question."""

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
"""Columns that identify a prediction."""

TASKS_FILE = "tasks.json"
"""File beside a table that describes the tasks which are not in `m3fm.clinical.tasks`."""


def known_tasks(path: Path) -> dict[str, Task]:
    """Return the tasks that a table may predict: those of M3FM, and those that a file beside it describes.

    Raises InputError where that file does not describe tasks.
    """
    beside = path.with_name(TASKS_FILE)
    if not beside.is_file():
        return TASKS
    try:
        found = TypeAdapter(list[Task]).validate_json(beside.read_text())
    except ValueError as error:
        raise InputError(f"{beside} does not describe tasks: {' '.join(str(error).split())}") from error
    return {**TASKS, **{task.name: task for task in found}}
