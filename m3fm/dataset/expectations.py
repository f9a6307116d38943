"""Expectations that a dataset must meet before training: one suite per table, and one for leaks.

A dataset with one wrong row is refused, with one exception: every trial has some mistyped numbers, so only
99 of 100 must be plausible.
"""

import math
from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.row_conditions import Column

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, Element
from m3fm.clinical.tasks import BOXES, LUNGS, SCREENING, TASKS
from m3fm.ct.arrange import MAX_SHIFT_MM, MAX_TILT_DEGREES
from m3fm.ct.geometry import MAX_OBLIQUE_DEGREES, REASONS, SPACING_MM
from m3fm.ct.plausible import AIR, LEAST_AIR, LEAST_SOFT, MOST_JUMP_HU
from m3fm.dataset.examine import CRASHED
from m3fm.dataset.tables import KEYS, MEASURED, SPLITS

Expectation = Any

HASH = r"^[0-9a-f]{16}$"
PHI = r"(?:\d+\.){4}\d|(?:19|20)\d\d-?[01]\d-?[0-3]\d|\^"
"""Pattern of a UID, a date or a DICOM person name."""
KEPT_LIMITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("voxel_z", "voxel_y", "voxel_x"), SPACING_MM),
    "oblique_degrees": (0, MAX_OBLIQUE_DEGREES),
    "tilt_degrees": (0, MAX_TILT_DEGREES),
    "shift_mm": (0, MAX_SHIFT_MM),
    "gaps": (0, 0),
    "duplicates": (0, 0),
    "air_hu": AIR,
    "air_fraction": (LEAST_AIR, 1),
    "soft_fraction": (LEAST_SOFT, 1),
    "jump_hu": (0, MOST_JUMP_HU),
}
"""Limits of the values in the geometry record of a kept series."""
REJECTED_FOR = {"gap": "gaps", "duplicate_slices": "duplicates"}
"""Reasons for rejection, and the count in the geometry record that must confirm each."""
PLAUSIBLE_FRACTION = 0.99

ROW_NAMES = {
    **KEYS,
    "columns": ("table", "column"),
    "identities": ("kind", "id"),
    "links": ("table",),
    "predictions": ("task", "exam", "side", "nodule"),
}
"""Columns that identify the faulty rows of a suite."""

_KEPT = Column("status") == "kept"
_REJECTED = Column("status") == "rejected"


def column_suite() -> list[Expectation]:
    """Expect exactly the columns of each table, with their types: an unknown column could hold anything."""
    return [gxe.ExpectColumnPairValuesToBeEqual(column_A="type", column_B="type_found")]


def suites(series_seen: int) -> dict[str, list[Expectation]]:
    """Return the expectations of each table, leaks first; curation found `series_seen` series."""
    return {
        "identities": _identities(),
        "series": _series(series_seen),
        "exams": _exams(),
        "nodules": _nodules(),
        "labels": _labels(),
        "splits": _splits(),
        "links": _links(),
    }


