"""What every source of exams yields: plain records, whatever the files they come from."""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodule:
    """A nodule as a report describes it; what the report does not say is None."""

    number: int
    """Of the abnormality in its exam, the same in all tables of the source."""
    lobe: str | None = None
    """RUL, RML, RLL, LUL or LLL."""
    slice_number: int | None = None
    """DICOM InstanceNumber of the slice of the largest extent."""
    long_mm: float | None = None
    short_mm: float | None = None
    margin: str | None = None
    """An answer of the task nodule_margin."""
    attenuation: str | None = None
    """An answer of the task nodule_attenuation."""
    new: bool = False
    """Not there in an earlier exam."""


class Risk(NamedTuple):
    """Whether an event came by the end of year 1 to 6 after the scan, and in which years that counts."""

    labels: tuple[int, ...]
    mask: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExamRecord:
    """One screening exam of one patient: everything but the images. A label that is not there is unknown."""

    patient_id: str
    timepoint: int
    """No other exam of the patient has the same: NLST's screening year, 0 to 2, or a number from 0."""
    study_uid: str | None = None
    elements: dict[str, float | str | bool] = field(default_factory=dict)
    """Clinical data at the exam; keys are those of `m3fm.clinical.elements.ELEMENTS`."""
    findings: dict[str, int] = field(default_factory=dict)
    """0 or 1 by the name of a task that a radiology report answers."""
    nodules: list[Nodule] = field(default_factory=list)
    risks: dict[str, Risk] = field(default_factory=dict)
    """By the name of a hazard task."""
    cancer_side: str | None = None
    """Lung of the cancer: "left", "right" or "both"; None without a cancer or where it is not known."""
    covid19: int | None = None
    lung_rads: int | None = None
    """Category, 1 to 4."""
    test_only: bool = False
    """True where the source's own protocol tests on the patient: no model learns from any of the exams."""
