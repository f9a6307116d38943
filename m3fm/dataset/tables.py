"""The tables of a dataset: their columns, and their rows from curated series and exams.

Identifiers that arrive here are salted hashes already. Rows are sorted and schemas are fixed, so the same
rows give the same bytes. In series.parquet, a rejected series has the measurements that could be made, null
for the others, empty texts and no boxes.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import BOXES, LUNGS, TASKS
from m3fm.cohort.labels import clear_lungs, lung_of, nodule_labels
from m3fm.ct.arrange import Geometry
from m3fm.ct.plausible import HuFigures

SCHEMA_VERSION = 3
SPLITS = ("train", "val", "test")
ROWS_AT_ONCE = 20_000
"""Number of rows that are converted to columns together."""

Record = dict[str, Any]

_TEXT, _INT, _FLOAT, _FLAG = pa.string(), pa.int32(), pa.float64(), pa.bool_()
_BOX, _VECTOR, _NUMBERS = (
    pa.list_(pa.field("element", kind)) for kind in (pa.int32(), pa.float32(), pa.float64())
)
_ELEMENTS = {"number": _FLOAT, "category": _TEXT, "diagnosis": _FLOAT, "relative": _FLAG}


def _schema(nullable: Collection[str] = (), **columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, name in nullable) for name, kind in columns.items()])


_KINDS: dict[Any, pa.DataType] = {
    int: _INT,
    int | None: _INT,
    float | None: _FLOAT,
    list[float] | None: _NUMBERS,
}
MEASURED = {field.name: _KINDS[field.type] for record in (Geometry, HuFigures) for field in fields(record)}
"""Columns of series.parquet with measurements, made for every series, kept or not, as far as possible."""

SCHEMAS: dict[str, pa.Schema] = {
    "series": _schema(
        nullable={*BOXES, *MEASURED} - {"files"},
        series=_TEXT,
        exam=_TEXT,
        patient=_TEXT,
        source=_TEXT,
        site=_TEXT,
        timepoint=_INT,
        split=_TEXT,
        status=_TEXT,
        reason=_TEXT,
        detail=_TEXT,
        preferred=_FLAG,
        **MEASURED,
        manufacturer=_TEXT,
        model=_TEXT,
        kernel=_TEXT,
        thickness_mm=_FLOAT,
        instance_first=_INT,
        instance_last=_INT,
        **dict.fromkeys(BOXES, _BOX),
        volume=_TEXT,
        digest=_TEXT,
    ),
    "exams": _schema(
        nullable=tuple(ELEMENTS),
        exam=_TEXT,
        patient=_TEXT,
        source=_TEXT,
        site=_TEXT,
        timepoint=_INT,
        split=_TEXT,
        **{name: _ELEMENTS[element.kind] for name, element in ELEMENTS.items()},
    ),
    "nodules": _schema(
        nullable=("side", "lobe", "slice_number", "long_mm", "short_mm", "margin", "attenuation"),
        exam=_TEXT,
        patient=_TEXT,
        split=_TEXT,
        number=_INT,
        side=_TEXT,
        lobe=_TEXT,
        slice_number=_INT,
        long_mm=_FLOAT,
        short_mm=_FLOAT,
        margin=_TEXT,
        attenuation=_TEXT,
        new=_FLAG,
    ),
    "labels": _schema(
        exam=_TEXT,
        patient=_TEXT,
        split=_TEXT,
        task=_TEXT,
        side=_TEXT,
        nodule=_INT,
        slice_number=_INT,
        label=_VECTOR,
        mask=_VECTOR,
    ),
    "splits": _schema(patient=_TEXT, split=_TEXT),
}
"""Columns and types of each table, by file name without suffix."""

KEYS = {
    "series": ("series",),
    "exams": ("exam",),
    "nodules": ("exam", "number"),
    "labels": ("exam", "task", "side", "nodule", "slice_number"),
    "splits": ("patient",),
}
"""Columns that identify the rows of a table, and by which they are sorted."""


@dataclass(frozen=True, slots=True)
class Exam:
    """One exam; `record` has hashes for patient and study, and nothing else where tables lack the exam."""

    id: str
    site: str
    record: ExamRecord

    @property
    def patient(self) -> str:
        """The patient's hash."""
        return self.record.patient_id


