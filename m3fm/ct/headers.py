"""The headers of single slices, read and checked, and the grouping of files into series."""

import logging
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from m3fm.core.files import files_below
from m3fm.ct.geometry import SPACING_MM, Rejected
from m3fm.ct.pixels import Pixels
from m3fm.ct.tags import Tags, read_tags, tag_of

log = logging.getLogger(__name__)

NAMELESS = ""
"""Key for damaged DICOM files that do not name their series."""
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR, which lists files and is not an image."""
DERIVED = {"SECONDARY", "MPR", "REFORMATTED", "MIP", "MINIP", "PROJECTION", "SCREEN", "SCREENSHOT"}
"""Words in the ImageType of images made from other images."""
LARGEST_SIDE = 4096
"""Most rows or columns of a CT image."""

_REQUIRED = {
    keyword: tag_of(keyword)
    for keyword in (
        "SOPClassUID",
        "Modality",
        "SeriesInstanceUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
    )
}
_OPTIONAL = {
    keyword: tag_of(keyword)
    for keyword in (
        "SOPInstanceUID",
        "InstanceNumber",
        "ImageType",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "HighBit",
        "RescaleType",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "AcquisitionNumber",
        "TemporalPositionIdentifier",
    )
}
_TAGS = _REQUIRED | _OPTIONAL
_BINARY = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
_SERIES = _REQUIRED["SeriesInstanceUID"]
_DESCRIPTION = {
    "StudyInstanceUID": "study_uid",
    "PatientID": "patient_id",
    "StudyDate": "study_date",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "ConvolutionKernel": "kernel",
    "ClinicalTrialTimePointID": "timepoint",
}
"""Fields of Series that are texts, by the keyword of their tag."""
_CONSTANT = {
    "patients": ("PatientID", "PatientName", "PatientBirthDate"),
    "studies": ("StudyInstanceUID",),
    "frames of reference": ("FrameOfReferenceUID",),
    "scanners": ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber"),
    "reconstruction kernels": ("ConvolutionKernel",),
    "slice thicknesses": ("SliceThickness",),
}
"""Tags that have one value in all slices of a volume, by what several values mean."""
_SAME_THICKNESS = 0.02
"""Fraction of the slice thickness that is taken for rounding."""
_DESCRIBING = tuple(
    {
        tag_of(keyword)
        for keywords in (("SeriesInstanceUID", "SliceThickness"), _DESCRIPTION, *_CONSTANT.values())
        for keyword in keywords
    }
)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Header:
    """The header of one slice."""

    file: Path
    instance_uid: str
    instance_number: int | None
    """InstanceNumber, None where it is missing or is not a number of 32 bits."""
    position: NDArray[np.float64]
    """Centre of the first pixel [3], LPS mm."""
    orientation: NDArray[np.float64]
    """Directions [6] of rising column index (first three numbers) and rising row index."""
    spacing: NDArray[np.float64]
    """mm between rows and between columns [2]."""
    shape: tuple[int, int]
    acquisition: tuple[str, str]
    """AcquisitionNumber and TemporalPositionIdentifier, "" where the file lacks one."""
    pixels: Pixels
    description: Tags
    """Tags for `describe`."""


def index(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Group DICOM files by SeriesInstanceUID, from files and from every level of directories.

    Damaged DICOM files without a series are grouped under NAMELESS. Other files are ignored; their number is
    logged.
    """
    series: dict[str, list[Path]] = {}
    ignored = 0
    for path in paths:
        for file in files_below(path) if path.is_dir() else [path]:
            if not os.path.isfile(file):
                continue
            uid = _series_of(file)
            if uid is None:
                ignored += 1
            else:
                series.setdefault(uid, []).append(file)
    if ignored:
        log.info("Ignored %d files that are not DICOM images", ignored)
    return series


def _series_of(file: Path) -> str | None:
    """Return the file's SeriesInstanceUID, or None where it is not a DICOM file or is a DICOMDIR."""
    try:
        tags = read_tags(file, last=_SERIES)
    except (InvalidDicomError, PermissionError):
        return None
    except Exception:  # whatever a damaged file makes pydicom raise
        return NAMELESS
    return None if tags.kind == DIRECTORY else tags.text(_SERIES)


