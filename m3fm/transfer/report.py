"""The results of fine-tuning: the table, the verdict in words, the page, and the predictions of every row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from m3fm.core.files import text_digest, to_json
from m3fm.core.templates import render
from m3fm.dataset.prediction_table import TASKS_FILE
from m3fm.evaluation import figures
from m3fm.transfer.rows import Case, Fold
from m3fm.transfer.task_file import TaskFile

ROWS = {
    "reference": "Reference nomogram",
    "ct": "CT only",
    "clinical": "Clinical only",
    "scratch": "Both, from scratch",
    "pretrained": "Both, pretrained",
}
"""Titles of the rows; the reference reads both, too."""


def auc(answers: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the AUC of the second of two answers; of more answers, the mean of each against the rest.

    `answers` are [rows], `probabilities` [rows, answers].
    """
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(answers, probabilities[:, 1]))
    each = [roc_auc_score(answers == answer, column) for answer, column in enumerate(probabilities.T)]
    return float(np.mean(each))


def table(
    cases: Sequence[Case], folds: Sequence[Fold], probabilities: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return a table of each model's AUC by fold, with mean and standard deviation (n - 1).

    `probabilities` holds [rows, answers] by model.
    """
    answers = np.array([case.answer for case in cases])
    rows = []
    for name, found in probabilities.items():
        each = [auc(answers[list(tested)], found[list(tested)]) for _, tested in folds]
        rows.append(
            {
                "row": name,
                "title": ROWS[name],
                "auc": float(np.mean(each)),
                "deviation": float(np.std(each, ddof=1)),
                "folds": each,
            }
        )
    return rows


def measures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the table as MLflow's metrics: `auc/ROW` and `auc_deviation/ROW`."""
    means = {f"auc/{row['row']}": row["auc"] for row in rows}
    return means | {f"auc_deviation/{row['row']}": row["deviation"] for row in rows}


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on whether the fine-tuned model (last row) beats the reference (first row)."""
    reference, tuned = rows[0], rows[-1]
    beats = "beats" if tuned["auc"] > reference["auc"] else "does not beat"
    better = sum(a > b for a, b in zip(tuned["folds"], reference["folds"]))
    spread = max(reference["deviation"], tuned["deviation"])
    close = abs(tuned["auc"] - reference["auc"]) < spread
    return (
        f"The fine-tuned model ({tuned['title']}) {beats} the reference row: mean AUC {tuned['auc']:.3f}"
        f" against {reference['auc']:.3f}, higher in {better} of {len(tuned['folds'])} folds"
        + ("; the difference is smaller than the spread of the folds." if close else ".")
    )


def write(
    out: Path,
    task: TaskFile,
    cases: Sequence[Case],
    folds: Sequence[Fold],
    probabilities: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the page and the predictions; return the content of the manifest.

    `probabilities` holds [rows, answers] by model. `about` holds `simulated`, `left_out` (number of rows of
    the table, by the reason) and `seen` (number of patients that the checkpoint may have been trained on).
    """
    rows = table(cases, folds, probabilities)
    counts = {
        answer: _patients(case for case in cases if case.answer == n) for n, answer in enumerate(task.answers)
    }
    content = {
        **about,
        "task": {"name": task.name, "title": task.title, "answers": list(task.answers)},
        "counts": {"rows": len(cases), "patients": _patients(cases), "by_answer": counts},
        "table": rows,
        "verdict": verdict(rows),
        "notes": notes(task, cases, len(folds), about),
    }
    _write_predictions(out / "predictions", task, cases, folds, probabilities)
    (out / "report.html").write_text(page(content), encoding="utf-8")
    return content


def notes(task: TaskFile, cases: Sequence[Case], folds: int, about: Mapping[str, Any]) -> list[str]:
    """List what a reader must know about the numbers."""
    patients = _patients(cases)
    kind = "simulated patients" if about["simulated"] else "patients"
    found = [
        f"{folds}-fold cross-validation by patient on {patients} {kind}, not a test on others: every row is"
        " predicted by a model that was not trained on its patient. ± is the standard deviation of the folds."
    ]
    if about["seen"]:
        found.append(
            f"The checkpoint may have been trained on the CT of {about['seen']} of these patients for other"
            " tasks; it never saw their answers to this one."
        )
    left = sum(about["left_out"].values())
    if left:
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(about["left_out"].items()))
        found.append(f"{left} rows of {task.table.file.name} are left out ({why}).")
    return found


def _patients(cases: Any) -> int:
    return len({case.row.patient for case in cases})


def _write_predictions(
    folder: Path,
    task: TaskFile,
    cases: Sequence[Case],
    folds: Sequence[Fold],
    probabilities: Mapping[str, np.ndarray],
) -> None:
    """Write a table of predictions for each model, as evaluation and comparison read it, and the task."""
    folder.mkdir(exist_ok=True)
    fold_of = {row: number for number, (_, tested) in enumerate(folds) for row in tested}
    for name, found in probabilities.items():
        records = [
            {
                "exam": case.row.exam,
                "patient": case.row.patient,
                "task": task.name,
                "side": case.row.side,
                "nodule": case.row.nodule,
                "question": task.questions[0],
                "probabilities": values.tolist(),
                "label": list(case.row.label),
                "mask": list(case.row.mask),
                "split": "test",
                "model": text_digest(f"{name} {found.tobytes().hex()}"),
                "fold": fold_of[row],
            }
            for row, (case, values) in enumerate(zip(cases, found))
        ]
        pd.DataFrame.from_records(records).to_parquet(folder / f"{name}.parquet", index=False)
    (folder / TASKS_FILE).write_text(to_json([asdict(task.task())]))


def page(content: Mapping[str, Any]) -> str:
    """Render the page from the manifest's content: figure, table and notes. It names no patient."""
    title = content["task"]["title"]
    folds = {row["title"]: row["folds"] for row in content["table"]}
    return render(
        "transfer/templates/report.html.jinja",
        title=f"M3FM fine-tuning: {title}",
        purpose="AUC of fine-tuning on a new task, beside a reference model and simpler variants.",
        simulated=content["simulated"],
        content=content,
        drawing=figures.bars("folds", folds, f"AUC: {title}"),
    )
