"""The answers of `run_predict` for people; `m3fm.core.artifacts.to_json` is for programs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def to_table(result: dict[str, Any]) -> "Table":
    """One row per task: the probability of each answer (of "yes" alone), or why the task was skipped."""
    from rich.markup import escape
    from rich.table import Table

    answers = list(result["answers"].values())
    notes = sorted({answer["note"] for answer in answers if "note" in answer})
    caption = [f"Nodules: {note}." for note in notes]
    caption += ["Probabilities are not calibrated.", f"{result['notice']}."]
    table = Table("task", "answer", caption="\n".join(caption), caption_justify="left", min_width=60)
    if len(answers) == 1:
        table.title = escape(answers[0]["question"] or "")
    for answer in answers:
        table.add_row(answer["title"], escape(_said(answer)))
    return table


def _said(answer: dict[str, Any]) -> str:
    if "skipped" in answer:
        return f"skipped: {answer['skipped']}"
    if "number" in answer:
        return str(answer["number"])
    said, lungs = _listed(answer["probabilities"]), answer.get("lungs", {})
    if "yes" in answer["probabilities"] and len(lungs) > 1:
        apart = [f"{side} lung {found['yes']:.3f}" for side, found in lungs.items()]
        said += f" ({', '.join(apart)})"
    return said


def _listed(probabilities: dict[str, float]) -> str:
    shown = {"yes": probabilities["yes"]} if "yes" in probabilities else probabilities
    return ", ".join(f"{answer} {value:.3f}" for answer, value in shown.items())