def read(file: Path, where: str) -> Tags:
    """Read all tags of a file; `where` names it in a refusal. Raises Rejected("unreadable")."""
    try:
        return read_tags(file)
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise Rejected("unreadable", f"{where}: {type(error).__name__}") from error


def to_header(tags: Tags, file: Path, where: str) -> Header:
    """Check the tags of a file; `where` names it in a refusal. Raises Rejected."""
    _check_kind(tags, where)
    missing = [name for name in _REQUIRED if _is_missing(tags, name)]
    if missing:
        raise Rejected("missing_tags", f"{where}: {', '.join(missing)}")
    return Header(
        file=file,
        instance_uid=_text(tags, "SOPInstanceUID"),
        instance_number=_instance_number(tags),
        position=_numbers(tags, "ImagePositionPatient", 3, where),
        orientation=_orientation(tags, where),
        spacing=_spacing(tags, where),
        shape=(_side(tags, "Rows", where), _side(tags, "Columns", where)),
        acquisition=(_text(tags, "AcquisitionNumber"), _text(tags, "TemporalPositionIdentifier")),
        pixels=_pixels(tags, where),
        description=tags.only(_DESCRIBING),
    )


def describe(tags: Tags) -> dict[str, Any]:
    """Decode series, patient, study and scanner, as fields of Series; empty where that is not possible."""
    dataset = tags.only(_DESCRIBING).dataset()
    texts = {field: _decoded(dataset, keyword) for keyword, field in _DESCRIPTION.items()}
    thickness = _finite(_decoded(dataset, "SliceThickness")) or 0.0
    return {"series_uid": _decoded(dataset, "SeriesInstanceUID"), **texts, "thickness_mm": thickness}


def check_constant(headers: Sequence[Header]) -> None:
    """Refuse slices of more than one patient, study, frame of reference, scanner, kernel or thickness.

    An empty or missing value is unknown, not another one; neither is other case, nor punctuation in a name.
    Raises Rejected("mixed") without naming a value.
    """
    for what, keywords in _CONSTANT.items():
        for keyword in keywords:
            count = len(_different(headers, keyword))
            if count > 1:
                raise Rejected("mixed", f"{count} {what}")


def _different(headers: Sequence[Header], keyword: str) -> set[str]:
    """Return the different values of a tag; they are decoded only where their bytes differ."""
    tag = tag_of(keyword)
    examples = {header.description.value(tag).strip(b" \0"): header for header in headers}
    examples.pop(b"", None)
    if len(examples) < 2:
        return set(map(str, examples))
    texts = {_decoded(header.description.only([tag]).dataset(), keyword) for header in examples.values()}
    if keyword == "SliceThickness":
        sizes = [size for size in map(_finite, texts) if size]
        return texts if sizes and max(sizes) > (1 + _SAME_THICKNESS) * min(sizes) else set()
    written = r"[^\W_]+" if keyword == "PatientName" else r"\S+"
    return {" ".join(re.findall(written, text.casefold())) for text in texts} - {""}


