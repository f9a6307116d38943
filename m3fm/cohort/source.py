"""What every source of exams yields: plain records, whatever the files they come from.

A new source is one new module with a class of the `Source` protocol, made from a folder and the choices of
`config.LabelConfig`, and one line in `KINDS`.
"""

import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from m3fm.clinical.records import ExamRecord
from m3fm.core.errors import InputError
from m3fm.core.files import text_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig
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
    from m3fm.config.sections import LabelConfig

    module, name = KINDS[kind].split(":")
    source: Source = getattr(importlib.import_module(module), name)(root, choices or LabelConfig())
    return source


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
