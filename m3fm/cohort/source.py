"""The `Source` protocol of exams and images, the known kinds of sources, and `open_source`.

source = open_source("nlst", Path("cohort"))
source.exams()   # records of m3fm.clinical.records

A new source is one new module with a class of the protocol, constructed from a folder and a `LabelConfig`,
and one line in `KINDS`.
"""

import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from m3fm.clinical.records import ExamRecord
from m3fm.cohort.keys import Link
from m3fm.core.errors import InputError
from m3fm.core.files import files_below, text_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

KINDS = {
    "nlst": "m3fm.cohort.nlst:NlstSource",
    "idc": "m3fm.cohort.idc:IdcSource",
    "midrc": "m3fm.cohort.midrc:MidrcSource",
    "openm3chest": "m3fm.cohort.openm3chest:OpenM3ChestSource",
    "hospital": "m3fm.cohort.hospital:HospitalSource",
    "dicom": "m3fm.cohort.dicom_folder:DicomFolder",
}
"""Classes that read a source, by its kind."""


class Source(Protocol):
    """Exams and images from one place."""

    name: str
    test_only: bool
    """Whether the source is independent: no model trains on any of its patients."""

    simulated: bool
    """Whether the images are drawn phantoms: results on them do not hold for patients."""

    def site(self, patient: str) -> str:
        """Return the institution of a patient of the tables; of any other, what is known of all."""
        ...

    def exams(self) -> list[ExamRecord]:
        """Return every exam of the tables; a series without an exam has no labels.

        Patients have the normal form of `m3fm.cohort.keys`. Reads and checks every table.
        """
        ...

    def links(self) -> list[Link]:
        """Return how many rows of each table link to a row of another."""
        ...

    def image_paths(self) -> Iterable[Path]:
        """Return every file that may be an image, in a fixed order."""
        ...

    def digest(self) -> str:
        """Return a SHA-256 that changes with the source's content."""
        ...

    def listing(self) -> "pa.Table":
        """Return every series of the tables or, without tables, of the headers, as `selection.LISTING`."""
        ...


def open_source(kind: str, root: Path, choices: "LabelConfig | None" = None) -> Source:
    """Open a source by its kind; raises InputError where the kind is not a key of KINDS.

    `choices` define what counts as an event in its labels.
    """
    if kind not in KINDS:
        raise InputError(f"no source is of kind {kind!r}; there are {', '.join(KINDS)}")
    from m3fm.config.sections import LabelConfig

    module, name = KINDS[kind].split(":")
    source: Source = getattr(importlib.import_module(module), name)(root, choices or LabelConfig())
    return source


def images_below(folder: Path) -> Iterator[Path]:
    """Yield every file of a source's images; raises InputError where the folder does not exist."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: put the DICOM there")
    return files_below(folder)


def images_digest(images: Iterable[Path]) -> str:
    """Return the SHA-256 of the images' paths, sizes and times of change, in any order."""
    lines = (f"{path.as_posix()} {_size(path)} {_stat(path).st_mtime_ns}" for path in images)
    return text_digest("\n".join(sorted(lines)))


def listing_digest(root: Path, images: Iterable[Path], contents: Iterable[str] = ()) -> str:
    """Return the SHA-256 of the images' paths and sizes, and of `contents`, lines that stand for other files.

    The bytes of the images are not read: a trial has terabytes, and curation computes a digest of every
    volume. A file that cannot be opened counts as another one than the same that can.
    """
    lines = [f"{path.relative_to(root).as_posix()} {_size(path)}" for path in images]
    return text_digest("\n".join([*contents, *lines]))


def _size(path: Path) -> str:
    size = str(_stat(path).st_size)
    return size if os.access(path, os.R_OK, effective_ids=True) else f"{size} not readable"


def _stat(path: Path) -> os.stat_result:
    """Return the state of the file that a path leads to, or of a link that leads nowhere."""
    return path.stat() if path.exists() else path.lstat()
