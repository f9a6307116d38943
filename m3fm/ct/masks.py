"""Regions from segmentations that others made: DICOM SEG, NIfTI label maps, and TotalSegmentator.

`m3fm.ct.regions` finds the boxes without any; here they are those of the structures that the paper names
(Methods, CT data processing): the lobes of each lung; myocardium, atria, ventricles and pulmonary artery.
"""

from collections import defaultdict
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import iter_pixels
from scipy import ndimage

from m3fm.ct.geometry import Box, Rejected
from m3fm.ct.volume import Series, to_nifti
from m3fm.errors import InputError

Points = NDArray[np.float64]
"""Corners [n, 3] of what was segmented, LPS mm."""

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LEFT, RIGHT = "7771000", "24028007"
"""SNOMED CT codes of the modifiers."""


class Structure(NamedTuple):
    """What belongs to one of the boxes, and its SNOMED CT codes in a DICOM SEG."""

    box: str
    code: str
    """Of its type."""
    side: str = ""
    """Of the modifier of its type, where the type is the same on both sides."""
    sided_code: str = ""
    """Of a type that holds the side, which some writers use."""


STRUCTURES = {
    "lung_upper_lobe_left": Structure("left_lung", "45653009", LEFT, "44714003"),
    "lung_lower_lobe_left": Structure("left_lung", "90572001", LEFT, "41224006"),
    "lung_left": Structure("left_lung", "39607008", LEFT, "44029006"),
    "lung_upper_lobe_right": Structure("right_lung", "45653009", RIGHT, "42400003"),
    "lung_middle_lobe_right": Structure("right_lung", "72481006"),
    "lung_lower_lobe_right": Structure("right_lung", "90572001", RIGHT, "266005"),
    "lung_right": Structure("right_lung", "39607008", RIGHT, "3341006"),
    "heart": Structure("heart", "80891009"),
    "heart_myocardium": Structure("heart", "74281007"),
    "heart_atrium_left": Structure("heart", "82471001"),
    "heart_atrium_right": Structure("heart", "73829009"),
    "heart_ventricle_left": Structure("heart", "87878005"),
    "heart_ventricle_right": Structure("heart", "53085002"),
    "pulmonary_artery": Structure("heart", "81040000"),
}
"""By the name that TotalSegmentator has for it. Its first version, which NLST's public segmentations are of,
has the parts of the heart and the pulmonary artery; its second has the heart as one, without the artery."""

TOTAL = {
    10: "lung_upper_lobe_left",
    11: "lung_lower_lobe_left",
    12: "lung_upper_lobe_right",
    13: "lung_middle_lobe_right",
    14: "lung_lower_lobe_right",
    51: "heart",
}
"""Values of label maps of the task `total`, TotalSegmentator 2."""
TOTAL_V1 = {
    13: "lung_upper_lobe_left",
    14: "lung_lower_lobe_left",
    15: "lung_upper_lobe_right",
    16: "lung_middle_lobe_right",
    17: "lung_lower_lobe_right",
    44: "heart_myocardium",
    45: "heart_atrium_left",
    46: "heart_ventricle_left",
    47: "heart_atrium_right",
    48: "heart_ventricle_right",
    49: "pulmonary_artery",
}
"""The same, TotalSegmentator 1."""

_BY_CODE = {(structure.code, structure.side): structure.box for structure in STRUCTURES.values()} | {
    (structure.sided_code, ""): structure.box for structure in STRUCTURES.values() if structure.sided_code
}


def regions_from_seg(path: Path, series: Series) -> dict[str, Box]:
    """Boxes of left_lung, right_lung, both_lungs and heart, in voxels of the series, from a DICOM SEG of it.

    Raises InputError where the file is no segmentation of this series, Rejected("no_lungs") or
    Rejected("no_heart") where one of them is not segmented.
    """
    try:
        dataset = pydicom.dcmread(path)
        if dataset.SOPClassUID != SEGMENTATION:
            raise InputError(f"{path} is no DICOM segmentation: give a DICOM SEG of the series")
        referenced = {str(item.SeriesInstanceUID) for item in dataset.get("ReferencedSeriesSequence") or ()}
        if series.series_uid not in referenced:
            raise InputError(f"{path} is a segmentation of another series than the one it was given for")
        axes, corners = _segmented(dataset, series.voxel_size[0])
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise InputError(f"{path} cannot be read: {type(error).__name__}") from error
    return _boxes(corners, axes, series)


def regions_from_labels(path: Path, labels: Mapping[int, str], series: Series) -> dict[str, Box]:
    """The same from a NIfTI label map, in whatever grid; `labels` names its values as STRUCTURES does.

    Raises InputError where the file cannot be read, Rejected("no_lungs") or Rejected("no_heart").
    """
    import nibabel

    try:
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise InputError(f"{path} cannot be read: {type(error).__name__}") from error
    if values.ndim != 3:
        raise InputError(f"{path} has {values.ndim} dimensions: give a label map of three")
    return _label_boxes(values, image.affine, labels, series)


