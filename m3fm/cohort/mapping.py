"""The mapping file of a hospital's table: the column of each value, and the meaning of its texts.

name: site-a                      # name of the site in the dataset; a code, not the institution's name
test_only: true                   # the default: no model learns from an independent site
table: exams.csv                  # CSV or parquet, one row per exam, beside this file
missing: [NA, unknown]            # texts of cells without a value, beside empty ones
patient_id: MRN
study_uid: StudyInstanceUID       # links images to exams
elements:                         # names and values: m3fm/clinical/elements.py
  age: {column: Age}
  height: {column: Height, unit: cm}
  gender: {column: Sex, values: {M: Male, F: Female}}
  diabetes: {column: Diabetes, age_column: Diabetes since}
labels:                           # tasks that are answered yes or no, and lung_rads
  emphysema: {column: Emphysema, values: {present: yes, absent: no}}
  lung_rads: {column: Report}     # a category, or the text that states it
risks:                            # days from the scan
  lung_cancer_risk: {event_days: Days to cancer, followup_days: Days followed}
cancer_side: {column: Side, values: {L: left, R: right}}
exam: Accession                   # links nodules to exams
nodules:
  table: nodules.csv              # one row per nodule
  exam: Accession
  lobe: {column: Lobe}
  long_mm: {column: Diameter}
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.tasks import LUNGS, TASKS
from m3fm.cohort.labels import CHEST_FINDINGS
from m3fm.config.base import Config
from m3fm.core.errors import InputError
from m3fm.core.files import read_yaml

YES_NO = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}
"""Words for yes and no in a mapping, and in columns without `values`; in any case."""
UNITS = {("inches", "cm"): 1 / 2.54, ("pounds", "kg"): 1 / 0.45359237}
"""Factors that convert the second unit of a key to the first."""
FINDINGS = ("nodule_presence", *CHEST_FINDINGS.values(), "covid19")
RISKS = tuple(task.name for task in TASKS.values() if task.loss == "hazard")


class Column(Config):
    """A column, and the meaning of its texts where they are not the value itself."""

    column: str
    values: dict[str, str] = Field(default_factory=dict)
    """Values by the texts that stand for them; without any, the texts are the values."""
    unit: str = ""
    """Unit of a number, if it is another than the element's."""
    age_column: str | None = None
    """Column of the age at diagnosis, for a disease or a cancer."""


class RiskColumns(Config):
    """The columns of the days from the scan to the event (empty: none) and to the end of follow-up."""

    event_days: str
    followup_days: str


class NoduleTable(Config):
    """The table of nodules; a property without a column is unknown."""

    table: str
    exam: str
    lobe: Column | None = None
    attenuation: Column | None = None
    margin: Column | None = None
    long_mm: Column | None = None
    short_mm: Column | None = None
    slice_number: Column | None = None
    """Column of the DICOM InstanceNumber of the nodule's slice."""
    new: Column | None = None


class Mapping(Config):
    """The content of `mapping.yaml`."""

    name: str = Field(pattern="^[a-z][a-z0-9-]*$")
    test_only: bool = True
    table: str
    missing: tuple[str, ...] = ()
    patient_id: str
    study_uid: str | None = None
    timepoint: str | None = None
    """Column of the exam's number from 0; without one, exams are numbered in the order of the table."""
    exam: str | None = None
    elements: dict[str, Column] = Field(default_factory=dict)
    labels: dict[str, Column] = Field(default_factory=dict)
    risks: dict[str, RiskColumns] = Field(default_factory=dict)
    cancer_side: Column | None = None
    nodules: NoduleTable | None = None


def read_mapping(path: Path) -> Mapping:
    """Read a mapping; raises InputError, which names the key and the allowed values."""
    if not path.is_file():
        raise InputError(f"{path} is missing: write it; m3fm/cohort/mapping.py documents its keys")
    try:
        mapping = Mapping.model_validate(read_yaml(path, as_text=True))
    except ValidationError as error:
        raise InputError(f"{path}, {_first_problem(error)}") from error
    for problem in _problems(mapping):
        raise InputError(f"{path}, {problem}")
    return mapping


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return f"{'.'.join(where) or 'mapping'}: {first['msg']}"
    allowed: Any = Mapping
    if len(where) > 1:
        allowed = {"risks": RiskColumns, "nodules": NoduleTable}.get(where[0], Column)
    if where[0] == "nodules" and len(where) > 2:
        allowed = Column
    return f"{'.'.join(where)} is not a key; known keys: {', '.join(allowed.model_fields)}"


def _problems(mapping: Mapping) -> Iterable[str]:
    """Yield a message for every name and value of the mapping that is unknown or does not fit."""
    yield from _unknown("elements", mapping.elements, ELEMENTS)
    yield from _unknown("labels", mapping.labels, (*FINDINGS, "lung_rads"))
    yield from _unknown("risks", mapping.risks, RISKS)
    for name, column in mapping.elements.items():
        element = ELEMENTS[name]
        allowed = tuple(map(str, element.codes.values())) if element.kind == "category" else tuple(YES_NO)
        if element.kind != "number":
            yield from _unknown(f"elements.{name}.values", column.values.values(), allowed)
        elif column.values:
            yield f"elements.{name}.values: a number has none; leave it out"
        if column.unit and element.unit != column.unit and (element.unit, column.unit) not in UNITS:
            units = [element.unit, *(unit for known, unit in UNITS if known == element.unit)]
            yield f"elements.{name}.unit: {column.unit!r} is not one of {', '.join(units)}"
        if column.age_column and element.kind != "diagnosis":
            yield f"elements.{name}.age_column: only a disease or a cancer has one"
    for name, column in mapping.labels.items():
        if name != "lung_rads":
            yield from _unknown(f"labels.{name}.values", column.values.values(), YES_NO)
        elif mapping.nodules is None:
            yield "labels.lung_rads: map nodules too; the report that this task reads is made of them"
    if mapping.cancer_side is not None:
        yield from _unknown("cancer_side.values", mapping.cancer_side.values.values(), (*LUNGS, "both"))
    if mapping.nodules is not None:
        if mapping.exam is None:
            yield "exam: name the column that links nodules to exams"
        for name in ("lobe", "attenuation", "margin"):
            column = getattr(mapping.nodules, name)
            allowed = TASKS["nodule_location" if name == "lobe" else f"nodule_{name}"].answers
            if column is not None:
                yield from _unknown(f"nodules.{name}.values", column.values.values(), allowed)


def _unknown(where: str, names: Iterable[str], allowed: Iterable[str]) -> Iterable[str]:
    known = {name.lower() for name in allowed}
    for name in names:
        if name.lower() not in known:
            yield f"{where}: {name!r} is not one of {', '.join(allowed)}"
