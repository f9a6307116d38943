"""From predictions to a table of results, and to the evaluation directory.

Each answer has an AUC against the rest. A task with several answers, or several years, has one more row:
`average`, the mean of its answers' AUCs (as in the paper's Table 1), with an interval from the same
resamples. Three digits are not ranked, so `clinical_number` has the fraction of exactly right numbers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3fm.clinical.tasks import TASKS, Task
from m3fm.config.sections import EvaluateConfig
from m3fm.core.artifacts import seal, written_whole
from m3fm.evaluation import report
from m3fm.evaluation.auc import ExactMatch, Ranking, bootstrap, interval, observed, seeded
from m3fm.evaluation.decisions import checked, decisions, exact, patient_indices, patient_level

SCHEMA_VERSION = 1
AUC, EXACT = "AUC", "exact match"


def summarise(predictions: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Return a table with a row for each answer and each average; every known task has at least one.

    Columns: task, title, answer, metric ("AUC" or "exact match"), headline (bool: the one row that stands
    for the task), patients, samples, positives (missing for averages), auc (the metric's value), low, high,
    left_out (resamples without a value), note (why the value is missing, or a warning).
    Raises InputError for predictions that cannot be used.
    """
    rows = checked(predictions)
    records = []
    for task in TASKS.values():
        records += _task_records(task, rows[rows["task"] == task.name], config)
    return pd.DataFrame.from_records(records).astype({"positives": "Int64"})


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task, indexed by its name: task (title), patients, AUC, low, high."""
    rows = table[table["headline"]].set_index("task")
    other = rows["metric"] != AUC
    rows["title"] = rows["title"].where(~other, rows["title"] + " (" + rows["metric"] + ")")
    return rows[["title", "patients", "auc", "low", "high"]].rename(columns={"title": "task", "auc": "AUC"})


def evaluate(
    predictions: pd.DataFrame,
    out: Path,
    config: EvaluateConfig,
    context: dict[str, Any],
    history: Sequence[Mapping[str, float]] = (),
) -> None:
    """Write the evaluation directory: predictions, metrics, report and manifest.

    `context` describes what was evaluated (JSON values: text, numbers, one level of sections); it goes into
    the report and the manifest and must name no patient. `history` has the training's losses by step, for the
    report.
    """
    rows = checked(predictions)
    table = summarise(rows, config)
    with written_whole(out) as partial:
        rows.to_parquet(partial / "predictions.parquet", index=False)
        table.to_parquet(partial / "metrics.parquet", index=False)
        page = report.page(rows, table, config, context, history)
        (partial / "report.html").write_text(page, encoding="utf-8")
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "model": rows["model"].iloc[0],
            "split": rows["split"].iloc[0],
            "config": config.model_dump(mode="json"),
            "context": context,
            "table": table.astype(object).where(table.notna(), None).to_dict("records"),
        }
        seal(partial, "evaluation.json", manifest)


def _task_records(task: Task, rows: pd.DataFrame, config: EvaluateConfig) -> list[dict[str, Any]]:
    if rows.empty:
        empty = _record(task, "", AUC, headline=True, patients=0, samples=0, note="no predictions")
        return [empty]
    rows = patient_level(task, rows)
    if task.loss == "digits":
        return [_exact_record(task, rows, config)]
    return _auc_records(task, rows, config)


def _exact_record(task: Task, rows: pd.DataFrame, config: EvaluateConfig) -> dict[str, Any]:
    patients = rows["patient"].nunique()
    match = ExactMatch(exact(rows), patient_indices(rows))
    values = bootstrap([match], patients, config.resamples, seeded(config.seed, task.name))[:, 0]
    return _record(
        task,
        "exact",
        EXACT,
        headline=True,
        patients=patients,
        samples=len(rows),
        positives=int(match.right.sum()),
        value=observed(match, patients),
        resampled=values,
        level=config.level,
    )


def _auc_records(task: Task, rows: pd.DataFrame, config: EvaluateConfig) -> list[dict[str, Any]]:
    patients = rows["patient"].nunique()
    asked = decisions(task, rows)
    possible = [decision for decision in asked if not decision.obstacle]
    rankings = [Ranking.of(decision.positive, decision.score, decision.patient) for decision in possible]
    resampled = bootstrap(rankings, patients, config.resamples, seeded(config.seed, task.name))
    found = {
        decision.answer: (observed(ranking, patients), values)
        for decision, ranking, values in zip(possible, rankings, resampled.T)
    }
    records = []
    for decision in asked:
        value, values = found.get(decision.answer, (np.nan, None))
        records.append(
            _record(
                task,
                decision.answer,
                AUC,
                headline=len(asked) == 1,
                patients=len(np.unique(decision.patient)),
                samples=len(decision.positive),
                positives=int(decision.positive.sum()),
                value=value,
                resampled=values,
                level=config.level,
                note=decision.obstacle or decision.remark,
            )
        )
    if len(asked) > 1:
        absent = [decision.answer for decision in asked if decision.obstacle]
        rough = [decision.answer for decision in possible if decision.remark]
        notes = [f"without {', '.join(absent)}"] if absent else []
        notes += [f"rough interval: few patients of one class for {', '.join(rough)}"] if rough else []
        records.append(
            _record(
                task,
                "average",
                AUC,
                headline=True,
                patients=patients,
                samples=len(rows),
                value=float(np.mean([value for value, _ in found.values()])) if found else np.nan,
                resampled=resampled.mean(axis=1) if found else None,
                level=config.level,
                note="; ".join(notes),
            )
        )
    return records


def _record(
    task: Task,
    answer: str,
    metric: str,
    *,
    headline: bool,
    patients: int,
    samples: int,
    positives: int | None = None,
    value: float = np.nan,
    resampled: np.ndarray | None = None,
    level: float = 0.95,
    note: str = "",
) -> dict[str, Any]:
    low, high, left_out = (np.nan, np.nan, 0) if resampled is None else interval(resampled, level)
    return {
        "task": task.name,
        "title": task.title,
        "answer": answer,
        "metric": metric,
        "headline": headline,
        "patients": patients,
        "samples": samples,
        "positives": positives,
        "auc": value,
        "low": low,
        "high": high,
        "left_out": left_out,
        "note": note,
    }
