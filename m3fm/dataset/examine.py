"""Examination of one series: it is kept or rejected, and gets a record.

A record is a future row of series.parquet, with hashes instead of identifiers.
"""

import contextlib
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from m3fm.clinical.tasks import BOXES
from m3fm.cohort.keys import normal, plain
from m3fm.config.sections import CurateConfig
from m3fm.core.files import file_digest, read_json, write_json
from m3fm.ct.arrange import Geometry
from m3fm.ct.boxes import region_boxes
from m3fm.ct.dicom import read_volume, survey
from m3fm.ct.geometry import Box, Rejected
from m3fm.ct.headers import describe
from m3fm.ct.plausible import HuFigures, check_hu, measure_hu
from m3fm.ct.store import write_volume
from m3fm.ct.tags import read_tags
from m3fm.ct.volume import Series
from m3fm.dataset.tables import Record
from m3fm.privacy.identifiers import Identifiers, Seen, in_headers
from m3fm.privacy.pseudonyms import Salt

CRASHED = "crashed"
"""Reason of a series on which this program failed; the detail says where."""
WORK = "records"
"""Folder of records in an unfinished dataset."""
NO_TIMEPOINT = -1
"""Year of a series whose header names no screening year."""
NOTHING_READ = Series(
    voxels=np.empty((0, 0, 0), np.int16), voxel_size=(0.0, 0.0, 0.0), origin_mm=(0.0, 0.0, 0.0)
)
"""Series before any file is read."""
_STORED = ("slices", "rows", "columns", "voxel_z", "voxel_y", "voxel_x")
"""Columns of the stored volume where there is one, and of the files otherwise."""


def record_path(directory: Path, name: str) -> Path:
    """Find the record of a series in a dataset that is being made; `name` is the series' hash."""
    return directory / WORK / f"{name}.json"


def seen_path(directory: Path, name: str) -> Path:
    """Find the file of the patient's identifiers in the headers of a series."""
    return directory / WORK / "seen" / f"{name}.json"


def volume_path(name: str) -> str:
    """Find the voxels of a series, relative to the dataset."""
    return f"volumes/{name}.npy"


def read_record(directory: Path, name: str) -> Record:
    """Read the record of a series."""
    record: Record = read_json(record_path(directory, name))
    return record


def read_seen(directory: Path, name: str) -> Seen:
    """Read the patient's identifiers in the headers of a series."""
    return Seen(**read_json(seen_path(directory, name)))


def examine(
    name: str,
    uid: str,
    files: Sequence[Path],
    segmentations: Sequence[Path],
    unread: Mapping[str, int],
    directory: Path,
    config: CurateConfig,
    salt: Salt,
) -> str:
    """Read a series, find its regions, and write its volume and record, unless an earlier run has.

    `unread` counts the files beside it that cannot be read, by reason; with any, the series is incomplete.
    Returns "kept" or "rejected". Any failure to read the series rejects it; a failure to write is raised,
    because the series is not its cause.
    """
    if _is_done(directory, name):
        return str(read_record(directory, name)["status"])
    identifiers = Identifiers(salt)
    reason, detail, boxes = "", "", dict[str, Box]()
    scan, geometry, hu = replace(NOTHING_READ, series_uid=uid), Geometry(files=len(files)), HuFigures()
    try:
        with quiet_pydicom():
            surveyed = survey(files, identifiers.add, unread)
            write_json(seen_path(directory, name), identifiers.seen()._asdict())
            geometry = surveyed.geometry
            scan = replace(scan, **surveyed.first | {"series_uid": uid})
            scan = read_volume(surveyed, config.min_slices)
            hu = measure_hu(scan.voxels, surveyed.padded)
            check_hu(hu)
            boxes = region_boxes(scan, config.regions, segmentations)
    except Rejected as refusal:
        reason, detail = refusal.reason, refusal.detail
    except Exception as error:  # one bad series must not end the curation of all others
        reason, detail = CRASHED, _where(error)
    if not seen_path(directory, name).is_file():  # the survey crashed
        remember(directory, name, files, salt)
        scan = read_header(uid, files)
    record = make_record(scan, salt, reason, detail, boxes, geometry, hu)
    if not reason:
        volume = directory / volume_path(name)
        write_volume(volume, scan.voxels)
        record |= {"volume": volume_path(name), "digest": file_digest(volume)}
    write_json(record_path(directory, name), record)
    return str(record["status"])


def remember(directory: Path, name: str, files: Sequence[Path], salt: Salt) -> None:
    """Read all headers of a series, and write keyed hashes of their identifying values."""
    with quiet_pydicom():
        write_json(seen_path(directory, name), in_headers(files, salt)._asdict())


def read_header(uid: str, files: Sequence[Path]) -> Series:
    """Read patient, study and year of a series from its first file's header, without voxels."""
    try:
        with quiet_pydicom():
            return replace(NOTHING_READ, **describe(read_tags(files[0])) | {"series_uid": uid})
    except Exception:  # whatever a damaged file makes pydicom raise; the series is rejected for it elsewhere
        return replace(NOTHING_READ, series_uid=uid)


def make_record(
    scan: Series,
    salt: Salt,
    reason: str,
    detail: str,
    boxes: Mapping[str, Box],
    geometry: Geometry,
    hu: HuFigures,
) -> Record:
    """Make the record of a series; without a patient or a study it is taken to be alone in one.

    It holds what the images tell, and nothing of the source's tables.
    """
    kept = not reason
    study = plain(scan.study_uid) or scan.series_uid
    patient = scan.patient_id if plain(scan.patient_id) else study
    year = re.fullmatch(r"T?([0-2])", scan.timepoint.strip())
    stored = dict(zip(_STORED, (*scan.voxels.shape, *scan.voxel_size))) if kept else {}
    return {
        "series": salt.hashed("series", scan.series_uid),
        "study": salt.hashed("study", study),
        "patient": salt.hashed("patient", normal(patient)),
        "spelled": salt.hashed("patient", patient),
        "timepoint": int(year[1]) if year else NO_TIMEPOINT,
        "status": "kept" if kept else "rejected",
        "reason": reason,
        "detail": detail,
        **asdict(geometry),
        **asdict(hu),
        **stored,
        "manufacturer": scan.manufacturer,
        "model": scan.model,
        "kernel": scan.kernel,
        "thickness_mm": scan.thickness_mm,
        "instance_first": scan.instance_first,
        "instance_last": scan.instance_last,
        **{box: boxes.get(box) for box in BOXES},
        "volume": "",
        "digest": "",
    }


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Ignore pydicom's warnings: they quote values, and values identify patients."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def _is_done(directory: Path, name: str) -> bool:
    """Check whether an interrupted run left the series' record and its volume."""
    if not record_path(directory, name).is_file():
        return False
    record = read_record(directory, name)
    volume = directory / volume_path(name)
    return record["status"] == "rejected" or (volume.is_file() and file_digest(volume) == record["digest"])


def _where(error: Exception) -> str:
    """Describe an error by type and lines of code, without a value that could name a patient."""
    frames = list(traceback.walk_tb(error.__traceback__))
    lines = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in frames]
    return f"{type(error).__name__} at {' > '.join(lines)}"
