"""What every source of exams yields: plain records, whatever the files they come from.

A new source is one new module with a class of the `Source` protocol, made from a folder and the choices of
`config.LabelConfig`, and one line in `KINDS`.
"""

import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from m3fm.artifacts import text_digest
from m3fm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config import LabelConfig
    from m3fm.ct.volume import Series

KINDS = {
    "nlst": "m3fm.cohort.nlst:NlstSource",
    "idc": "m3fm.cohort.idc:IdcSource",
    "midrc": "m3fm.cohort.midrc:MidrcSource",
    "openm3chest": "m3fm.cohort.openm3chest:OpenM3ChestSource",
    "hospital": "m3fm.cohort.hospital:HospitalSource",
    "dicom": "m3fm.cohort.dicom_folder:DicomFolder",
}
"""Kinds of sources, and the classes that read them."""


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
    """Clinical data at the exam; keys are those of `m3fm.clinical.ELEMENTS`."""
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


class Source(Protocol):
    """Exams and images from one place."""

    name: str
    test_only: bool
    """True for an independent source: no model learns from any of its patients."""

    simulated: bool
    """True for drawn phantoms: what is learnt from them says nothing about patients."""

    def site(self, series: "Series") -> str:
        """The institution a series was taken at."""
        ...

    def exams(self) -> list[ExamRecord]:
        """Every exam that tables tell of; series of no exam here have no labels."""
        ...

    def image_paths(self) -> Iterable[Path]:
        """Every file that may be an image, in a fixed order."""
        ...

    def digest(self) -> str:
        """SHA-256 that changes when the source does."""
        ...

    def listing(self) -> "pa.Table":
        """Every series that the tables (or, without tables, the headers) know of: `selection.LISTING`."""
        ...


def open_source(kind: str, root: Path, choices: "LabelConfig | None" = None) -> Source:
    """Open a source by its kind, a key of KINDS; raises InputError where it is not one.

    `choices` say what counts as an event in its labels.
    """
    if kind not in KINDS:
        raise InputError(f"no source is of kind {kind!r}; there are {', '.join(KINDS)}")
    from m3fm.config import LabelConfig

    module, name = KINDS[kind].split(":")
    source: Source = getattr(importlib.import_module(module), name)(root, choices or LabelConfig())
    return source


def is_simulated(root: Path) -> bool:
    """Whether a folder is a cohort that `m3fm simulate` wrote."""
    return (root / "cohort.json").is_file()


def files_below(root: Path) -> Iterator[Path]:
    """Every file below a folder in a fixed order, without listing the whole tree first."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            yield Path(folder, name)


def images_below(folder: Path) -> Iterator[Path]:
    """Every file of a source's images; raises InputError where there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: put the DICOM there")
    return files_below(folder)


def listing_digest(root: Path, images: Iterable[Path], contents: Iterable[str] = ()) -> str:
    """SHA-256 of the images' paths and sizes, and of `contents`, lines that stand for other files.

    The bytes of the images are not read: a trial has terabytes, and curation gives every volume a digest.
    """
    lines = [f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in images]
    return text_digest("\n".join([*contents, *lines]))
