"""A folder of DICOM files and nothing else: exams of unknown patients, for testing only."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.cohort.source import ExamRecord, files_below, listing_digest
from m3fm.errors import InputError

if TYPE_CHECKING:
    from m3fm.ct.volume import Series


class DicomFolder:
    """Images without tables: curation makes exams without labels from the series' headers."""

    name = "dicom"
    test_only = True

    def __init__(self, root: Path) -> None:
        """Open the folder; raises InputError where there is none."""
        if not root.is_dir():
            raise InputError(f"{root} is no folder: give the folder that holds the DICOM files")
        self.root = root

    def site(self, series: "Series") -> str:
        """Headers are not trusted to name the institution."""
        return "external"

    def exams(self) -> list[ExamRecord]:
        """None: no tables tell of the exams."""
        return []

    def image_paths(self) -> Iterable[Path]:
        """Every file below the folder."""
        return files_below(self.root)

    def digest(self) -> str:
        """SHA-256 of the files' names and sizes."""
        return listing_digest(self.root, self.image_paths())
