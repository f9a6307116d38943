"""DICOM CT series to HU volumes; what cannot be trusted is refused with a named reason.

All headers are read and checked before the first pixel is: most bad series cost nothing more.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import pixel_array

from m3fm.ct.geometry import MAX_OBLIQUE_DEGREES, Rejected, canonical, check_hu
from m3fm.ct.volume import Series

log = logging.getLogger(__name__)

PADDING_HU = -1024
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")

_REQUIRED = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
)
_TAGS = [
    *_REQUIRED,
    "SOPClassUID",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "StudyInstanceUID",
    "PatientID",
    "StudyDate",
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "SliceThickness",
    "InstanceNumber",
    "ClinicalTrialTimePointID",
]


@dataclass(frozen=True, eq=False)
class Header:
    """What one file says of its slice, without the pixels."""

    file: Path
    tags: pydicom.Dataset
    position: NDArray[np.float64]
    """LPS mm of the centre of the first pixel."""
    orientation: NDArray[np.float64]
    """Directions of rising column index (first three numbers) and rising row index."""
    spacing: NDArray[np.float64]
    """mm between rows, between columns."""
    shape: tuple[int, int]


def index(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Group DICOM files by SeriesInstanceUID, from files and from every level of directories.

    Other files are ignored, and how many they were is logged.
    """
    series: dict[str, list[Path]] = {}
    ignored = 0
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if not file.is_file():
                continue
            try:
                tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
                series.setdefault(str(tags.SeriesInstanceUID), []).append(file)
            except Exception:  # not DICOM, or too damaged to say what it belongs to
                ignored += 1
    if ignored:
        log.info("%d files are no readable DICOM images and were ignored", ignored)
    return series


def read_series(files: Sequence[Path], min_slices: int = 2) -> Series:
    """Read the files of one series into HU in the canonical orientation.

    Raises Rejected with any reason of REASONS but no_lungs and no_heart.
    """
    slices = [_read_header(file, f"file {number} of {len(files)}") for number, file in enumerate(files, 1)]
    slices = arrange(slices, min_slices)
    voxels = np.empty((len(slices), *slices[0].shape), np.int16)
    for number, header in enumerate(slices):
        voxels[number] = _read_hu(header, f"slice {number} of {len(slices)}")
    voxels, voxel_size, origin = canonical(voxels, _affine(slices))
    check_hu(voxels)
    first, last = slices[0].tags, slices[-1].tags
    return Series(
        voxels=voxels,
        voxel_size=voxel_size,
        origin_mm=origin,
        series_uid=_text(first, "SeriesInstanceUID"),
        study_uid=_text(first, "StudyInstanceUID"),
        patient_id=_text(first, "PatientID"),
        study_date=_text(first, "StudyDate"),
        manufacturer=_text(first, "Manufacturer"),
        model=_text(first, "ManufacturerModelName"),
        kernel=_text(first, "ConvolutionKernel"),
        thickness_mm=float(first.get("SliceThickness") or 0),
        instance_first=int(first.get("InstanceNumber") or 0),
        instance_last=int(last.get("InstanceNumber") or 0),
        timepoint=_text(first, "ClinicalTrialTimePointID"),
    )


def arrange(slices: Sequence[Header], min_slices: int) -> list[Header]:
    """The slices from the feet to the head, once they are known to make one evenly sampled axial volume."""
    if len(slices) < max(min_slices, 2):
        raise Rejected("too_few_slices", f"{len(slices)}, of at least {max(min_slices, 2)}")
    _same(slices, "size", lambda header: header.shape)
    _same(slices, "orientation", lambda header: header.orientation, tolerance=1e-3)
    _same(slices, "pixel spacing", lambda header: header.spacing, tolerance=1e-3)
    along_columns, along_rows = slices[0].orientation.reshape(2, 3)
    normal = np.cross(along_columns, along_rows)
    normal *= np.copysign(1.0, normal[2])  # towards the head, for axial slices
    slices = sorted(slices, key=lambda header: float(header.position @ normal))
    positions = np.stack([header.position for header in slices])
    _check_steps(np.diff(positions @ normal))
    travel = positions[-1] - positions[0]
    cosine = travel @ normal / np.linalg.norm(travel)
    if cosine < np.cos(np.radians(1)):
        raise Rejected("tilted", f"{np.degrees(np.arccos(cosine)):.0f} degrees")
    if normal[2] < np.cos(np.radians(MAX_OBLIQUE_DEGREES)):
        raise Rejected("not_axial", f"{np.degrees(np.arccos(normal[2])):.0f} degrees off")
    straight = positions[0] + np.linspace(0, 1, len(slices))[:, None] * travel
    if np.abs((positions - straight) @ np.stack([along_columns, along_rows], 1)).max() > 1:
        raise Rejected("inconsistent", "slices are shifted against each other")
    return slices


