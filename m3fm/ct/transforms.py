"""The preprocessing from a stored volume to the model's input, for training, evaluation and deployment."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse

from m3fm.config.base import Pair, Size3
from m3fm.config.model import Scale
from m3fm.core.errors import InputError
from m3fm.ct.geometry import Box, Triple

PREPROCESSING_VERSION = "1"
"""Version of this module's results; a bundle names the one it was made with."""

OUTSIDE_HU = -1000
"""HU outside a volume: air."""


def window(hu: ArrayLike, limits: Pair) -> NDArray[np.float32]:
    """Scale HU to [-1, 1]: the window's ends become -1 and +1, and values beyond are clipped."""
    low, high = limits
    scaled = (np.asarray(hu, np.float32) - np.float32(low)) * np.float32(2 / (high - low)) - np.float32(1)
    return scaled.clip(-1, 1, out=scaled)


def crop_and_resize(
    voxels: NDArray[np.int16], box: Box, voxel_size: Triple, shape: Size3, spacing_follows: bool = True
) -> tuple[NDArray[np.float32], Triple]:
    """Crop [slices, rows, columns] to the box and bring it to `shape`; return HU and their voxel size in mm.

    A longer axis is shrunk with antialiasing, its extent in mm preserved (unless `spacing_follows` is
    false); a shorter one is padded evenly with air, its voxel size unchanged. Only the box is read from a
    memory map.
    """
    z0, z1, y0, y1, x0, x1 = box
    hu = np.asarray(voxels[z0:z1, y0:y1, x0:x1], np.float32)
    size = list(voxel_size)
    for axis, (length, target) in enumerate(zip(hu.shape, shape)):
        if length > target:
            hu = _resize_axis(hu, axis, target)
            if spacing_follows:
                size[axis] *= length / target
    before = [(target - length) // 2 for length, target in zip(hu.shape, shape)]
    after = [target - length - b for length, target, b in zip(hu.shape, shape, before)]
    if any(before) or any(after):
        hu = np.pad(hu, list(zip(before, after)), constant_values=OUTSIDE_HU)
    z, y, x = size
    return hu, (z, y, x)


def crop_mask(box: Box, shape: Size3) -> NDArray[np.bool_]:
    """Return a mask [D, H, W] of the box in the result of `crop_and_resize`, without the padding."""
    mask = np.zeros(shape, np.bool_)
    inside = []
    for low, high, target in zip(box[::2], box[1::2], shape):
        length = min(high - low, target)
        start = (target - length) // 2
        inside.append(slice(start, start + length))
    mask[tuple(inside)] = True
    return mask


def patches_to_volume(
    patches: NDArray[np.float32], box: Box, scale: Scale, shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Map a scale's patches [d, h, w] back to the voxels of a volume of `shape`, reversing `crop_and_resize`.

    Takes one sample's map, such as `maps.image[0].float().cpu().numpy()` of `M3FM.attention`.
    Interpolates linearly between the centres of patches; outside the box the result is 0.
    """
    inside = patches
    for axis, (low, high) in enumerate(zip(box[::2], box[1::2])):
        length, target = high - low, scale.shape[axis]
        at = np.arange(length) + 0.5
        voxel = at * target / length if length > target else at + (target - length) // 2
        middle = (voxel / scale.patch[axis] - 0.5).clip(0, patches.shape[axis] - 1)
        inside = _interpolate_axis(inside, axis, middle)
    whole = np.zeros(shape, np.float32)
    z0, z1, y0, y1, x0, x1 = box
    whole[z0:z1, y0:y1, x0:x1] = inside
    return whole


def _interpolate_axis(
    values: NDArray[np.float32], axis: int, places: NDArray[np.float64]
) -> NDArray[np.float32]:
    below = np.minimum(np.floor(places).astype(int), max(values.shape[axis] - 2, 0))
    above = np.minimum(below + 1, values.shape[axis] - 1)
    fraction = np.expand_dims((places - below).astype(np.float32), [a for a in range(3) if a != axis])
    return values.take(below, axis) * (1 - fraction) + values.take(above, axis) * fraction


def resize(voxels: NDArray[np.int16], voxel_size: Triple, shape: Size3) -> tuple[NDArray[np.float32], Triple]:
    """Resize [slices, rows, columns] to `shape`, its extent in mm preserved; return HU and the voxel size."""
    hu = np.asarray(voxels, np.float32)
    z, y, x = (size * length / target for size, length, target in zip(voxel_size, hu.shape, shape))
    for axis, target in enumerate(shape):
        if hu.shape[axis] != target:
            hu = _resize_axis(hu, axis, target)
    return hu, (z, y, x)


@dataclass(frozen=True, eq=False, slots=True)
class ModelImage:
    """One region of a volume as the model takes it."""

    values: NDArray[np.float32]
    """[D, H, W] in [-1, 1]."""
    voxel_size: NDArray[np.float32]
    """[3], mm along slices, rows and columns."""
    mask: NDArray[np.bool_] | None
    """[D, H, W], true inside the box; None where attention is not limited to it."""


def preprocess(
    voxels: NDArray[np.int16],
    box: Box,
    voxel_size: Triple,
    scale: Scale,
    *,
    masked: bool,
    degrees: float = 0.0,
    hu_shift: Pair = (0.0, 0.0),
) -> ModelImage:
    """Crop HU [slices, rows, columns] to a box, resize and window them: the model's input at a scale.

    Training turns the crop by some `degrees` and shifts the ends of the HU window; evaluation and serving
    change nothing. Raises InputError where the voxel size is not above 0 along each axis.
    """
    if not all(0 < mm < np.inf for mm in voxel_size):
        raise InputError(f"the voxel size is {voxel_size} mm: each side must be above 0")
    hu, size = crop_and_resize(voxels, box, voxel_size, scale.shape, scale.spacing_follows)
    low, high = scale.hu_window
    return ModelImage(
        values=window(rotate(hu, degrees), (low + hu_shift[0], high + hu_shift[1])),
        voxel_size=np.array(size, np.float32),
        mask=crop_mask(box, scale.shape) if masked else None,
    )


def nodule_window(box: Box, slice_index: int, slices: int = 16) -> Box:
    """Limit a lung's box to `slices` slices around a nodule's slice.

    The window moves rather than shrinks at the box's ends; a nodule beside the box is still inside it.
    """
    low, high = min(box[0], slice_index), max(box[1], slice_index + 1)
    start = max(low, min(slice_index - slices // 2, high - slices))
    return start, min(start + slices, high), *box[2:]


def rotate(voxels: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Rotate every slice [rows, columns] around its centre, linearly interpolated, edge values repeated."""
    if degrees == 0:
        return voxels
    return ndimage.rotate(voxels, degrees, axes=(1, 2), reshape=False, order=1, mode="nearest")


def _resize_axis(hu: NDArray[np.float32], axis: int, target: int) -> NDArray[np.float32]:
    """Resize one axis by sparse matrix products, which use no BLAS threads that other workers would need."""
    weights = _weights(hu.shape[axis], target)
    if axis == 0:
        return (weights @ hu.reshape(len(hu), -1)).reshape(target, *hu.shape[1:])
    shape = list(hu.shape)
    shape[axis] = target
    resized = np.empty(shape, np.float32)
    for plane, out in zip(hu, resized):
        out[:] = weights @ plane if axis == 1 else (weights @ plane.T).T
    return resized


@cache
def _weights(length: int, target: int) -> sparse.csr_array:
    """Return weights [target, length] of a linear filter, as wide as the larger of an old and a new voxel."""
    step = length / target
    centres = (np.arange(target) + 0.5) * step - 0.5
    distance = np.abs(np.arange(length) - centres[:, None]) / max(step, 1.0)
    weights = np.maximum(0, 1 - distance)
    return sparse.csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
