"""The report on one model: a single HTML page without scripts, fonts or images from elsewhere.

It names no exam and no patient, and holds no date: the same predictions give the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from m3fm.clinical.tasks import TASKS, Task
from m3fm.config.sections import EvaluateConfig
from m3fm.core.notice import NOTICE, PHANTOMS
from m3fm.evaluation import figures
from m3fm.evaluation.decisions import Decision, decisions, exact, patient_level, stacked

STYLE = """
:root { color: #1d2733; font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
body { margin: 0; background: #f4f6f8; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 24px 60px; }
section { background: #fff; border: 1px solid #dde3ea; border-radius: 8px; }
section { padding: 18px 22px; margin: 0 0 18px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 12px; }
h3 { font-size: 16px; margin: 0 0 2px; }
p { margin: 4px 0 10px; }
a { color: #0059a0; text-decoration: none; }
a:hover { text-decoration: underline; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid #edf0f4; }
th { font-weight: 600; color: #52606f; font-size: 13px; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.answer { white-space: nowrap; }
td.wide { overflow-wrap: anywhere; }
table.headline { width: 100%; }
tr.absent td { color: #6b7684; }
.average td { font-weight: 600; }
.notice { background: #fff4d6; border-left: 4px solid #d19a00; padding: 8px 14px; margin: 14px 0 20px; }
.muted { color: #5d6977; font-size: 13px; }
code { font-size: 12.5px; overflow-wrap: anywhere; }
.context { display: flex; flex-wrap: wrap; gap: 18px 40px; align-items: flex-start; }
.context > div { max-width: 100%; }
.figures { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: flex-start; margin-bottom: 8px; }
.side { flex: 1 1 0; min-width: 540px; }
figure { margin: 0; }
figcaption { font-size: 13px; color: #52606f; }
svg text { font-size: 11px; fill: #52606f; }
svg .name { font-size: 12px; }
svg .frame { fill: #fff; stroke: #9aa5b1; }
svg .tick { stroke: #e3e8ee; }
svg .chance { stroke: #6b7684; stroke-dasharray: 3 3; }
svg.bar, svg.swatch { vertical-align: middle; }
svg.plot { max-width: 100%; height: auto; }
table.confusion { margin-top: 14px; }
table.confusion td, table.confusion th { border: 1px solid #fff; padding: 5px 9px; text-align: center; }
table.confusion th.row { text-align: right; }
pre { background: #f4f6f8; padding: 10px; overflow-x: auto; font-size: 12px; }
summary { cursor: pointer; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def page(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    config: EvaluateConfig,
    context: dict[str, Any],
    history: Sequence[Mapping[str, float]],
) -> str:
    """The page for checked predictions and the table that was made of them; `history` is the training's."""
    sections = [
        _evaluated(predictions, context),
        _headlines(table, config),
        *([_training(history)] if history else []),
        *(
            _task(task, predictions[predictions["task"] == name], table[table["task"] == name])
            for name, task in TASKS.items()
        ),
    ]
    purpose = (
        "How well one model answers the tasks of lung cancer screening, each measured on patients of one"
        " split."
    )
    return framed("M3FM evaluation", purpose, sections, simulated=bool(context.get("simulated")))


def framed(title: str, purpose: str, sections: Sequence[str], *, simulated: bool) -> str:
    """A page of sections, with what must stand above any result."""
    phantoms = f"<br>{PHANTOMS}." if simulated else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="muted">{escape(purpose)}</p>\n<div class="notice">{NOTICE}.{phantoms}</div>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _evaluated(predictions: pd.DataFrame, context: dict[str, Any]) -> str:
    screening = predictions[[TASKS[name].kind != "retrieval" for name in predictions["task"]]]
    facts = {
        "model": str(predictions["model"].iloc[0]),
        "split": str(predictions["split"].iloc[0]),
        "patients": screening["patient"].nunique(),
        "exams": screening["exam"].nunique(),
        "predictions": len(predictions),
        **{name: value for name, value in context.items() if not isinstance(value, dict)},
    }
    parts = [f"<div>{_facts(facts)}</div>"]
    for name, value in context.items():
        if isinstance(value, dict):
            parts.append(_context_section(name, value))
    content = f'<div class="context">{"".join(parts)}</div>'
    return f'<section id="evaluated"><h2>What was evaluated</h2>{content}</section>'


MEANS = 60
"""Points of the training's curve at most: what is between them is averaged."""


def _training(history: Sequence[Mapping[str, float]]) -> str:
    """Losses of the training by step, of the samples that it saw and of those that it did not."""
    means = [
        (row["step"] + 1, {kind: _mean(row, kind) for kind in ("training", "validation")}) for row in history
    ]
    width = -(-len(means) // MEANS)
    parts = [means[start : start + width] for start in range(0, len(means), width)]
    curves = {
        "training": [(part[-1][0], float(np.mean([row["training"] for _, row in part]))) for part in parts],
        "validation": [(step, row["validation"]) for step, row in means if row["validation"] is not None],
    }
    drawn = {name: points for name, points in curves.items() if points}
    names = " &nbsp; ".join(f"{figures.swatch(number)} {name}" for number, name in enumerate(drawn))
    figure = _figure(figures.losses(drawn, len(history)), names)
    return (
        f'<section id="training"><h2>Training</h2><div class="figures">{figure}</div>'
        '<p class="muted">Training: with every random change of the samples. Validation: samples of the '
        "validation patients as they are. Both hold the loss of knowing which task was asked for.</p>"
        "</section>"
    )


def _mean(row: Mapping[str, float], kind: str) -> float | None:
    """The mean of a step's losses of the tasks, in training or in validation, if there are any."""
    prefix = "" if kind == "training" else f"{kind}/"
    losses = [row[f"{prefix}{name}"] for name in TASKS if f"{prefix}{name}" in row]
    return sum(losses) / len(losses) if losses else None


def _context_section(name: str, value: dict[str, Any]) -> str:
    """A section of the context: plain facts, a table where its values have facts of their own, else JSON."""
    inner = list(value.values())
    if not any(isinstance(entry, dict | list) for entry in inner):
        return f"<div><h3>{escape(name)}</h3>{_facts(value)}</div>"
    if all(isinstance(entry, dict) and entry.keys() == inner[0].keys() for entry in inner) and not any(
        isinstance(cell, dict | list) for entry in inner for cell in entry.values()
    ):
        head = "".join(f'<th class="number">{escape(str(column))}</th>' for column in inner[0])
        rows = "".join(
            f"<tr><td>{escape(str(key))}</td>"
            + "".join(f'<td class="number">{escape(str(cell))}</td>' for cell in entry.values())
            + "</tr>"
            for key, entry in value.items()
        )
        return f"<div><h3>{escape(name)}</h3><table><tr><th></th>{head}</tr>{rows}</table></div>"
    text = escape(json.dumps(value, indent=2, sort_keys=True))
    return f"<div><details><summary>{escape(name)}</summary><pre>{text}</pre></details></div>"


def _facts(facts: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th>{escape(str(name))}</th><td class="wide">{_fact(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def _fact(value: Any) -> str:
    text = escape(str(value))
    return f"<code>{text}</code>" if isinstance(value, str) and len(text) > 24 else text


def _headlines(table: pd.DataFrame, config: EvaluateConfig) -> str:
    rows = "".join(_headline(row) for row in table[table["headline"]].itertuples())
    return (
        '<section id="results"><h2>Results</h2><table class="headline"><tr><th>task</th>'
        '<th class="number">patients</th><th class="number">samples</th><th>measure</th>'
        f'<th class="number">value</th><th class="number">{config.level:.0%} interval</th>'
        f"<th>0 to 1, chance dashed</th></tr>{rows}</table>"
        f'<p class="muted">{_method(config)}</p></section>'
    )


def _method(config: EvaluateConfig) -> str:
    """How the numbers came about, for a reader who decides on them."""
    return (
        "AUC: area under the ROC curve; a task with several answers or years has the mean of their areas. "
        f"Interval: percentiles of {config.resamples} resamples of patients (seed {config.seed}); a resample "
        "without positives or without negatives is left out; how many were stands below. At an area of 1 an "
        "interval shrinks to a point and says little. Grey: chance is inside it. *: few patients of one "
        "class, or an answer that could not be measured; see the task."
    )


def _headline(row: Any) -> str:
    name = f'<td><a href="#{row.task}">{escape(row.title)}</a></td>'
    counts = f'<td class="number">{row.patients}</td><td class="number">{row.samples}</td>'
    if np.isnan(row.auc):
        return f'<tr class="absent">{name}{counts}<td colspan="4">not evaluated: {escape(row.note)}</td></tr>'
    measure = "mean AUC" if row.answer == "average" else row.metric
    bar = figures.interval_bar(row.auc, row.low, row.high, 0.5 if row.metric == "AUC" else None)
    return (
        f'<tr>{name}{counts}<td>{measure}</td><td class="number">{row.auc:.3f}</td>'
        f'<td class="number">{row.low:.3f}–{row.high:.3f}{"*" if row.note else ""}</td><td>{bar}</td></tr>'
    )


def _task(task: Task, rows: pd.DataFrame, table: pd.DataFrame) -> str:
    image = (task.region or "none, text alone").replace("_", " ")
    head = f'<h2>{escape(task.title)}</h2><p class="muted">Image: {image}. Labels: {escape(task.source)}.</p>'
    if rows.empty:
        return f'<section id="{task.name}">{head}<p>Not evaluated: no predictions.</p></section>'
    rows = patient_level(task, rows)
    content = _digits(rows) + _answers(table) if task.loss == "digits" else _measured(task, rows, table)
    return f'<section id="{task.name}">{head}{content}</section>'


def _measured(task: Task, rows: pd.DataFrame, table: pd.DataFrame) -> str:
    """Curves, scores and the table of a task that is measured by AUC."""
    asked = decisions(task, rows)
    curves, answers = _curves(task, asked), _answers(table)
    if task.loss == "softmax" and not task.binary:
        side = f'<div class="side">{answers}{_confusion(task, rows)}</div>'
        return f'<div class="figures">{curves}{side}</div>'
    axis = f"risk within {asked[-1].answer}" if task.loss == "hazard" else "probability of yes"
    return f'<div class="figures">{curves}{_scores(task, asked[-1], axis)}</div>{answers}'


def _curves(task: Task, asked: list[Decision]) -> str:
    from sklearn.metrics import roc_curve

    curves = []
    for decision in asked:
        rates = (np.empty(0), np.empty(0))
        if not decision.obstacle:
            rates = roc_curve(decision.positive, decision.score)[:2]
        curves.append(figures.Curve(decision.answer, *rates))
    return _figure(figures.roc(curves, task.title), "")


def _scores(task: Task, decision: Decision, axis: str) -> str:
    drawing = figures.histogram(decision.positive, decision.score, task.title, axis)
    return _figure(drawing, f"{figures.key(0)} negative &nbsp; {figures.key(1)} positive")


def _confusion(task: Task, rows: pd.DataFrame) -> str:
    """A table of the label against the most probable answer; darker is a larger fraction of its row."""
    count = len(task.answers)
    label = stacked(rows, "label")[:, 0].astype(int)
    chosen = stacked(rows, "probabilities").argmax(axis=1)
    counts = np.bincount(label * count + chosen, minlength=count**2).reshape(count, count)
    head = "".join(f"<th>{escape(answer)}</th>" for answer in task.answers)
    lines = []
    for answer, line in zip(task.answers, counts):
        shades = 0.06 + 0.5 * line / max(line.sum(), 1)
        cells = "".join(
            f'<td style="background:rgba(0,114,178,{shade:.2f})">{samples}</td>'
            for samples, shade in zip(line, shades)
        )
        lines.append(f'<tr><th class="row">{escape(answer)}</th>{cells}</tr>')
    return (
        f'<figure><table class="confusion"><tr><th></th>{head}</tr>{"".join(lines)}</table>'
        "<figcaption>rows: label, columns: most probable answer (samples)</figcaption></figure>"
    )


def _digits(rows: pd.DataFrame) -> str:
    digits = stacked(rows, "probabilities").reshape(-1, 3, 10).argmax(axis=2)
    right = (digits == stacked(rows, "label")).mean(axis=0)
    cells = "".join(
        f"<tr><td>{name}</td><td class='number'>{fraction:.3f}</td></tr>"
        for name, fraction in zip(("hundreds", "tens", "ones", "all three"), [*right, exact(rows).mean()])
    )
    return f'<table><tr><th>digit</th><th class="number">fraction right</th></tr>{cells}</table>'


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def _answers(table: pd.DataFrame) -> str:
    columns = ("patients", "samples", "positive", table["metric"].iloc[0], "interval", "left out")
    head = "".join(f'<th class="number">{name}</th>' for name in columns)
    rows, notes = [], []
    for number, row in enumerate(table.itertuples()):
        average = row.answer == "average"
        swatch = "" if average or row.metric != "AUC" else figures.swatch(number)
        values = [row.patients, row.samples, "" if pd.isna(row.positives) else row.positives]
        if np.isnan(row.auc):
            values += ["–", "–", "–"]
        else:
            values += [f"{row.auc:.3f}", f"{row.low:.3f}–{row.high:.3f}", row.left_out]
        cells = "".join(f'<td class="number">{value}</td>' for value in values)
        kind = ' class="average"' if average else ""
        rows.append(f'<tr{kind}><td class="answer">{swatch} {escape(row.answer)}</td>{cells}</tr>')
        notes += [f"{row.answer}: {row.note}"] if row.note else []
    remarks = f'<p class="muted">{"<br>".join(map(escape, notes))}</p>' if notes else ""
    return f"<table><tr><th>answer</th>{head}</tr>{''.join(rows)}</table>{remarks}"
