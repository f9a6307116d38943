"""Boxes of the lungs and the heart, found by thresholds and connected components.

The boxes need not be tight, but must never cut a lung. They are found on a coarse copy of about 3 mm voxels,
and are as exact as that. `m3fm.ct.lungs` finds the lungs' voxels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from m3fm.ct.geometry import Box, Rejected, Triple
from m3fm.ct.lungs import Coarse, Mask, coarsen, find_lungs

ASYMMETRY_MM = (40.0, 25.0, 30.0)
"""How much further (slice, row, column) one lung normally reaches than the mirrored other one."""
HEART_TOP = 0.65
"""Height of the pulmonary trunk, as a fraction of the lungs' height."""
HEART_BACK = 0.75
"""Front of the spine, as a fraction of the lungs' depth from the front."""
BELOW_DOMES_MM = 22.0
"""How far the heart reaches down between the domes of the diaphragm."""
HEART_OFF_MIDDLE_MM = 10.0
"""How far the heart's middle is to the left of the body's."""
HIDDEN = 0.3
"""Fraction of the other lung's area in a slice below which disease is taken to hide a lung."""
SOFT_HU = -50
HEART_ML = 40.0
"""Least volume of the soft tissue between the lungs after eroding it by CORE_MM."""
CORE_MM = 10.0
HEART_MARGIN_MM = 10.0


def find_regions(voxels: NDArray[np.int16], voxel_size: Triple) -> dict[str, Box]:
    """Find the boxes of left_lung, right_lung, both_lungs and heart, in voxels of the volume.

    Takes canonical HU [slices, rows, columns]. Raises Rejected("no_lungs") or Rejected("no_heart").
    """
    coarse = coarsen(voxels, voxel_size)
    left, right, middle = find_lungs(coarse)
    boxes = _lung_boxes(coarse, left, right, middle)
    boxes["heart"] = _heart_box(coarse, left, right, boxes["both_lungs"], middle)
    return {name: _finer(box, coarse, voxels.shape) for name, box in boxes.items()}


def _finer(box: Box, coarse: Coarse, shape: tuple[int, ...]) -> Box:
    """Convert a coarse box to voxels of the volume, one coarse voxel wider on each side."""
    starts = (np.array(box[::2]) - 1) * coarse.factors
    stops = (np.array(box[1::2]) + 1) * coarse.factors
    return _box(np.maximum(starts, 0), np.minimum(stops, shape))


