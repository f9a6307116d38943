"""Regions from existing segmentations: DICOM SEG, NIfTI label maps, and TotalSegmentator.

`m3fm.ct.regions` finds the boxes without segmentations; here they enclose the structures that the paper names
(Methods, CT data processing): the lobes of each lung; myocardium, atria, ventricles and pulmonary artery.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import iter_pixels
from scipy import ndimage

from m3fm.core.errors import InputError
from m3fm.ct.geometry import Box, Rejected
from m3fm.ct.tags import read_dataset, read_tags, tag_of
from m3fm.ct.volume import Series, to_nifti

Points = NDArray[np.float64]
"""Corners [n, 3] of segmented structures, LPS mm."""

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LEFT, RIGHT = "7771000", "24028007"
"""SNOMED CT codes of the sides."""


class Structure(NamedTuple):
    """A structure inside one of the boxes, with its SNOMED CT codes in a DICOM SEG."""

    box: str
    code: str
    """Code of its type."""
    side: str = ""
    """Code of the type's modifier, where the type is the same on both sides."""
    sided_code: str = ""
    """Code of a type that includes the side, which some writers use."""


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
"""Structures by TotalSegmentator's name. Its version 1, which made NLST's public segmentations, has the parts
of the heart and the pulmonary artery; its version 2 has the heart as one, without the artery."""

TOTAL = {
    10: "lung_upper_lobe_left",
    11: "lung_lower_lobe_left",
    12: "lung_upper_lobe_right",
    13: "lung_middle_lobe_right",
    14: "lung_lower_lobe_right",
    51: "heart",
}
"""Label values of the task `total` in TotalSegmentator 2."""
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
"""Label values of the task `total` in TotalSegmentator 1."""
LABEL_MAPS = {"total": TOTAL, "total_v1": TOTAL_V1}
NIFTI = (".nii.gz", ".nii")
_REFERENCED = tag_of("ReferencedSeriesSequence")

_BY_CODE = {(structure.code, structure.side): structure.box for structure in STRUCTURES.values()} | {
    (structure.sided_code, ""): structure.box for structure in STRUCTURES.values() if structure.sided_code
}


