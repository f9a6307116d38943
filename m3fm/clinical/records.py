"""The records of an exam that every source of exams yields: `ExamRecord`, its `Nodule`s and its `Risk`s.

They are plain values, independent of the files they are read from:

ExamRecord(patient_id="100001", timepoint=0, findings={"emphysema": 1}, nodules=[Nodule(number=1)])
"""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodule:
    """A nodule as a report describes it; what the report does not state is None."""

    number: int
    """Number of the abnormality in its exam, equal in all tables of the source."""
    lobe: str | None = None
    """RUL, RML, RLL, LUL or LLL."""
    slice_number: int | None = None
    """DICOM InstanceNumber of the slice where the nodule is largest."""
    long_mm: float | None = None
    """Longest diameter in mm."""
    short_mm: float | None = None
    """Diameter perpendicular to the longest one, in mm."""
    margin: str | None = None
    """Margin, as in the answers of the task nodule_margin."""
    attenuation: str | None = None
    """Attenuation, as in the answers of the task nodule_attenuation."""
    new: bool = False
    """Whether an earlier exam did not show the nodule."""


class Risk(NamedTuple):
    """An event in the six years after a scan."""

    labels: tuple[int, ...]
    """1 for each year by whose end the event has come, else 0."""
    mask: tuple[int, ...]
    """1 for each year whose label is known and counts, else 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExamRecord:
    """One screening exam of one patient, without the images. A missing label is unknown."""

    patient_id: str
    timepoint: int
    """Number of the exam, unique for the patient: NLST's screening year, 0 to 2, or a count from 0."""
    study_uid: str | None = None
    elements: dict[str, float | str | bool] = field(default_factory=dict)
    """Clinical data at the exam by element name (`m3fm.clinical.elements.ELEMENTS`)."""
    findings: dict[str, int] = field(default_factory=dict)
    """Answers, 0 or 1, by the name of a task that a radiology report answers."""
    nodules: list[Nodule] = field(default_factory=list)
    risks: dict[str, Risk] = field(default_factory=dict)
    """Events by the name of a hazard task."""
    cancer_side: str | None = None
    """Lung of the cancer: "left", "right" or "both"; None without a cancer or where unknown."""
    covid19: int | None = None
    """Result of the COVID-19 tests, 0 or 1."""
    lung_rads: int | None = None
    """Lung-RADS category, 1 to 4."""
    test_only: bool = False
    """Whether the source's own protocol tests on the patient; then no model trains on any of the exams."""
