"""The table of predictions, and the yes-or-no decisions whose ROC curves are drawn and measured."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from m3fm.clinical.tasks import TASKS, YEARS, Task
from m3fm.core.errors import InputError
from m3fm.dataset.prediction_table import COLUMNS, KEY

FEW_PATIENTS = 10
"""With fewer patients than this in either class, a percentile interval is too narrow and gets a remark."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer of one task against all others: for each sample the truth, the score and the patient."""

    answer: str
    positive: np.ndarray
    """bool [samples]"""
    score: np.ndarray
    """float [samples]"""
    patient: np.ndarray
    """Index of the sample's patient among the task's patients."""

    @property
    def obstacle(self) -> str:
        """Reason for a missing ROC curve; empty where it can be drawn."""
        if not self.positive.any():
            return "no positive sample"
        return "no negative sample" if self.positive.all() else ""

    @property
    def remark(self) -> str:
        """Warning for readers of the interval; empty where none is needed."""
        positive = len(np.unique(self.patient[self.positive]))
        negative = len(np.unique(self.patient[~self.positive]))
        few, name = min((positive, "positive"), (negative, "negative"))
        if few >= FEW_PATIENTS:
            return ""
        return f"rough interval: only {few} {name} patient{'s' if few > 1 else ''}"


def checked(predictions: pd.DataFrame) -> pd.DataFrame:
    """Check that predictions are complete, of one model and without repeats; return them in a fixed order.

    Raises InputError that names the first problem.
    """
    missing = [name for name in COLUMNS if name not in predictions.columns]
    if missing:
        raise InputError(f"the predictions lack the column {', '.join(missing)}")
    if predictions.empty:
        raise InputError("the predictions have no rows: nothing to evaluate")
    unknown = sorted(set(predictions["task"]) - set(TASKS))
    if unknown:
        raise InputError(f"the predictions have tasks that m3fm does not know: {', '.join(unknown)}")
    for name in ("model", "split"):
        if predictions[name].nunique() != 1:
            raise InputError(f"the predictions have more than one {name}: evaluate one at a time")
    repeated = predictions[predictions.duplicated(KEY)]
    if len(repeated):
        first = ", ".join(f"{name} {repeated.iloc[0][name]!r}" for name in KEY)
        raise InputError(
            f"the predictions have {len(repeated)} rows twice, the first with {first}; keep one of each"
        )
    for name, rows in predictions.groupby("task"):
        _check_values(TASKS[str(name)], rows)
    order = {name: number for number, name in enumerate(TASKS)}
    return predictions.sort_values(
        KEY, key=lambda values: values.map(order) if values.name == "task" else values
    )


def _check_values(task: Task, rows: pd.DataFrame) -> None:
    outputs, labels = {"softmax": (len(task.answers), 1), "hazard": (YEARS, YEARS), "digits": (30, 3)}[
        task.loss
    ]
    for name, length in (("probabilities", outputs), ("label", labels), ("mask", labels)):
        if any(len(values) != length for values in rows[name]):
            raise InputError(f"{task.name}: every row of the predictions needs {length} numbers in {name}")
    if not np.isfinite(stacked(rows, "probabilities")).all():
        raise InputError(f"{task.name}: the predictions have a probability that is not a finite number")


def stacked(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of lists as an array [samples, values]."""
    return np.stack([np.asarray(values, dtype=float) for values in rows[column]])


def patient_indices(rows: pd.DataFrame) -> np.ndarray:
    """Return the index of each row's patient among the sorted patients [samples]."""
    return np.unique(rows["patient"].to_numpy(dtype=str), return_inverse=True)[1]


def lungs_merged(rows: pd.DataFrame) -> pd.DataFrame:
    """Merge the two lungs of each exam into one row: the larger score, and an event in either lung."""
    records = []
    for _, lungs in rows.groupby("exam", sort=True):
        largest = {name: stacked(lungs, name).max(axis=0) for name in ("probabilities", "label", "mask")}
        records.append({**lungs.iloc[0].to_dict(), "side": "", **largest})
    return pd.DataFrame.from_records(records)


def patient_level(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to evaluate a task on: the risks of an exam's two lungs become one."""
    return lungs_merged(rows) if task.loss == "hazard" and task.region == "one_lung" else rows


def decisions(task: Task, rows: pd.DataFrame) -> list[Decision]:
    """Split a task answered by a choice or by yearly risks into yes-or-no decisions.

    A yes-or-no task is one decision, a choice one for each answer, a risk one for each year. In a year,
    patients with an event by then are positive, patients without one who were followed through the year are
    negative, and the others are left out.
    """
    probabilities, label = stacked(rows, "probabilities"), stacked(rows, "label")
    patient = patient_indices(rows)
    if task.loss == "hazard":
        event = label == 1
        known = event | (stacked(rows, "mask") == 1)
        years = []
        for year, answer in enumerate(task.answers):
            kept = known[:, year]
            years.append(Decision(answer, event[kept, year], probabilities[kept, year], patient[kept]))
        return years
    answers = ((1, "yes"),) if task.binary else tuple(enumerate(task.answers))
    return [
        Decision(answer, label[:, 0] == index, probabilities[:, index], patient) for index, answer in answers
    ]


def exact(rows: pd.DataFrame) -> np.ndarray:
    """Return whether each sample of a task of three digits has all of them right, bool [samples]."""
    digits = stacked(rows, "probabilities").reshape(-1, 3, 10).argmax(axis=2)
    return (digits == stacked(rows, "label")).all(axis=1)
