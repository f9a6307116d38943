"""One CT series from a path: a NIfTI file, or a folder of DICOM."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from m3fm.core.errors import InputError
from m3fm.core.files import files_below
from m3fm.ct import dicom
from m3fm.ct.headers import NAMELESS
from m3fm.ct.masks import find_segmentations
from m3fm.ct.unread import Unread, count_beside, find_unread, reasons_of
from m3fm.ct.volume import Series, read_nifti


def read_ct(path: Path | str, series: str | None = None) -> Series:
    """Read a NIfTI file, or the one series in a folder of DICOM (or the one with that SeriesInstanceUID).

    Segmentations in the folder are skipped. Raises InputError where the path does not hold the series, or
    holds several to choose from; Rejected where the series cannot be used, or files beside it cannot be read.
    """
    path = Path(path)
    if path.is_file() and path.name.lower().endswith((".nii", ".nii.gz")):
        return read_nifti(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a folder of DICOM files or a .nii(.gz) file")
    segmentations = {file for files in segmentations_of(path).values() for file in files}
    files = [file for file in _files(path) if file not in segmentations]
    found = dicom.index(files)
    unread = find_unread(files, found)
    found.pop(NAMELESS, None)
    if not found:
        what = _without_images(unread)
        raise InputError(f"{path} {what}: name a folder of DICOM files or a .nii(.gz) file")
    if series is None and len(found) > 1:
        sizes = ", ".join(f"{uid} ({len(files)} slices)" for uid, files in sorted(found.items()))
        raise InputError(f"{path} holds {len(found)} series, name the folder of one: {sizes}")
    if series is not None and series not in found:
        raise InputError(f"{path} does not hold series {series}; it holds {', '.join(sorted(found))}")
    uid = series or next(iter(found))
    return dicom.read_series(found[uid], unread=count_beside(unread.values()).get(uid, {}))


def _without_images(unread: Mapping[Path, Unread]) -> str:
    """Describe a folder without a series by the files in it that cannot be read."""
    reasons = Counter(file.reason for file in unread.values())
    why = f" that can be read (its files: {reasons_of(reasons)})" if reasons else ""
    return f"holds no DICOM image{why}"


def segmentations_of(path: Path) -> dict[str, list[Path]]:
    """Return the segmentations in a folder by SeriesInstanceUID: DICOM SEG, and NIfTI maps named by one."""
    if not path.is_dir():
        return {}
    return {uid: sorted(files) for uid, files in find_segmentations(_files(path)).items()}


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(files_below(path))