def regions_by_totalsegmentator(series: Series, fast: bool = True) -> dict[str, Box]:
    """The same by TotalSegmentator's open task `total`; `fast` is its model of 3 mm, precise enough here.

    Raises InputError where TotalSegmentator is not installed, Rejected("no_lungs") or Rejected("no_heart").
    """
    try:
        from totalsegmentator.map_to_binary import class_map  # type: ignore[import-not-found,unused-ignore]
        from totalsegmentator.python_api import (  # type: ignore[import-not-found,unused-ignore]
            totalsegmentator,
        )
    except ImportError as error:
        raise InputError(
            "TotalSegmentator is not installed: pip install TotalSegmentator, or use the built-in localizer"
        ) from error
    labels = {value: name for value, name in class_map["total"].items() if name in STRUCTURES}
    image = totalsegmentator(
        to_nifti(series), None, ml=True, fast=fast, task="total", roi_subset=list(labels.values()), quiet=True
    )
    return _label_boxes(np.asarray(image.dataobj), image.affine, labels, series)


def _label_boxes(
    values: NDArray[Any], affine: NDArray[np.float64], labels: Mapping[int, str], series: Series
) -> dict[str, Box]:
    """Boxes from a label map and its NIfTI affine."""
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    found = ndimage.find_objects(values.astype(np.int32), max(labels))
    corners: dict[str, list[Points]] = defaultdict(list)
    for value, name in labels.items():
        if (places := found[value - 1]) is not None:
            edges = product(*((part.start - 0.5, part.stop - 0.5) for part in places), (1.0,))
            corners[STRUCTURES[name].box].append(np.array(list(edges)) @ to_lps[:3].T)
    directions = to_lps[:3, :3].T
    axes = _axes(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    return _boxes({box: np.concatenate(parts) for box, parts in corners.items()}, axes, series)


def _segmented(dataset: pydicom.Dataset, thickness: float) -> tuple[Points, dict[str, Points]]:
    """The axes of a segmentation, and the corners of what it has of each box, slices being `thickness` mm."""
    wanted = {int(part.SegmentNumber): box for part in dataset.SegmentSequence if (box := _box_of(part))}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = {
        number: frame
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence)
        if int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber) in wanted
    }
    if not frames:
        return np.eye(3), {}
    first = next(iter(frames.values()))
    spacing = _of_frame(first, shared, "PixelMeasuresSequence").PixelSpacing
    cosines = _of_frame(first, shared, "PlaneOrientationSequence").ImageOrientationPatient
    row_mm, column_mm = map(float, spacing)
    along_columns, along_rows = np.array(cosines, float).reshape(2, 3)
    normal = np.cross(along_columns, along_rows)
    corners: dict[str, list[Points]] = defaultdict(list)
    for frame, pixels in zip(frames.values(), iter_pixels(dataset, indices=list(frames), raw=True)):
        if not pixels.any():
            continue
        rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        box = wanted[int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        corners[box].append(
            np.array(
                [
                    position + row * row_mm * along_rows + column * column_mm * along_columns + z * normal
                    for row in (rows[0] - 0.5, rows[-1] + 0.5)
                    for column in (columns[0] - 0.5, columns[-1] + 0.5)
                    for z in (-thickness / 2, thickness / 2)
                ]
            )
        )
    axes = _axes(np.stack([normal, along_rows, along_columns]))
    return axes, {box: np.concatenate(parts) for box, parts in corners.items()}


def _box_of(segment: pydicom.Dataset) -> str | None:
    """The box that a segment of a DICOM SEG belongs to, by the code of its type and that of its side."""
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    code = str(kind.CodeValue)
    for side in kind.get("SegmentedPropertyTypeModifierCodeSequence") or ():
        if (code, str(side.CodeValue)) in _BY_CODE:
            return _BY_CODE[code, str(side.CodeValue)]
    return _BY_CODE.get((code, ""))


def _of_frame(frame: pydicom.Dataset, shared: pydicom.Dataset, group: str) -> pydicom.Dataset:
    """A functional group of a frame, its own or that of all."""
    return (frame.get(group) or shared[group])[0]


def _axes(directions: Points) -> Points:
    """Directions of rising slice, row and column, canonical, from those of a mask's axes."""
    order = np.abs(directions).argmax(axis=0)[::-1]
    if len(set(order.tolist())) < 3:
        raise InputError("a segmentation is turned against the patient's axes: resample it to its series")
    axes = directions[order]
    upwards: Points = axes * np.sign(axes[[0, 1, 2], [2, 1, 0]])[:, None]
    return upwards


def _boxes(corners: Mapping[str, Points], axes: Points, series: Series) -> dict[str, Box]:
    """The boxes around corners, in voxels of a series whose axes they share."""
    boxes = {}
    for name, reason in {"left_lung": "no_lungs", "right_lung": "no_lungs", "heart": "no_heart"}.items():
        if name not in corners:
            raise Rejected(reason, f"{name} is not segmented")
        edges = (corners[name] - series.origin_mm) @ axes.T / series.voxel_size + 0.5
        starts = np.floor(edges.min(axis=0) + 1e-3).astype(int).clip(0)
        stops = np.minimum(np.ceil(edges.max(axis=0) - 1e-3).astype(int), series.voxels.shape)
        if (starts >= stops).any():
            raise Rejected(reason, f"{name} is segmented outside the volume")
        (z0, y0, x0), (z1, y1, x1) = starts.tolist(), stops.tolist()
        boxes[name] = (z0, z1, y0, y1, x0, x1)
    lungs = np.array([boxes["left_lung"], boxes["right_lung"]])
    z0, y0, x0 = lungs.min(axis=0)[::2].tolist()
    z1, y1, x1 = lungs.max(axis=0)[1::2].tolist()
    boxes["both_lungs"] = (z0, z1, y0, y1, x0, x1)
    return {name: boxes[name] for name in ("left_lung", "right_lung", "both_lungs", "heart")}
