"""The source `idc`: NLST's CT as the Imaging Data Commons publishes it, an index and downloaded images.

The index is the file `idc_index.parquet` of the PyPI package `idc-index-data`, one row per series. COLUMNS
and collection_id are read. It has neither clinical data nor labels: if you have NLST's own tables, put the
images below their folder and use the kind nlst.

NLST's SeriesDescription has a grammar, fields separated by commas. The first is the screening year (0 to 2,
equal to the year of every study's shifted date). The second has the first letters of DICOM's ImageType:
Original or Derived, Primary or Secondary, then Axial, Localizer, Reformatted or Projection.
"""

import importlib.resources
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.clinical.records import ExamRecord
from m3fm.cohort.keys import Link, normal, plain
from m3fm.cohort.source import images_below, listing_digest
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

COLLECTION = "nlst"
LOCALIZER = "^[0-2],[OD][PS]L,"
REFORMAT = "^[0-2],[OD][PS][RP],"
INDEX = "idc_index.parquet"
COLUMNS = (
    *("analysis_result_id", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("sop_class_name", "SeriesDescription", "instanceCount"),
)


class IdcSource:
    """A folder with the index and images, or the index file alone, for a look at the series."""

    name = "idc"
    test_only = False
    simulated = False

    def __init__(self, root: Path, choices: "LabelConfig") -> None:
        """Open a folder with idc_index.parquet and images, or an index; raises InputError without one."""
        self.root = root
        self.index = root / INDEX if root.is_dir() else root
        self.images = root / "images"
        if not self.index.is_file():
            raise InputError(
                f"{self.index} is missing: it comes with the package idc-index-data ({INDEX} in its folder)"
            )

    def site(self, patient: str) -> str:
        """Return "nlst"; IDC does not publish the centres."""
        return COLLECTION

    def links(self) -> list[Link]:
        """Return an empty list: the index is one table."""
        return []

    def exams(self) -> list[ExamRecord]:
        """Return an exam without labels for every patient and screening year with an original CT series."""
        import pyarrow.compute as pc

        rows = self._read()
        original = pc.and_(pc.equal(rows["Modality"], "CT"), pc.is_null(rows["analysis_result_id"]))
        found = rows.filter(original).select(["PatientID", "StudyInstanceUID", "SeriesDescription"])
        studies: dict[tuple[str, int], set[str]] = defaultdict(set)
        for name, uid, description in zip(*(column.to_pylist() for column in found.columns)):
            patient, study = normal(name or ""), plain(uid or "")
            if not patient or not study:
                raise InputError(
                    f"{self.index}: a CT series has an empty PatientID or StudyInstanceUID; use the index as"
                    " it is published"
                )
            year = (description or "")[:1]
            if year not in ("0", "1", "2"):
                raise InputError(
                    f"{self.index}: a SeriesDescription does not start with a screening year, 0 to 2; "
                    "use the index as it is published"
                )
            studies[patient, int(year)].add(study)
        return [
            ExamRecord(
                patient_id=patient,
                timepoint=year,
                # Some patients have two studies in a year; curation then matches them by the year.
                study_uid=next(iter(uids)) if len(uids) == 1 else None,
            )
            for (patient, year), uids in sorted(studies.items())
        ]

    def image_paths(self) -> Iterable[Path]:
        """Return every file below `images`."""
        return images_below(self.images)

    def digest(self) -> str:
        """Return the SHA-256 of the index's bytes and the images' names and sizes."""
        return listing_digest(self.root, self.image_paths(), [f"{INDEX} {file_digest(self.index)}"])

    def listing(self) -> "pa.Table":
        """Return every NLST series of the index, results of analyses and pathology slides included."""
        import pyarrow.compute as pc

        from m3fm.cohort.selection import listing

        rows = self._read()
        return listing(
            {
                "series": rows["SeriesInstanceUID"],
                "study": rows["StudyInstanceUID"],
                "patient": rows["PatientID"],
                "modality": rows["Modality"],
                "analysis": rows["analysis_result_id"],
                "capture": pc.match_substring(rows["sop_class_name"], "Secondary Capture"),
                "localizer": pc.match_substring_regex(rows["SeriesDescription"], LOCALIZER),
                "reformat": pc.match_substring_regex(rows["SeriesDescription"], REFORMAT),
                "slices": rows["instanceCount"],
            }
        )

    def _read(self) -> "pa.Table":
        """Read COLUMNS of NLST's rows; raises InputError where the file lacks one or is not parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            absent = {"collection_id", *COLUMNS} - set(pq.read_schema(self.index).names)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.index} is not an index of IDC ({reason}); pass {INDEX}") from error
        if absent:
            raise InputError(f"{self.index} has no column {', '.join(sorted(absent))}; pass IDC's {INDEX}")
        texts = {name: pa.string() for name in COLUMNS} | {"instanceCount": pa.int64()}
        try:
            table = pq.read_table(
                self.index, columns=list(COLUMNS), filters=[("collection_id", "==", COLLECTION)]
            )
            return table.select(COLUMNS).cast(pa.schema([(name, texts[name]) for name in COLUMNS]))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{self.index} has columns of other types than IDC's ({reason}); pass IDC's {INDEX}"
            ) from error


def installed_index() -> Path:
    """Return the path of idc-index-data's index; raises InputError where the package is not installed."""
    try:
        return Path(str(importlib.resources.files("idc_index_data").joinpath(INDEX)))
    except ModuleNotFoundError as error:
        raise InputError(
            "no index is given or installed: pip install idc-index-data, or pass one with --index"
        ) from error


def download(series: Sequence[str], out: Path) -> None:
    """Fetch series from IDC's bucket to out/PATIENT/STUDY/SERIES; raises InputError without idc-index."""
    try:
        from idc_index import IDCClient
    except ModuleNotFoundError as error:
        raise InputError("downloading needs the package idc-index: pip install idc-index") from error
    out.mkdir(parents=True, exist_ok=True)
    IDCClient().download_from_selection(
        downloadDir=str(out),
        seriesInstanceUID=list(series),
        dirTemplate="%PatientID/%StudyInstanceUID/%SeriesInstanceUID",
    )
