"""DICOM CT series to HU volumes; untrustworthy series are refused with a named reason.

All headers are read and checked before the first pixel, so most bad series are refused cheaply.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from m3fm.ct.arrange import Geometry, check, in_order, measure
from m3fm.ct.geometry import Rejected, canonical
from m3fm.ct.headers import Header, index, read_header
from m3fm.ct.pixels import check_length, read_hu
from m3fm.ct.plausible import check_hu, measure_hu
from m3fm.ct.volume import Series

__all__ = ["Survey", "describe", "index", "read_series", "read_volume", "survey"]

_DESCRIPTION = {
    "StudyInstanceUID": "study_uid",
    "PatientID": "patient_id",
    "StudyDate": "study_date",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "ConvolutionKernel": "kernel",
    "ClinicalTrialTimePointID": "timepoint",
}
"""Text fields of Series, by the keyword of their tag."""


@dataclass(frozen=True, eq=False)
class Survey:
    """The headers of a series, read and measured before any pixel."""

    slices: list[Header]
    """Usable slices in order, without copies."""
    geometry: Geometry
    refusal: Rejected | None
    """Why the first unusable file was refused."""

    @property
    def padded(self) -> bool:
        """Whether files declare a padding value."""
        return any(header.pixels.padding is not None for header in self.slices)


def survey(files: Sequence[Path]) -> Survey:
    """Read the headers of the files of one series."""
    headers, refusal = [], None
    for number, file in enumerate(files, 1):
        try:
            headers.append(read_header(file, f"file {number} of {len(files)}"))
        except Rejected as rejected:
            refusal = refusal or rejected
    try:
        slices = _without_copies(headers)
    except Rejected as rejected:
        slices, refusal = headers, refusal or rejected
    slices = in_order(slices) if slices else []
    return Survey(slices, measure(slices, len(files), len(headers) - len(slices)), refusal)


def read_series(files: Sequence[Path], min_slices: int = 2) -> Series:
    """Read the files of one series into HU in the canonical orientation.

    Raises Rejected with any reason of REASONS but no_lungs and no_heart.
    """
    surveyed = survey(files)
    series = read_volume(surveyed, min_slices)
    check_hu(measure_hu(series.voxels, surveyed.padded))
    return series


def read_volume(surveyed: Survey, min_slices: int) -> Series:
    """Read a surveyed series into HU in the canonical orientation; its headers must make one axial volume.

    Raises Rejected with any reason of REASONS but implausible_hu, no_lungs and no_heart.
    """
    if surveyed.refusal:
        raise surveyed.refusal
    slices = surveyed.slices
    check(slices, surveyed.geometry, min_slices)
    where = [f"slice {number} of {len(slices)}" for number in range(len(slices))]
    # Check before allocating memory: rows and columns may hold anything.
    for header, name in zip(slices, where):
        check_length(header.pixels, header.shape, name)
    voxels = np.empty((len(slices), *slices[0].shape), np.int16)
    for header, out, name in zip(slices, voxels, where):
        read_hu(header.file, header.pixels, out, name)
    voxels, voxel_size, origin = canonical(voxels, _affine(slices))
    instance_first, instance_last = _instances(slices[0].file, slices[-1].file)
    return Series(
        voxels=voxels,
        voxel_size=voxel_size,
        origin_mm=origin,
        **describe(slices[0].file),
        instance_first=instance_first,
        instance_last=instance_last,
    )


def describe(file: Path) -> dict[str, Any]:
    """Read series, patient, study and scanner from a file's header, as fields of Series.

    Missing or undecodable values are empty. Raises Rejected("unreadable").
    """
    header = _read(file, "SeriesInstanceUID", "SliceThickness", *_DESCRIPTION)
    texts = {field: _text(header, keyword) for keyword, field in _DESCRIPTION.items()}
    thickness = _number(header, "SliceThickness")
    return {"series_uid": _text(header, "SeriesInstanceUID"), **texts, "thickness_mm": thickness}


def _instances(first: Path, last: Path) -> tuple[int, int]:
    """Read the InstanceNumbers of both ends; return (0, 0) where they locate no slice between: one is missing
    or not a whole number, or they are the same.
    """
    one, other = _instance(first), _instance(last)
    if one is None or other is None or one == other:
        return 0, 0
    return one, other


def _instance(file: Path) -> int | None:
    try:
        number = int(_text(_read(file, "InstanceNumber"), "InstanceNumber"))
    except ValueError:
        return None
    return number if abs(number) < 2**31 else None


def _read(file: Path, *keywords: str) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise Rejected("unreadable", f"a header: {type(error).__name__}") from error


def _text(header: pydicom.Dataset, keyword: str) -> str:
    try:
        value = header.get(keyword)
        return "" if value is None else str(value)
    except Exception:  # pydicom decodes on access and may raise anything
        return ""


def _number(header: pydicom.Dataset, keyword: str) -> float:
    """Return a tag's number, 0 where it is missing or not a number."""
    try:
        number = float(_text(header, keyword) or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _affine(slices: Sequence[Header]) -> NDArray[np.float64]:
    """Return the affine [4, 4] from indices [slice, row, column, 1] to LPS mm, with the mean slice step."""
    first = slices[0]
    along_columns, along_rows = first.orientation.reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = (slices[-1].position - first.position) / (len(slices) - 1)
    affine[:3, 1] = along_rows * first.spacing[0]
    affine[:3, 2] = along_columns * first.spacing[1]
    affine[:3, 3] = first.position
    return affine


def _without_copies(headers: Sequence[Header]) -> list[Header]:
    """Leave out files that repeat the instance, pixels and position of an earlier file.

    Two different images with one instance UID are both kept; checking their positions finds them.
    """
    instances: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        instances[header.instance_uid].append(header)
    copies: set[int] = set()
    for uid, alike in instances.items():
        for earlier, later in combinations(alike if uid else [], 2):
            if id(later) not in copies and _same_image(earlier, later):
                copies.add(id(later))
    return [header for header in headers if id(header) not in copies]


def _same_image(one: Header, other: Header) -> bool:
    if one.shape != other.shape or not np.allclose(one.position, other.position):
        return False
    hu = np.empty((2, *one.shape), np.int16)
    for header, out in zip((one, other), hu):
        check_length(header.pixels, header.shape, "a file that is there twice")
        read_hu(header.file, header.pixels, out, "a file that is there twice")
    return bool((hu[0] == hu[1]).all())