def write_table(directory: Path, name: str, rows: Iterable[Record]) -> pa.Table:
    """Write a table of the dataset, sorted by its key, and return it.

    Rows are converted to columns in batches, so millions of them need not be in memory at once.
    """
    schema, remaining = SCHEMAS[name], iter(rows)
    batches = []
    while batch := list(islice(remaining, ROWS_AT_ONCE)):
        batches.append(pa.RecordBatch.from_pylist(batch, schema))
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    table = table.sort_by([(column, "ascending") for column in KEYS[name]]).combine_chunks()
    pq.write_table(table, directory / f"{name}.parquet", compression="zstd")
    return table


def exam_row(exam: Exam, source: str, split: str) -> Record:
    """Return the row of exams.parquet; unknown clinical elements are null."""
    return {
        "exam": exam.id,
        "patient": exam.patient,
        "source": source,
        "site": exam.site,
        "timepoint": exam.record.timepoint,
        "split": split,
        **exam.record.elements,
    }


def nodule_rows(exam: Exam, split: str) -> Iterator[Record]:
    """Yield the rows of nodules.parquet."""
    for nodule in exam.record.nodules:
        yield {
            "exam": exam.id,
            "patient": exam.patient,
            "split": split,
            "number": nodule.number,
            "side": lung_of(nodule.lobe) if nodule.lobe else None,
            "lobe": nodule.lobe,
            "slice_number": nodule.slice_number,
            "long_mm": nodule.long_mm,
            "short_mm": nodule.short_mm,
            "margin": nodule.margin,
            "attenuation": nodule.attenuation,
            "new": nodule.new,
        }


def label_rows(exam: Exam, split: str, imaged: bool) -> Iterator[Record]:
    """Yield the rows of labels.parquet; without a kept series (`imaged`), only those of text-only tasks."""
    for label in _labels(exam.record, split):
        if imaged or TASKS[label["task"]].scale is None:
            yield {"exam": exam.id, "patient": exam.patient, "split": split, **label}


def _labels(record: ExamRecord, split: str) -> Iterator[Record]:
    for task, answer in record.findings.items():
        if task != "nodule_presence":
            yield _answer(task, answer)
    if record.covid19 is not None:
        yield _answer("covid19", record.covid19)
    if record.lung_rads is not None:
        yield _answer("lung_rads", TASKS["lung_rads"].answers.index(str(record.lung_rads)))
    if "nodule_presence" in record.findings:
        yield from (_answer("nodule_presence", 0, side) for side in clear_lungs(record.nodules))
    for nodule in record.nodules:
        yield from _nodule_labels(nodule)
    if "cvd_mortality" in record.risks:
        yield _risk("cvd_mortality", record.risks["cvd_mortality"])
    if "lung_cancer_risk" in record.risks:
        yield from _cancer_labels(record.risks["lung_cancer_risk"], record.cancer_side, split)


def _answer(task: str, answer: int, side: str = "", nodule: int = -1, slice_number: int = -1) -> Record:
    return {
        "task": task,
        "side": side,
        "nodule": nodule,
        "slice_number": slice_number,
        "label": [float(answer)],
        "mask": [1.0],
    }


def _risk(task: str, risk: Risk, side: str = "") -> Record:
    row = _answer(task, 0, side)
    return {**row, "label": list(map(float, risk.labels)), "mask": list(map(float, risk.mask))}


def _nodule_labels(nodule: Nodule) -> Iterator[Record]:
    """Yield presence and characteristics of a nodule, if its lobe and slice are known."""
    if nodule.lobe is None or nodule.slice_number is None:
        return
    place = (lung_of(nodule.lobe), nodule.number, nodule.slice_number)
    for task, answer in {"nodule_presence": 1, **nodule_labels(nodule)}.items():
        yield _answer(task, answer, *place)


def _cancer_labels(risk: Risk, cancer_side: str | None, split: str) -> Iterator[Record]:
    """Yield one row per lung.

    For training and validation, the lung without the cancer is healthy for the whole follow-up, and patients
    whose cancer has no known side are left out. For testing, both lungs have the patient's label, because
    the patient's risk is the larger of the two.
    """
    healthy = Risk(labels=(0,) * len(risk.labels), mask=risk.mask)
    if split == "test" or not any(risk.labels):
        affected: tuple[str, ...] = LUNGS
    elif cancer_side is None:
        return
    else:
        affected = LUNGS if cancer_side == "both" else (cancer_side,)
    for side in LUNGS:
        yield _risk("lung_cancer_risk", risk if side in affected else healthy, side)
