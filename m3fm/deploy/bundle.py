"""What is in a bundle: the typed form of `bundle.json`, without torch.

A bundle describes itself: the predictor takes tasks, scales and limits from it, not from this package.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from m3fm.config.base import Config
from m3fm.config.model import Scale
from m3fm.config.sections import RegionsConfig
from m3fm.core.artifacts import check_files
from m3fm.core.errors import InputError
from m3fm.core.files import read_json
from m3fm.core.notice import NOTICE, PHANTOMS
from m3fm.ct.transforms import PREPROCESSING_VERSION

MANIFEST = "bundle.json"
FORMAT_VERSION = 5


class BundleTask(Config):
    """A task that the bundle answers; `m3fm.clinical.tasks.Task` says what the fields mean."""

    name: str
    title: str
    answers: tuple[str, ...]
    loss: Literal["softmax", "hazard", "digits"]
    scale: str | None
    region: Literal["one_lung", "heart", "both_lungs"] | None
    text: bool
    question: str | None
    """What is asked where the user does not; None where only the user can know."""


class Bundle(Config):
    """The manifest of a bundle."""

    format_version: int
    preprocessing_version: str
    tasks: tuple[BundleTask, ...]
    """In the order of the classes of the Task ID predictor, whose last class is a question of no task."""
    scales: dict[str, Scale]
    max_tokens: int
    max_question_tokens: int
    close_truncated: bool
    """Whether a text that is cut keeps its closing token."""
    regions: RegionsConfig
    """The source of the boxes of lungs and heart in training, which serving takes, too."""
    simulated: bool
    """Whether it was trained on simulated patients."""
    parity: dict[str, float]
    """By task, what no probability of the graphs differed from torch's by more than when it was exported."""
    lineage: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every other file."""

    @property
    def notice(self) -> str:
        """Notice that stands wherever answers are shown."""
        return f"{NOTICE}. {PHANTOMS}" if self.simulated else NOTICE

    def task(self, name: str) -> BundleTask:
        """Return a task by its name; raises InputError where the bundle has none of that name."""
        for task in self.tasks:
            if task.name == name:
                return task
        names = ", ".join(task.name for task in self.tasks)
        raise InputError(f"the bundle has no task {name!r}; there are {names}")


def read(directory: Path) -> Bundle:
    """Read the manifest of a bundle, once every file is found to be as it was written.

    Raises InputError for what is not a bundle, is damaged, or was made for another version of this package.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise InputError(f"{directory} is not a bundle: {MANIFEST} is missing; make one with m3fm export")
    check_files(directory)
    content = read_json(path)
    for key, expected in (
        ("format_version", FORMAT_VERSION),
        ("preprocessing_version", PREPROCESSING_VERSION),
    ):
        if content[key] != expected:
            raise InputError(
                f"{path}: {key} is {content[key]}, this m3fm does {expected}: export the model again"
            )
    return Bundle.model_validate(content)
