"""The source `dicom`: a folder of DICOM files without tables, for testing only."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.clinical.records import ExamRecord
from m3fm.cohort.keys import Link, normal
from m3fm.cohort.source import listing_digest
from m3fm.core.errors import InputError
from m3fm.core.files import files_below

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Beginning of the SOP class UIDs of all secondary captures (screenshots)."""
REFORMATS = {"REFORMATTED", "MPR", "PROJECTION IMAGE"}
"""Values of ImageType that mark reformats and projections of other slices."""


class DicomFolder:
    """Images without tables; curation makes exams without labels from the series' headers."""

    name = "dicom"
    test_only = True
    simulated = False

    def __init__(self, root: Path, choices: "LabelConfig") -> None:
        """Open the folder; raises InputError where it does not exist. Without labels, no choice applies."""
        if not root.is_dir():
            raise InputError(f"{root} is not a folder; pass the folder that holds the DICOM files")
        self.root = root

    def site(self, patient: str) -> str:
        """Return "external"; headers are not trusted to name the institution."""
        return "external"

    def exams(self) -> list[ExamRecord]:
        """Return an empty list: without tables no exam is known."""
        return []

    def links(self) -> list[Link]:
        """Return an empty list: without tables nothing is linked."""
        return []

    def image_paths(self) -> Iterable[Path]:
        """Return every file below the folder."""
        return files_below(self.root)

    def digest(self) -> str:
        """Return the SHA-256 of the files' names and sizes."""
        return listing_digest(self.root, self.image_paths())

    def listing(self) -> "pa.Table":
        """Return every series below the folder, from the headers."""
        return listing_of_headers(self.image_paths())


def listing_of_headers(paths: Iterable[Path]) -> "pa.Table":
    """List the series in files (`selection.LISTING`) from the first header of each; no pixel is read."""
    import pyarrow as pa

    from m3fm.cohort.selection import LISTING
    from m3fm.ct.dicom import index
    from m3fm.ct.tags import read_dataset

    rows = []
    for uid, files in sorted(index(paths).items()):
        header = read_dataset(min(files), pixels=False)
        kinds = {str(kind).upper() for kind in header.get("ImageType") or ()}
        study = str(header.get("StudyInstanceUID") or uid)
        rows.append(
            {
                "series": uid,
                "study": study,
                "patient": normal(str(header.get("PatientID") or study)),
                "modality": str(header.get("Modality") or "") or None,
                "capture": str(header.get("SOPClassUID")).startswith(SECONDARY_CAPTURE),
                "localizer": "LOCALIZER" in kinds,
                "reformat": bool(kinds & REFORMATS),
                "slices": len(files),
            }
        )
    return pa.Table.from_pylist(rows, LISTING)
