"""The file that describes a new task: its questions, its region, and the table with the answers."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from m3fm.clinical.tasks import TASKS, Region, Task
from m3fm.config.base import Config, first_problem
from m3fm.config.model import ModelConfig, Scale
from m3fm.core.errors import InputError
from m3fm.core.files import read_yaml

Text = Annotated[str, Field(min_length=1)]


class TableFile(Config):
    """The table of a new task: a row for each exam, with its label and clinical variables."""

    file: Path
    """CSV; relative to the task's file."""
    patient: Text
    """Column of the patient's identifier, as in the source that was curated."""
    timepoint: Text | None = None
    """Column of the exam's number (NLST: the screening year, 0, 1 or 2)."""
    series: Text | None = None
    """Column of the SeriesInstanceUID of one of the exam's series. Neither given: the first exam."""
    side: Text | None = None
    """Column of the lung, `left` or `right`; only where the region is one lung."""
    label: Text
    """Column of the answer, one of `answers`; a row without one is left out."""

    @property
    def identifying(self) -> set[str]:
        """Columns that identify a row's exam."""
        return {name for name in (self.patient, self.timepoint, self.series, self.side) if name is not None}


class TaskFile(Config):
    """A new task, described by a YAML file."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    title: Text
    answers: tuple[Text, ...] = Field(min_length=2)
    questions: tuple[Text, ...] = Field(min_length=1)
    """Training asks one at random, evaluation the first."""
    region: Region
    scale: Annotated[
        Annotated[str, Tag("name")] | Annotated[Scale, Tag("new")],
        Discriminator(lambda value: "name" if isinstance(value, str) else "new"),
    ]
    """Name of one of the model's scales, or a new one (shape, patch, hu_window) with a new tokenizer."""
    table: TableFile
    clinical: dict[str, Text]
    """A sentence for each column of clinical variables, with `{}` for the value."""

    @model_validator(mode="after")
    def _columns_and_sentences_fit(self) -> Self:
        if self.name in TASKS:
            raise ValueError(f"name: {self.name} is a task that the model has already; choose another")
        if len({answer.lower() for answer in self.answers}) < len(self.answers):
            raise ValueError("answers: two of them are the same; make them differ")
        if (self.region == "one_lung") != (self.table.side is not None):
            raise ValueError("table.side: name the column of the lung if region is one_lung, and only then")
        if self.table.timepoint is not None and self.table.series is not None:
            raise ValueError("table: give timepoint or series, not both")
        if not self.clinical:
            raise ValueError("clinical: name at least one column of clinical variables")
        for column, sentence in self.clinical.items():
            if re.findall("[{}]+", sentence) != ["{}"]:
                raise ValueError(f"clinical.{column}: the sentence must hold {{}} once, for the value")
        for column in {*self.clinical, self.table.label} & self.table.identifying:
            raise ValueError(f"{column} identifies the exam: it cannot be the label or a clinical variable")
        if self.table.label in self.clinical:
            raise ValueError(f"clinical.{self.table.label}: that is the label; remove it here")
        return self

    @property
    def scale_name(self) -> str:
        """Name of the scale in the model; a new one has the task's name."""
        return self.scale if isinstance(self.scale, str) else self.name

    def task(self) -> Task:
        """Return the task, with a head of its own."""
        return Task(
            name=self.name,
            title=self.title,
            answers=self.answers,
            head=self.name,
            scale=self.scale_name,
            region=self.region,
            source="table",
            kind="transfer",
        )

    def model(self, config: ModelConfig) -> ModelConfig:
        """Return the configuration to fine-tune: with this task's scale only, without the Task ID predictor.

        Raises InputError where the task names a scale that the model does not have.
        """
        if isinstance(self.scale, Scale):
            scale = self.scale
        elif self.scale == "nodule":
            raise InputError(
                f"{self.name}, scale: nodule needs the slice of a nodule; name another, or describe a new one"
            )
        elif self.scale in config.scales:
            scale = config.scales[self.scale]
        else:
            raise InputError(
                f"{self.name}, scale: the model has no scale {self.scale!r};"
                f" it has {', '.join(config.scales)}"
            )
        return config.model_copy(update={"scales": {self.scale_name: scale}, "task_id": False})


def read(path: Path) -> TaskFile:
    """Read a task's file, with the table's path made relative to the current directory.

    Raises InputError that names the file, the key and the reason.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} does not describe a task: it needs keys such as name, answers and table")
    answers = content.get("answers")
    if isinstance(answers, list) and any(isinstance(answer, bool) for answer in answers):
        raise InputError(f'{path}, answers: YAML reads yes and no as true and false; write ["no", "yes"]')
    try:
        found = TaskFile.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}, {first_problem(error, TaskFile)}") from error
    table = found.table.model_copy(update={"file": path.parent / found.table.file})
    return found.model_copy(update={"table": table})