def find_segmentations(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Find the segmentations among files, by the SeriesInstanceUID of the segmented series.

    A DICOM SEG refers to its series; a NIfTI label map is named SERIESINSTANCEUID.nii.gz.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        for series_uid in _segmented_series(path):
            found[series_uid].append(path)
    return dict(found)


def _segmented_series(path: Path) -> list[str]:
    for suffix in NIFTI:
        if path.name.endswith(suffix):
            return [path.name.removesuffix(suffix)]
    try:
        tags = read_tags(path, last=_REFERENCED)
        referenced = tags.dataset().get("ReferencedSeriesSequence") if tags.kind == SEGMENTATION else None
        return [str(item.SeriesInstanceUID) for item in referenced or ()]
    except Exception:  # whatever a damaged file makes pydicom raise; such a file segments nothing
        return []


def regions_from_segmentations(
    paths: Sequence[Path], labels: Mapping[int, str], series: Series
) -> dict[str, Box]:
    """Return the boxes of left_lung, right_lung, both_lungs and heart, in voxels, from segmentations.

    `labels` names the values of a NIfTI label map. A series may have other segmentations, too; exactly one
    must have the lungs and the heart. Raises Rejected("no_segmentation") without segmentations or where more
    than one has them, and the reader's refusal where none has.
    """
    boxes, refusals = [], []
    for path in sorted(paths):
        try:
            if path.name.endswith(NIFTI):
                boxes.append(regions_from_labels(path, labels, series))
            else:
                boxes.append(regions_from_seg(path, series))
        except Rejected as refusal:
            refusals.append(refusal)
    if len(boxes) == 1:
        return boxes[0]
    if boxes:
        raise Rejected("no_segmentation", f"{len(boxes)} segmentations have lungs and heart: keep one")
    raise refusals[0] if refusals else Rejected("no_segmentation", "the source has none of this series")


def regions_from_seg(path: Path, series: Series) -> dict[str, Box]:
    """Return the boxes of left_lung, right_lung, both_lungs and heart, in voxels, from a DICOM SEG.

    Raises Rejected("no_segmentation") where the file does not segment this series, Rejected("no_lungs") or
    Rejected("no_heart") where one of them is not segmented.
    """
    try:
        dataset = read_dataset(path)
        if dataset.SOPClassUID != SEGMENTATION:
            raise Rejected("no_segmentation", "the file is not a DICOM SEG")
        referenced = {str(item.SeriesInstanceUID) for item in dataset.get("ReferencedSeriesSequence") or ()}
        if series.series_uid not in referenced:
            raise Rejected("no_segmentation", "the file is a segmentation of another series")
        axes, corners = _segmented(dataset, series.voxel_size[0])
    except Rejected:
        raise
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise _unreadable(error) from error
    return _boxes(corners, axes, series)


def regions_from_labels(path: Path, labels: Mapping[int, str], series: Series) -> dict[str, Box]:
    """Return the same boxes from a NIfTI label map in any grid; `labels` maps values to STRUCTURES' names.

    Raises Rejected("no_segmentation") where the file cannot be read, Rejected("no_lungs") or
    Rejected("no_heart").
    """
    import nibabel

    try:
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
    except Exception as error:  # nibabel, gzip and zlib each raise their own errors
        raise _unreadable(error) from error
    if values.ndim != 3:
        raise Rejected("no_segmentation", f"the label map has {values.ndim} dimensions, not three")
    return _label_boxes(values, image.affine, labels, series)


def _unreadable(error: Exception) -> Rejected:
    return Rejected("no_segmentation", f"the file cannot be read: {type(error).__name__}")


def check_totalsegmentator() -> None:
    """Raise InputError where TotalSegmentator is not installed."""
    if find_spec("totalsegmentator") is None:
        raise InputError(
            "TotalSegmentator is not installed; pip install TotalSegmentator, or choose another"
            " curate.regions.source"
        )


def regions_by_totalsegmentator(series: Series, fast: bool = True) -> dict[str, Box]:
    """Return the same boxes by TotalSegmentator's open task `total`; its `fast` 3 mm model suffices.

    Raises Rejected("no_lungs") or Rejected("no_heart").
    """
    from totalsegmentator.map_to_binary import class_map  # type: ignore[import-not-found,unused-ignore]
    from totalsegmentator.python_api import (  # type: ignore[import-not-found,unused-ignore]
        totalsegmentator,
    )

    labels = {value: name for value, name in class_map["total"].items() if name in STRUCTURES}
    image = totalsegmentator(
        to_nifti(series), None, ml=True, fast=fast, task="total", roi_subset=list(labels.values()), quiet=True
    )
    return _label_boxes(np.asarray(image.dataobj), image.affine, labels, series)


def _label_boxes(
    values: NDArray[Any], affine: NDArray[np.float64], labels: Mapping[int, str], series: Series
) -> dict[str, Box]:
    """Return the boxes of a label map [i, j, k] with its NIfTI affine [4, 4]."""
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
    """Return a DICOM SEG's axes [3, 3] and the corners of each box, with slices of `thickness` mm."""
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
    """Return the box that a segment of a DICOM SEG belongs to, by the codes of its type and side."""
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    code = str(kind.CodeValue)
    for side in kind.get("SegmentedPropertyTypeModifierCodeSequence") or ():
        if (code, str(side.CodeValue)) in _BY_CODE:
            return _BY_CODE[code, str(side.CodeValue)]
    return _BY_CODE.get((code, ""))


def _of_frame(frame: pydicom.Dataset, shared: pydicom.Dataset, group: str) -> pydicom.Dataset:
    """Return a functional group of a frame: its own, or else the shared one."""
    return (frame.get(group) or shared[group])[0]


def _axes(directions: Points) -> Points:
    """Return the canonical directions [3, 3] of rising slice, row and column from those of a mask's axes."""
    order = np.abs(directions).argmax(axis=0)[::-1]
    if len(set(order.tolist())) < 3:
        raise Rejected("no_segmentation", "it is rotated against the patient's axes")
    axes = directions[order]
    upwards: Points = axes * np.sign(axes[[0, 1, 2], [2, 1, 0]])[:, None]
    return upwards


def _boxes(corners: Mapping[str, Points], axes: Points, series: Series) -> dict[str, Box]:
    """Return the boxes around corners, in voxels of a series with the same axes."""
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