def _check_steps(steps: NDArray[np.float64]) -> None:
    """Refuse slices that are not evenly spaced, given the mm from each to the next."""
    usual = np.median(steps)
    if steps.min() < 1e-3:
        raise Rejected("duplicate_slices", f"at slice {int(steps.argmin())}")
    if steps.max() > 1.5 * usual:
        raise Rejected("gap", f"{steps.max():.2f} mm after slice {int(steps.argmax())}, usually {usual:.2f}")
    if steps.min() < 0.75 * usual or steps.max() > 1.25 * usual:
        raise Rejected("inconsistent", f"steps between slices from {steps.min():.2f} to {steps.max():.2f} mm")


def _same(
    slices: Sequence[Header], what: str, value: Callable[[Header], Any], tolerance: float = 0.0
) -> None:
    for header in slices:
        if np.abs(np.subtract(value(header), value(slices[0]))).max() > tolerance:
            raise Rejected("inconsistent", f"slices differ in {what}")


def _affine(slices: Sequence[Header]) -> NDArray[np.float64]:
    """From indices [slice, row, column, 1] to LPS mm; the slice step is the mean of the positions' steps."""
    first = slices[0]
    along_columns, along_rows = first.orientation.reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = (slices[-1].position - first.position) / (len(slices) - 1)
    affine[:3, 1] = along_rows * first.spacing[0]
    affine[:3, 2] = along_columns * first.spacing[1]
    affine[:3, 3] = first.position
    return affine


def _read_header(file: Path, where: str) -> Header:
    """The header of one file; `where` names it in a refusal."""
    try:
        tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        return _header(file, tags, where)
    except Rejected:
        raise
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise Rejected("unreadable", f"{where}: {type(error).__name__}") from error


def _header(file: Path, tags: pydicom.Dataset, where: str) -> Header:
    if tags.get("SOPClassUID") in ENHANCED_CT or int(tags.get("NumberOfFrames") or 1) > 1:
        raise Rejected("multi_frame", where)
    if tags.get("Modality") != "CT" or tags.get("SOPClassUID") != CT_IMAGE:
        raise Rejected("not_ct", f"{where}: modality {tags.get('Modality')}")
    if tags.get("SamplesPerPixel", 1) != 1:
        raise Rejected("not_ct", f"{where}: in colour")
    if "LOCALIZER" in (tags.get("ImageType") or ()):
        raise Rejected("localizer", where)
    missing = [name for name in _REQUIRED if name not in tags or tags[name].is_empty]
    if missing:
        raise Rejected("missing_tags", f"{where}: {', '.join(missing)}")
    return Header(
        file=file,
        tags=tags,
        position=np.array(tags.ImagePositionPatient, float).reshape(3),
        orientation=np.array(tags.ImageOrientationPatient, float).reshape(6),
        spacing=np.array(tags.PixelSpacing, float).reshape(2),
        shape=(int(tags.Rows), int(tags.Columns)),
    )


def _read_hu(header: Header, where: str) -> NDArray[np.int16]:
    """The pixels of one slice in HU; padding becomes -1024."""
    try:
        stored = pixel_array(header.file, raw=True)
    except Exception as error:  # each decoder raises its own
        raise Rejected("unreadable", f"{where}: {type(error).__name__}") from error
    tags = header.tags
    padded = _padding(stored, tags)
    if tags.get("PhotometricInterpretation") == "MONOCHROME1":
        stored = ~stored if tags.PixelRepresentation else 2**tags.BitsStored - 1 - stored
    slope, intercept = float(tags.RescaleSlope), float(tags.RescaleIntercept)
    if slope.is_integer() and intercept.is_integer():
        hu = stored.astype(np.int32) * int(slope) + int(intercept)
    else:
        hu = np.rint(stored * slope + intercept)
    # A padding value that is also a tissue's is left: painting it over would punch holes into the body.
    hu[padded & ((hu < -1000) | (hu > 3000))] = PADDING_HU
    return hu.clip(-32768, 32767).astype(np.int16)


def _padding(stored: NDArray[Any], tags: pydicom.Dataset) -> NDArray[np.bool_]:
    """Where the stored values are declared to be padding."""
    value = tags.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = tags.get("PixelPaddingRangeLimit")
    # Signed values are often declared as unsigned ones (63536 for -2000): the pixels' type decides.
    low, high = np.sort(np.array([value, value if limit is None else limit]).astype(stored.dtype))
    return (stored >= low) & (stored <= high)


def _text(tags: pydicom.Dataset, name: str) -> str:
    value = tags.get(name)
    return "" if value is None else str(value)
