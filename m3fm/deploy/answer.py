"""An answer about one patient, as people and programs read it."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from m3fm.clinical.tasks import Region

if TYPE_CHECKING:
    from rich.table import Table

Probabilities = Mapping[str, Any]
"""A probability by answer, of a risk by year; of a number the ten probabilities of each digit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to one task, or the reason why there is none."""

    task: str
    """Name of the task, a key of `m3fm.TASKS`."""
    title: str
    question: str | None
    """The question as it was asked."""
    answer: str = ""
    """The most probable answer; of a risk the one of the last year; empty where the task was skipped."""
    probabilities: Probabilities = field(default_factory=dict)
    by_lung: Mapping[str, Probabilities] = field(default_factory=dict)
    """Probabilities of "left" and "right", where a task looks at each lung apart."""
    region: Region | None = None
    slices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """First slice index, and that after the last, which a nodule task looked at in each lung."""
    note: str = ""
    skipped: str = ""
    """Why the task was skipped; empty where it was answered."""
    notice: str = ""
    """What must stand wherever the answer is shown."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, for JSON."""
        return {**asdict(self), "slices": {side: list(pair) for side, pair in self.slices.items()}}

    def _repr_html_(self) -> str:
        return _html(to_table({self.task: self}, self.notice))


class Answers(dict[str, Answer]):
    """Answers by task, in the order of the bundle."""

    def _repr_html_(self) -> str:
        return _html(to_table(self, next((answer.notice for answer in self.values()), "")))


def to_table(answers: Mapping[str, Answer], notice: str) -> "Table":
    """Return one row per task: the answer and the probabilities (of "yes" alone), or why it was skipped."""
    from rich.markup import escape
    from rich.table import Table

    notes = sorted({answer.note for answer in answers.values() if answer.note})
    caption = [*(f"Nodules: {note}." for note in notes), "Probabilities are not calibrated.", f"{notice}."]
    table = Table(
        "task",
        "answer",
        "probability",
        caption=escape("\n".join(caption)),
        caption_justify="left",
        min_width=60,
    )
    if len(answers) == 1:
        table.title = escape(next(iter(answers.values())).question or "")
    for answer in answers.values():
        answered = "skipped" if answer.skipped else answer.answer
        table.add_row(escape(answer.title), escape(answered), escape(_probability(answer)))
    return table


def _probability(answer: Answer) -> str:
    """Describe the probabilities, of each lung too; or the reason where the task was skipped."""
    if answer.skipped:
        return answer.skipped
    if not all(isinstance(value, float) for value in answer.probabilities.values()):
        return ""
    listed = _listed(answer.probabilities)
    if "yes" in answer.probabilities and len(answer.by_lung) > 1:
        apart = [f"{side} lung {found['yes']:.3f}" for side, found in answer.by_lung.items()]
        return f"{listed} ({', '.join(apart)})"
    return listed


def _listed(probabilities: Probabilities) -> str:
    shown = {"yes": probabilities["yes"]} if "yes" in probabilities else probabilities
    return ", ".join(f"{answer} {value:.3f}" for answer, value in shown.items())


def _html(table: "Table") -> str:
    """Render a table as a notebook shows it."""
    from rich.console import Console

    # In a notebook rich would show the table itself, too.
    console = Console(record=True, file=io.StringIO(), width=110, force_jupyter=False)
    console.print(table)
    return console.export_html(inline_styles=True, code_format='<pre style="line-height:1.3">{code}</pre>')
