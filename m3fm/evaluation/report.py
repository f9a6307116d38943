"""The report on one model: a single HTML page without scripts, fonts or images from elsewhere.

It names no exam and no patient, and holds no date: the same predictions give the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from m3fm.clinical.tasks import TASKS, Task
from m3fm.config.sections import EvaluateConfig
from m3fm.core.templates import render
from m3fm.evaluation import figures
from m3fm.evaluation.decisions import Decision, decisions, exact, patient_level, stacked

TITLE = "M3FM evaluation"
PURPOSE = (
    "How well one model answers the tasks of lung cancer screening, each measured on patients of one split."
)
TRAINING_POINTS = 60
"""Most points of the training's curve; each is the mean of the steps up to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSection:
    """A section of the context: plain facts, a table of facts with `columns`, or else JSON."""

    name: str
    facts: Mapping[str, Any]
    columns: Sequence[str] = ()
    json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingView:
    """The losses of the training."""

    names: Sequence[str]
    drawing: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """Content of a task's section; without predictions it has no figures."""

    task: Task
    rows: Sequence[Mapping[str, Any]]
    """Rows of the table of results; None where a value is missing."""
    roc: Markup | None = None
    scores: Markup | None = None
    confusion: Sequence[tuple[str, Sequence[tuple[int, float]]]] = ()
    """For each label the samples by most probable answer, each with its shade."""
    digits: Mapping[str, float] = field(default_factory=dict)
    """Fraction of right samples by the digit's name."""


def page(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    config: EvaluateConfig,
    context: dict[str, Any],
    history: Sequence[Mapping[str, float]],
) -> str:
    """Render the page for checked predictions and their table; `history` has the training's losses."""
    return render(
        "evaluation/templates/report.html.jinja",
        title=TITLE,
        purpose=PURPOSE,
        simulated=bool(context.get("simulated")),
        curves=list(zip(figures.COLOURS, figures.DASHES)),
        config=config,
        facts=_facts(predictions, context),
        context=[_section(name, value) for name, value in context.items() if isinstance(value, dict)],
        headlines=_records(table[table["headline"]]),
        training=_training(history) if history else None,
        tasks=[
            _task(task, predictions[predictions["task"] == name], table[table["task"] == name])
            for name, task in TASKS.items()
        ],
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table, with None where a value is missing."""
    records: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return records


def _facts(predictions: pd.DataFrame, context: dict[str, Any]) -> dict[str, Any]:
    screening = predictions[[TASKS[name].kind != "retrieval" for name in predictions["task"]]]
    return {
        "model": str(predictions["model"].iloc[0]),
        "split": str(predictions["split"].iloc[0]),
        "patients": screening["patient"].nunique(),
        "exams": screening["exam"].nunique(),
        "predictions": len(predictions),
        **{name: value for name, value in context.items() if not isinstance(value, dict)},
    }


def _section(name: str, facts: dict[str, Any]) -> ContextSection:
    """Show plain facts as they are, facts of the same kind as a table, and anything deeper as JSON."""
    inner = list(facts.values())
    if not any(isinstance(entry, dict | list) for entry in inner):
        return ContextSection(name=name, facts=facts)
    if all(isinstance(entry, dict) and entry.keys() == inner[0].keys() for entry in inner) and not any(
        isinstance(cell, dict | list) for entry in inner for cell in entry.values()
    ):
        return ContextSection(name=name, facts=facts, columns=list(inner[0]))
    return ContextSection(name=name, facts=facts, json=json.dumps(facts, indent=2, sort_keys=True))


def _training(history: Sequence[Mapping[str, float]]) -> TrainingView:
    """Draw the losses of the training samples and of the validation samples by step."""
    means = [
        (row["step"] + 1, {kind: _mean(row, kind) for kind in ("training", "validation")}) for row in history
    ]
    width = -(-len(means) // TRAINING_POINTS)
    parts = [means[start : start + width] for start in range(0, len(means), width)]
    curves = {
        "training": [(part[-1][0], float(np.mean([row["training"] for _, row in part]))) for part in parts],
        "validation": [(step, row["validation"]) for step, row in means if row["validation"] is not None],
    }
    drawn = {name: points for name, points in curves.items() if points}
    return TrainingView(names=list(drawn), drawing=figures.losses("losses", drawn, len(history)))


def _mean(row: Mapping[str, float], kind: str) -> float | None:
    """Average a step's losses over the tasks, in training or in validation; None where it has none."""
    prefix = "" if kind == "training" else f"{kind}/"
    losses = [row[f"{prefix}{name}"] for name in TASKS if f"{prefix}{name}" in row]
    return sum(losses) / len(losses) if losses else None


def _task(task: Task, rows: pd.DataFrame, table: pd.DataFrame) -> TaskView:
    records = _records(table)
    if rows.empty:
        return TaskView(task=task, rows=records)
    rows = patient_level(task, rows)
    if task.loss == "digits":
        return TaskView(task=task, rows=records, digits=_digits(rows))
    asked = decisions(task, rows)
    roc = _curves(task, asked)
    if task.loss == "softmax" and not task.binary:
        return TaskView(task=task, rows=records, roc=roc, confusion=_confusion(task, rows))
    return TaskView(task=task, rows=records, roc=roc, scores=_scores(task, asked[-1]))


def _curves(task: Task, asked: list[Decision]) -> Markup:
    from sklearn.metrics import roc_curve

    curves = []
    for decision in asked:
        rates = (np.empty(0), np.empty(0))
        if not decision.obstacle:
            rates = roc_curve(decision.positive, decision.score)[:2]
        curves.append(figures.Curve(decision.answer, *rates))
    return figures.roc(f"{task.name}-roc", curves, task.title)


def _scores(task: Task, decision: Decision) -> Markup:
    axis = f"risk within {decision.answer}" if task.loss == "hazard" else "probability of yes"
    return figures.histogram(f"{task.name}-scores", decision.positive, decision.score, task.title, axis)


def _confusion(task: Task, rows: pd.DataFrame) -> list[tuple[str, list[tuple[int, float]]]]:
    """Count the label against the most probable answer; a larger fraction of its row is darker."""
    count = len(task.answers)
    label = stacked(rows, "label")[:, 0].astype(int)
    chosen = stacked(rows, "probabilities").argmax(axis=1)
    counts = np.bincount(label * count + chosen, minlength=count**2).reshape(count, count)
    shades = 0.06 + 0.5 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        (answer, list(zip(line.tolist(), shade.tolist())))
        for answer, line, shade in zip(task.answers, counts, shades)
    ]


def _digits(rows: pd.DataFrame) -> dict[str, float]:
    digits = stacked(rows, "probabilities").reshape(-1, 3, 10).argmax(axis=2)
    right = (digits == stacked(rows, "label")).mean(axis=0)
    return dict(zip(("hundreds", "tens", "ones", "all three"), [*right, exact(rows).mean()]))
