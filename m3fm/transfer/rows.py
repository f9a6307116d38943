"""The rows of a new task's table, matched to the exams of a dataset; and the folds.

Patients and series of the table are hashed as in curation, and only the hashes are kept.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.model_selection import StratifiedGroupKFold

from m3fm.clinical.tasks import LUNGS
from m3fm.cohort.tables import NOT_KNOWN, Table
from m3fm.config.sections import SALT_VARIABLE
from m3fm.core.errors import InputError
from m3fm.dataset.rows import LabelledRow
from m3fm.privacy.pseudonyms import Salt
from m3fm.transfer.task_file import TaskFile

Fold = tuple[tuple[int, ...], tuple[int, ...]]
"""Indices of the training rows, and of the test rows."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table whose exam is in the dataset."""

    row: LabelledRow
    clinical: dict[str, str]
    """Known values by column, as in the table."""

    @property
    def answer(self) -> int:
        """Index of the label among the task's answers."""
        return int(self.row.label[0])


@dataclass(frozen=True, slots=True)
class Cases:
    """The usable rows, and the number of the others by reason."""

    cases: tuple[Case, ...]
    left_out: dict[str, int]


NO_LABEL, NO_PATIENT, NO_EXAM = "no label", "patient not in the dataset", "no kept series of the exam"


def find_cases(task: TaskFile, dataset: Path, salt: Salt) -> Cases:
    """Read the table and look its exams up in the dataset.

    Raises InputError that names the file, the column and the reason, and never an identifier.
    """
    given = task.table
    columns = {given.label, *given.identifying, *task.clinical}
    lowered = {column: column.lower() for column in columns}
    identifying = {column.lower() for column in (given.patient, given.series) if column}
    table = Table.read(given.file, sorted(lowered.values()), identifying=identifying)
    answers = {answer: number for number, answer in enumerate(task.answers)}
    labels = table.named(lowered[given.label], answers)
    patients = [salt.hashed("patient", text) for text in table.identifiers(lowered[given.patient])]
    sides = [""] * len(patients)
    if given.side is not None:
        found = table.named(lowered[given.side], {side: side for side in LUNGS})
        table.refuse(lowered[given.side], [side is None for side in found], f"one of {', '.join(LUNGS)}")
        sides = [side or "" for side in found]
    exams = _exams(table, task, dataset, patients, salt)
    clinical = [table.texts(lowered[column]) for column in task.clinical]
    cases: list[Case] = []
    left_out: Counter[str] = Counter()
    for label, patient, side, exam, *cells in zip(labels, patients, sides, exams, *clinical):
        if label is None or exam in (NO_PATIENT, NO_EXAM):
            left_out[NO_LABEL if label is None else exam] += 1
            continue
        row = LabelledRow(exam, patient, side, -1, -1, (float(label),), (1.0,))
        known = {name: cell for name, cell in zip(task.clinical, cells) if not re.fullmatch(NOT_KNOWN, cell)}
        cases.append(Case(row, known))
    _check(task, cases, left_out)
    order = sorted(cases, key=lambda case: (case.row.patient, case.row.exam, case.row.side))
    return Cases(tuple(order), dict(left_out))


def _exams(table: Table, task: TaskFile, dataset: Path, patients: list[str], salt: Salt) -> list[str]:
    """Return the exam of each row, or the reason why it has none."""
    names = ["series", "exam", "patient", "timepoint", "status"]
    rows = pq.read_table(dataset / "series.parquet", columns=names).to_pylist()
    present = {row["patient"] for row in rows}
    keys: Sequence[object] = [None] * len(patients)
    if task.table.timepoint is not None:
        keys = table.integers(task.table.timepoint.lower())
    if task.table.series is not None:
        keys = [salt.hashed("series", text) for text in table.uids(task.table.series.lower())]
    exams: dict[tuple[str, object], str] = {}
    for row in sorted(rows, key=lambda row: (row["timepoint"], row["exam"])):
        if row["status"] == "kept":
            by = row["timepoint"] if task.table.timepoint is not None else None
            exams.setdefault((row["patient"], by), row["exam"])
    if task.table.series is not None:
        kept = {row["exam"] for row in rows if row["status"] == "kept"}
        exams = {(row["patient"], row["series"]): row["exam"] for row in rows if row["exam"] in kept}
    return [
        exams.get((patient, key), NO_EXAM if patient in present else NO_PATIENT)
        for patient, key in zip(patients, keys)
    ]


def _check(task: TaskFile, cases: list[Case], left_out: Counter[str]) -> None:
    path = task.table.file
    if not cases:
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items()))
        raise InputError(
            f"{path}, {task.table.patient}: no row matches an exam of the dataset"
            f" ({why or 'the table is empty'}); set {SALT_VARIABLE} to the salt that it was curated with"
        )
    keys = Counter((case.row.exam, case.row.side) for case in cases)
    repeated = sum(count > 1 for count in keys.values())
    if repeated:
        raise InputError(
            f"{path}, {task.table.patient}: {repeated} exams have more than one row; keep one of each"
        )


def split_folds(task: TaskFile, cases: Sequence[Case], folds: int, seed: int) -> list[Fold]:
    """Split the rows into folds by patient, each answer about equally often; the seed decides.

    Raises InputError where an answer has fewer patients than folds.
    """
    answers = np.array([case.answer for case in cases])
    patients = np.array([case.row.patient for case in cases])
    for number, answer in enumerate(task.answers):
        found = len(set(patients[answers == number]))
        if found < folds:
            raise InputError(
                f"{task.table.file}, {task.table.label}: {found} patients of the dataset have the answer"
                f" {answer!r}; {folds} folds (finetune.folds) need {folds} of each answer"
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found_folds = [
        (tuple(map(int, train)), tuple(map(int, test)))
        for train, test in splitter.split(answers, answers, patients)
    ]
    for train, test in found_folds:
        if any(set(answers[list(part)]) != set(answers) for part in (train, test)):
            raise InputError(
                f"{task.table.file}, {task.table.label}: {folds} folds (finetune.folds) cannot each have"
                " every answer; set fewer"
            )
    return found_folds


def sentences(task: TaskFile, case: Case) -> Iterator[str]:
    """Yield the clinical text of a row: a sentence for each variable that is known."""
    for column, sentence in task.clinical.items():
        if column in case.clinical:
            yield sentence.format(case.clinical[column])