def one_of(column: str, values: Any, condition: Any = None) -> Expectation:
    """Expect each value to be one of `values`; nulls are ignored."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), row_condition=condition)


def true(column: str, condition: Any = None) -> Expectation:
    """Expect each value to be true; nulls are ignored."""
    return one_of(column, [True], condition)


def equal(column: str, other: str, condition: Any = None) -> Expectation:
    """Expect two columns to be equal in each row; a null on one side is a difference."""
    return gxe.ExpectColumnPairValuesToBeEqual(
        column_A=column, column_B=other, ignore_row_if="neither", row_condition=condition
    )


def between(column: str, low: float, high: float, condition: Any = None, mostly: float = 1.0) -> Expectation:
    """Expect each value, or the fraction `mostly` of them, to be in a range that includes its ends."""
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=low, max_value=high, row_condition=condition, mostly=mostly
    )


def _not_less(column: str, other: str) -> Expectation:
    """Expect `column` to be at least `other` in each row that has both."""
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=column, column_B=other, or_equal=True, ignore_row_if="either_value_is_missing"
    )


def _hashes(*columns: str) -> list[Expectation]:
    return [gxe.ExpectColumnValuesToMatchRegex(column=column, regex=HASH) for column in columns]


def without_phi(*columns: str) -> list[Expectation]:
    """Expect no text that looks like a UID, a date or a DICOM person name."""
    return [gxe.ExpectColumnValuesToNotMatchRegex(column=column, regex=PHI) for column in columns]


def _key(name: str) -> Expectation:
    (column, *more) = KEYS[name]
    if more:
        return gxe.ExpectCompoundColumnsToBeUnique(column_list=[column, *more])
    return gxe.ExpectColumnValuesToBeUnique(column=column)


def _series(series_seen: int) -> list[Expectation]:
    return [
        gxe.ExpectTableRowCountToEqual(value=series_seen),
        _key("series"),
        *_hashes("series", "exam", "patient"),
        *without_phi("site", "detail", "manufacturer", "model", "kernel"),
        equal("split", "patient_split"),
        equal("patient", "exam_patient"),
        one_of("status", ["kept", "rejected"]),
        one_of("reason", [""], _KEPT),
        one_of("reason", [*REASONS, CRASHED], _REJECTED),
        between("files", 1, math.inf),
        _not_less("different_files", "slices"),
        _not_less("step_max_mm", "step_min_mm"),
        *(
            gxe.ExpectColumnValuesToNotBeNull(column=column, row_condition=_KEPT)
            for column in MEASURED
            if column != "files"
        ),
        *(between(column, *limits, _KEPT) for column, limits in KEPT_LIMITS.items()),
        *(between(count, 1, math.inf, Column("reason") == name) for name, count in REJECTED_FOR.items()),
        *(true(f"{box}_inside", _KEPT) for box in BOXES),
        equal("volume_found", "volume_expected", _KEPT),
        gxe.ExpectColumnValuesToMatchRegex(column="digest", regex="^[0-9a-f]{64}$", row_condition=_KEPT),
        one_of("volume", [""], _REJECTED),
        one_of("preferred", [False], _REJECTED),
        one_of("preferred_of_exam", [1], _KEPT),
    ]


def _exams() -> list[Expectation]:
    return [
        _key("exams"),
        *_hashes("exam", "patient"),
        *without_phi("site"),
        equal("split", "patient_split"),
        between("timepoint", -1, 99),
        *(_element(element) for element in ELEMENTS.values() if element.kind != "relative"),
    ]


def _element(element: Element) -> Expectation:
    low, high = element.bounds
    match element.kind:
        case "number":
            return between(element.name, low, high, mostly=PLAUSIBLE_FRACTION)
        case "diagnosis":
            return between(element.name, AGE_UNKNOWN, high, mostly=PLAUSIBLE_FRACTION)
    return one_of(element.name, element.codes.values())


def _nodules() -> list[Expectation]:
    return [
        _key("nodules"),
        equal("split", "patient_split"),
        equal("patient", "exam_patient"),
        one_of("lobe", TASKS["nodule_location"].answers),
        equal("side", "lobe_side"),
        one_of("margin", TASKS["nodule_margin"].answers),
        one_of("attenuation", TASKS["nodule_attenuation"].answers),
    ]


def _labels() -> list[Expectation]:
    tasks = [TASKS[name] for name in SCREENING]
    of_lung = Column("task").is_in([task.name for task in tasks if task.region == "one_lung"])
    of_both = Column("task").is_in([task.name for task in tasks if task.region != "one_lung"])
    hazard = Column("task").is_in([task.name for task in tasks if task.loss == "hazard"])
    of_nodule = Column("nodule") >= 0
    answers = [
        one_of("answer", map(float, range(len(task.answers))), Column("task") == task.name)
        for task in tasks
        if task.loss == "softmax"
    ]
    return [
        _key("labels"),
        equal("split", "patient_split"),
        equal("patient", "exam_patient"),
        one_of("task", SCREENING),
        true("imaged"),
        equal("label_length", "length_expected"),
        equal("mask_length", "length_expected"),
        true("mask_is_prefix"),
        true("label_rises", hazard),
        one_of("side", LUNGS, of_lung),
        one_of("side", [""], of_both),
        equal("side", "nodule_side", of_nodule),
        equal("slice_number", "nodule_slice", of_nodule),
        *answers,
    ]


def _splits() -> list[Expectation]:
    return [_key("splits"), *_hashes("patient"), one_of("split", SPLITS)]


def _links() -> list[Expectation]:
    """Expect no more rows of the source's tables without a link than were allowed."""
    return [_not_less("limit", "fraction")]


def _identities() -> list[Expectation]:
    """Expect each patient, exam, series and scan in one split only, and exams and series of one patient."""
    return [
        one_of("splits", [1]),
        one_of("patients", [1], Column("kind").is_in(["exam", "series"])),
    ]