def _box(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Box:
    (z0, y0, x0), (z1, y1, x1) = starts.tolist(), stops.tolist()
    return z0, z1, y0, y1, x0, x1


def _bounds(mask: Mask) -> Box:
    z, y, x = ndimage.find_objects(mask.astype(np.uint8))[0]
    return z.start, z.stop, y.start, y.stop, x.start, x.stop


def _lung_boxes(coarse: Coarse, left: Mask, right: Mask, middle: int) -> dict[str, Box]:
    """Return the lungs' boxes; where disease hides part of a lung, the mirrored other one sets its extent."""
    size = coarse.hu.shape[2]
    if not left.any() or not right.any():
        found = _bounds(left | right)
        mirrored = _mirror(found, middle, size)
        left_box, right_box = (found, mirrored) if left.any() else (mirrored, found)
    else:
        own_left, own_right = _bounds(left), _bounds(right)
        left_box = _extend(coarse, own_left, _mirror(own_right, middle, size), medial=4)
        right_box = _extend(coarse, own_right, _mirror(own_left, middle, size), medial=5)
    pair = np.array([left_box, right_box])
    both = _box(pair.min(axis=0)[::2], pair.max(axis=0)[1::2])
    return {"left_lung": left_box, "right_lung": right_box, "both_lungs": both}


def _mirror(box: Box, middle: int, columns: int) -> Box:
    """Mirror a box at the middle column, and clip it to the volume."""
    z0, z1, y0, y1, x0, x1 = box
    return z0, z1, y0, y1, max(0, 2 * middle + 1 - x1), min(columns, 2 * middle + 1 - x0)


def _extend(coarse: Coarse, box: Box, other: Box, medial: int) -> Box:
    """Move each face except the medial one out to the other box's, where it is suspiciously far inside."""
    inside = (np.array(box) - other) * np.tile([1, -1], 3)
    moved = inside > np.repeat(ASYMMETRY_MM / coarse.voxel_size, 2)
    moved[medial] = False
    faces = np.where(moved, other, box)
    return _box(faces[::2], faces[1::2])


def _heart_box(coarse: Coarse, left: Mask, right: Mask, both: Box, middle: int) -> Box:
    """Return a box around heart and pulmonary trunk: the soft tissue between the lungs in their lower half.

    Its height is a fraction of the lungs'; in-plane it is measured above the diaphragm's domes.
    """
    z0, z1, y0, y1, _, _ = both
    top = z0 + round(HEART_TOP * (z1 - z0))
    area = np.maximum(left.sum(axis=(1, 2)), right.sum(axis=(1, 2)))[:top]
    above_domes = area > 0.6 * area.max()
    bottom = int(above_domes.argmax())
    soft = _between(coarse, left, right, middle)[:top] & (
        ndimage.uniform_filter(coarse.hu[:top], 3) > SOFT_HU
    )
    soft[~above_domes] = False
    soft[:, y0 + round(HEART_BACK * (y1 - y0)) :] = False
    pieces, _ = ndimage.label(ndimage.distance_transform_edt(soft, coarse.voxel_size) > CORE_MM)
    volumes = np.bincount(pieces.ravel(), minlength=2)[1:] * coarse.voxel_ml
    if volumes.max() < HEART_ML:
        raise Rejected("no_heart", f"{volumes.max():.0f} ml of soft tissue between the lungs")
    core = pieces == volumes.argmax() + 1
    _, dy, dx = np.ceil((CORE_MM + HEART_MARGIN_MM) / coarse.voxel_size).astype(int).tolist()
    rows, columns = _thick(core.sum(axis=(0, 2))), _thick(core.sum(axis=(0, 1)))
    return (
        max(z0, bottom - round(BELOW_DOMES_MM / coarse.voxel_size[0])),
        top,
        max(0, rows.start - dy),
        rows.stop + dy,
        max(0, columns.start - dx),
        columns.stop + dx,
    )


def _between(coarse: Coarse, left: Mask, right: Mask, middle: int) -> Mask:
    """Return a mask of the voxels between the right and the left lung, row by row.

    In slices where disease hides one lung, the mirrored other one replaces it.
    """
    axis = middle + HEART_OFF_MIDDLE_MM / coarse.voxel_size[2]
    areas = left.sum(axis=(1, 2)), right.sum(axis=(1, 2))
    no_left, no_right = areas[0] < HIDDEN * areas[1], areas[1] < HIDDEN * areas[0]
    left = np.where(no_left[:, None, None], _flip(right, axis), left)
    right = np.where(no_right[:, None, None], _flip(left, axis), right)
    size = left.shape[2]
    columns = np.arange(size)
    right_edge = np.where(right.any(axis=2), size - 1 - right[:, :, ::-1].argmax(axis=2), size)
    left_edge = np.where(left.any(axis=2), left.argmax(axis=2), -1)
    return (columns > right_edge[:, :, None]) & (columns < left_edge[:, :, None])


def _flip(lung: Mask, axis: float) -> Mask:
    """Mirror a lung at a column."""
    columns = np.round(2 * axis - np.arange(lung.shape[2])).astype(int)
    inside = (columns >= 0) & (columns < lung.shape[2])
    return lung[:, :, columns.clip(0, lung.shape[2] - 1)] & inside


def _thick(profile: NDArray[np.int64]) -> slice:
    """Return the range from the first to the last place where a profile exceeds a tenth of its maximum."""
    places = np.flatnonzero(profile > 0.1 * profile.max())
    return slice(int(places[0]), int(places[-1]) + 1)
