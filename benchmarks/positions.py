"""An attack on the samples: guess the answers from the window's place and the box's size alone.

    python benchmarks/positions.py DATASET

Prints for each answer of each task the AUC of random forests in cross-validation by patient, with its
interval by patient. The nodule's lobe is a place, and known from it. Any other answer above 0.5 is a leak,
but for chance: of 30 intervals of 95 %, one or two miss 0.5.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.dataset.columns import HAZARDS
from m3fm.dataset.mqa import Mqa
from m3fm.dataset.tables import SPLITS

PLACE = "nodule_location"
"""Task whose answer is a place."""
FOLDS, TREES, REPLICATES = 5, 100, 200


@dataclass(frozen=True, slots=True)
class Leak:
    """The AUC of one answer of a task, guessed from positions and sizes in cross-validation by patient."""

    task: str
    answer: str
    positives: int
    rows: int
    auc: float
    low: float
    high: float
    """95 % interval, bootstrapped by patient."""


def main() -> None:
    """Print what places tell of every answer in a dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="directory that m3fm curate wrote")
    dataset = parser.parse_args().dataset
    tasks = [name for name, task in TASKS.items() if task.scale is not None]
    for leak in leaks(dataset, tasks):
        mark = "  <- above chance" if leak.low > 0.5 and leak.task != PLACE else ""
        interval = f"{leak.auc:.3f} ({leak.low:.3f} to {leak.high:.3f})"
        print(f"{leak.task:28} {leak.answer:15} {leak.positives:4} of {leak.rows:4} {interval}{mark}")


def leaks(dataset: Path, tasks: list[str], prepare: Callable[[Mqa], None] = lambda mqa: None) -> list[Leak]:
    """Guess every answer of the tasks from where the model's window lies, and from the size of its box."""
    mqa = Mqa(dataset, SPLITS, preset("tiny").model.scales)
    prepare(mqa)
    found = []
    for task in tasks:
        places, answers, patients = _rows(mqa, task)
        names = ("none", "event") if task in HAZARDS else TASKS[task].answers
        for answer in range(1, len(names)) if len(names) == 2 else range(len(names)):
            positive = answers == answer
            if min(len(set(patients[positive])), len(set(patients[~positive]))) >= 2 * FOLDS:
                found.append(Leak(task, names[answer], *_guessed(places, positive, patients)))
    return found


def _rows(mqa: Mqa, task: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.str_]]:
    """Return the places [rows, features], answers [rows] and patients [rows] of a task's samples."""
    places, answers, patients = [], [], []
    for number, row in enumerate(mqa.rows[task]):
        rng = np.random.default_rng([number])
        series, _, box = mqa.crop(TASKS[task], row, rng, None)
        sizes = np.subtract(box[1::2], box[::2])
        spacing = (series.voxel_z, series.voxel_y, series.voxel_x)
        places.append([*box, *sizes, *(sizes * spacing), series.slices, *spacing, row.side == "left"])
        known = np.array(row.label)[np.array(row.mask) > 0]
        answers.append(int(known.max(initial=0)) if len(row.label) > 1 else int(row.label[0]))
        patients.append(row.patient)
    return np.array(places, float), np.array(answers), np.array(patients)


def _guessed(
    places: NDArray[np.float64], positive: NDArray[np.bool_], patients: NDArray[np.str_]
) -> tuple[int, int, float, float, float]:
    """Return the numbers of positive and of all rows, the AUC averaged over folds, and its interval."""
    scores, folds = np.zeros(len(positive)), []
    for train, test in GroupKFold(FOLDS).split(places, positive, patients):
        trees = RandomForestClassifier(TREES, min_samples_leaf=5, random_state=0)
        scores[test] = trees.fit(places[train], positive[train]).predict_proba(places[test])[:, -1]
        folds.append(test)
    names, of = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(0)
    drawn = (
        np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[of]
        for _ in range(REPLICATES)
    )
    replicates = [_auc(positive, scores, weights.astype(float), folds) for weights in drawn]
    low, high = np.nanquantile(replicates, (0.025, 0.975))
    whole = _auc(positive, scores, np.ones(len(positive)), folds)
    return int(positive.sum()), len(positive), whole, float(low), float(high)


def _auc(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    weights: NDArray[np.float64],
    folds: list[NDArray[np.int64]],
) -> float:
    """Average the folds' AUCs [rows each], those with both classes."""
    found = []
    for fold in folds:
        rows = fold[weights[fold] > 0]
        if len(set(positive[rows])) == 2:
            found.append(roc_auc_score(positive[rows], scores[rows], sample_weight=weights[rows]))
    return float(np.mean(found)) if found else np.nan


if __name__ == "__main__":
    main()