def _decoded(dataset: pydicom.Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
        return "" if value is None else str(value)
    except Exception:  # pydicom decodes on access, and raises as it likes
        return ""


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _check_kind(tags: Tags, where: str) -> None:
    """Refuse what is not a single CT image."""
    modality, kind = _text(tags, "Modality"), _text(tags, "SOPClassUID")
    if modality not in ("CT", ""):
        raise Rejected("not_ct", f"{where}: another modality")
    if kind == SECONDARY_CAPTURE or kind.startswith(f"{SECONDARY_CAPTURE}."):
        raise Rejected("derived", f"{where}: a secondary capture")
    frames = _text(tags, "NumberOfFrames")
    if kind in ENHANCED_CT or frames not in ("", "0", "1"):
        raise Rejected("multi_frame", where)
    if kind not in (CT_IMAGE, ""):
        raise Rejected("not_ct", f"{where}: another kind of object")
    grey = _text(tags, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2", "")
    if _integer(tags, "SamplesPerPixel") not in (1, None) or not grey:
        raise Rejected("derived", f"{where}: in colour")
    image_type = _text(tags, "ImageType").upper()
    if "LOCALIZER" in image_type.split("\\"):
        raise Rejected("localizer", where)
    words = DERIVED.intersection(image_type.replace("\\", " ").replace("_", " ").split())
    if words:
        raise Rejected("derived", f"{where}: {min(words)}")


def _pixels(tags: Tags, where: str) -> Pixels:
    allocated, stored = _integer(tags, "BitsAllocated"), _integer(tags, "BitsStored")
    representation = _integer(tags, "PixelRepresentation")
    if allocated not in (8, 16, 32) or not stored or stored > allocated or representation not in (0, 1):
        raise Rejected("bad_tags", f"{where}: BitsAllocated, BitsStored or PixelRepresentation")
    declared = _integer(tags, "HighBit")
    high_bit = stored - 1 if declared is None else declared
    if not stored - 1 <= high_bit < allocated:
        raise Rejected("bad_tags", f"{where}: HighBit is {high_bit} for {stored} of {allocated} bits")
    if _text(tags, "RescaleType").upper() not in ("HU", ""):
        raise Rejected("not_hu", where)
    (slope,) = _numbers(tags, "RescaleSlope", 1, where)
    (intercept,) = _numbers(tags, "RescaleIntercept", 1, where)
    if slope == 0:
        raise Rejected("bad_tags", f"{where}: RescaleSlope is 0")
    signed = representation == 1
    # Signed padding is often declared as unsigned (63536 for -2000), so the pixels' type decides.
    padding = tags.integer(_TAGS["PixelPaddingValue"], signed)
    limit = tags.integer(_TAGS["PixelPaddingRangeLimit"], signed)
    ends = [value for value in (padding, padding if limit is None else limit) if value is not None]
    return Pixels(
        place=tags.pixels,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=signed,
        slope=float(slope),
        intercept=float(intercept),
        padding=None if padding is None else (min(ends), max(ends)),
    )


def _orientation(tags: Tags, where: str) -> NDArray[np.float64]:
    """Return two unit directions [6] at right angles. Raises Rejected where they are not."""
    cosines = _numbers(tags, "ImageOrientationPatient", 6, where)
    columns, rows = cosines.reshape(2, 3)
    if max(abs(columns @ columns - 1), abs(rows @ rows - 1), abs(columns @ rows)) > 0.01:
        raise Rejected("bad_tags", f"{where}: ImageOrientationPatient is not two directions at right angles")
    return cosines


def _spacing(tags: Tags, where: str) -> NDArray[np.float64]:
    spacing = _numbers(tags, "PixelSpacing", 2, where)
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        raise Rejected("bad_tags", f"{where}: PixelSpacing is {spacing.min():g}, {spacing.max():g} mm")
    return spacing


def _instance_number(tags: Tags) -> int | None:
    number = _finite(_text(tags, "InstanceNumber"))
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**31 else None


def _side(tags: Tags, name: str, where: str) -> int:
    size = _integer(tags, name)
    if size is None or not 2 <= size <= LARGEST_SIDE:
        raise Rejected("bad_tags", f"{where}: {name} is {size}")
    return size


def _is_missing(tags: Tags, name: str) -> bool:
    value = tags.value(_TAGS[name])
    return not (value if name in _BINARY else value.strip(b" \0"))


def _numbers(tags: Tags, name: str, count: int, where: str) -> NDArray[np.float64]:
    try:
        numbers = [float(part) for part in tags.value(_TAGS[name]).strip(b" \0").split(b"\\")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise Rejected("bad_tags", f"{where}: {name} does not hold {count} finite numbers")
    return np.array(numbers)


def _integer(tags: Tags, name: str) -> int | None:
    return tags.integer(_TAGS[name])


def _text(tags: Tags, name: str) -> str:
    return tags.text(_TAGS[name])
