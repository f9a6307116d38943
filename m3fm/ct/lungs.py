"""The voxels of the two lungs: air that the body surrounds, without the airways, bowel and table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from m3fm.ct.geometry import Rejected, Triple

Mask = NDArray[np.bool_]

COARSE_MM = 3.0
AIR_HU = -400
"""Threshold between lung and soft tissue."""
GAS_HU = -970
"""Threshold between lung, which holds blood, and gas in the bowel, on average."""
SEED_RADII_MM = (9.0, 13.0, 17.0)
"""Radii of the erosion that separates the lungs from airways and each other, tried in turn."""
SEED_ML = 5.0
LUNGS_ML = 400.0
"""Least lung volume of a chest CT."""
TRACHEA_CM2 = (0.7, 6.0)
TRACHEA_OFF_MIDDLE_MM = 30.0
STRAIGHT_ON_MM = 15.0
"""How far the windpipe is followed where its wall is invisible."""
BRONCHI_MM = (30.0, 25.0, 45.0)
"""Distances (slice, row, column) from the windpipe's end within which thin air is the main bronchi."""

LEFT, RIGHT, GAS = 1, 2, 3

_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1, 1, :] = _IN_PLANE[1, :, 1] = True


@dataclass(frozen=True, eq=False)
class Coarse:
    """A volume of about 3 mm voxels; `factors` is the number of fine voxels in one, along each axis."""

    hu: NDArray[np.float32]
    voxel_size: NDArray[np.float64]
    factors: NDArray[np.int64]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(np.prod(self.voxel_size)) / 1000


def coarsen(voxels: NDArray[np.int16], voxel_size: Triple) -> Coarse:
    """Take every n-th of HU [slices, rows, columns] and average n x n pixels, so that noise is not air."""
    factors = np.maximum(1, np.round(COARSE_MM / np.array(voxel_size)).astype(int))
    fz, fy, fx = factors.tolist()
    rows, columns = voxels.shape[1] // fy, voxels.shape[2] // fx
    picked = voxels[::fz, : rows * fy, : columns * fx]
    means = picked.reshape(len(picked), rows, fy, columns, fx).mean(axis=(2, 4), dtype=np.float32)
    return Coarse(means, np.array(voxel_size) * factors, factors)


def find_lungs(coarse: Coarse) -> tuple[Mask, Mask, int]:
    """Return masks of the patient's left and right lung (one may be empty), and the body's middle column.

    Raises Rejected("no_lungs").
    """
    if min(coarse.hu.shape) < 2:
        raise Rejected("no_lungs", "the volume is smaller than a lung")
    inner, middle = _inner_air(coarse)
    trachea, end = _trachea(coarse, inner, middle)
    inner &= ~trachea
    box = _around(inner)
    depth = np.zeros(inner.shape)
    depth[box] = ndimage.distance_transform_edt(inner[box], coarse.voxel_size)
    seeds, radius = _parted_seeds(coarse, depth, middle)
    away, nearest = ndimage.distance_transform_edt(seeds[box] == 0, coarse.voxel_size, return_indices=True)
    owner, thin = np.zeros_like(seeds), np.zeros_like(inner)
    owner[box] = np.where(inner[box], seeds[box][tuple(nearest)], 0)
    thin[box] = inner[box] & (away > radius + coarse.voxel_size.max())
    if end is not None:
        bronchi = thin & _near(coarse, end)
        thin[bronchi], owner[bronchi] = False, 0
    _settle(owner, thin)
    left, right = owner == LEFT, owner == RIGHT
    volume = (left.sum() + right.sum()) * coarse.voxel_ml
    if volume < LUNGS_ML:
        raise Rejected("no_lungs", f"{volume:.0f} ml of lung")
    return left, right, middle


def _around(mask: Mask) -> tuple[slice, ...]:
    """Return a mask's box, one voxel wider on each side: distances in it equal those in the whole volume."""
    (found,) = ndimage.find_objects(mask.astype(np.uint8)) or [tuple(slice(0, n) for n in mask.shape)]
    return tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in found)


def _settle(owner: NDArray[np.int8], thin: Mask) -> None:
    """Assign each thin piece of air to the part it touches, or to none; between two, the nearest keeps it."""
    pieces, count = ndimage.label(thin)
    thick = np.where(thin, 0, owner)
    touched = np.zeros((GAS + 1, count + 1), bool)
    for kind in (LEFT, RIGHT, GAS):
        touched[kind][pieces[ndimage.binary_dilation(thick == kind)]] = True
    settled = touched.sum(axis=0) < 2
    settled[0] = False
    owner[settled[pieces]] = touched.argmax(axis=0)[pieces][settled[pieces]]


def _inner_air(coarse: Coarse) -> tuple[Mask, int]:
    """Return the air that tissue surrounds within its slice, and the body's middle column.

    Air beside the body (the hollow of a table) is left out.
    """
    air = coarse.hu < AIR_HU
    labels, _ = ndimage.label(air, _IN_PLANE)
    edges = np.concatenate([labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]], axis=None)
    open_air = np.zeros(labels.max() + 1, bool)
    open_air[edges] = True
    open_air[0] = True
    inner = ~open_air[labels]

    pieces, count = ndimage.label(ndimage.binary_erosion(~air, _IN_PLANE))
    if not count:
        raise Rejected("no_lungs", "no body in the volume")
    body = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    rows, columns = _span(body.any(axis=2)), _span(body.any(axis=1))
    inner &= rows[:, :, None] & columns[:, None, :]
    # The outline decides: weight would move the middle towards a lung full of fluid.
    outline = columns.sum(axis=0).cumsum()
    return inner, int(np.searchsorted(outline, outline[-1] / 2))


def _span(present: Mask) -> Mask:
    """Fill each slice from the first place that is present to the last."""
    ahead = np.maximum.accumulate(present, axis=1)
    behind = np.maximum.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return ahead & behind


def _trachea(coarse: Coarse, inner: Mask, middle: int) -> tuple[Mask, tuple[int, ...] | None]:
    """Follow the windpipe down from the top slice that shows it; return its mask and its last voxel."""
    trachea = np.zeros_like(inner)
    z, spot = _trachea_top(coarse, inner, middle)
    areas, straight_on, end = [spot.sum()], 0, None
    for level in range(z, -1, -1):
        here = ndimage.binary_dilation(spot) & inner[level]
        # Where its wall is too thin to see, the windpipe seems to open into a lung: follow it straight on.
        usual = np.median(areas)
        opened = here.sum() > 1.5 * usual
        straight_on = straight_on + 1 if opened else 0
        here = spot & inner[level] if opened else here
        if here.sum() <= 0.4 * usual or straight_on * coarse.voxel_size[0] > STRAIGHT_ON_MM:
            break
        trachea[level] = spot = here
        areas.append(here.sum())
        end = (level, *(int(places.mean()) for places in np.nonzero(spot)))
    return trachea, end


def _trachea_top(coarse: Coarse, inner: Mask, middle: int) -> tuple[int, Mask]:
    """Find the highest slice of the upper half with a small spot of air near the middle, and the spot."""
    pixel_cm2 = coarse.voxel_size[1] * coarse.voxel_size[2] / 100
    for z in range(len(inner) - 1, len(inner) // 2, -1):
        labels, count = ndimage.label(inner[z])
        for label in range(1, count + 1):
            spot = labels == label
            off_mm = abs(np.nonzero(spot)[1].mean() - middle) * coarse.voxel_size[2]
            if TRACHEA_CM2[0] <= spot.sum() * pixel_cm2 <= TRACHEA_CM2[1] and off_mm < TRACHEA_OFF_MIDDLE_MM:
                return z, spot
    return 0, np.zeros_like(inner[0])


def _near(coarse: Coarse, place: tuple[int, ...]) -> Mask:
    """Return a mask of the region around the windpipe's end where the main bronchi lie."""
    near = np.zeros(coarse.hu.shape, bool)
    reach = np.ceil(BRONCHI_MM / coarse.voxel_size).astype(int).tolist()
    near[tuple(slice(max(0, at - r), at + r + 1) for at, r in zip(place, reach))] = True
    return near


def _parted_seeds(coarse: Coarse, depth: NDArray[np.float64], middle: int) -> tuple[NDArray[np.int8], float]:
    """Erode the lungs until left and right are separate; return their seeds and the radius used."""
    for radius in SEED_RADII_MM:
        seeds, joined = _seeds(coarse, depth > radius, middle)
        if not joined:
            return seeds, radius
    # The lungs touch too widely for erosion, so they stay cut at the middle column.
    return _seeds(coarse, depth > SEED_RADII_MM[0], middle)[0], SEED_RADII_MM[0]


def _seeds(coarse: Coarse, eroded: Mask, middle: int) -> tuple[NDArray[np.int8], bool]:
    """Label the pieces of eroded air (LEFT, RIGHT, GAS), and return whether one piece spans both lungs.

    Such a piece is cut at the middle column.
    """
    pieces, count = ndimage.label(eroded)
    if not count:
        raise Rejected("no_lungs", "no air of a lung's width in the body")
    numbers = np.arange(1, count + 1)
    on_left = np.broadcast_to(np.arange(pieces.shape[2]) > middle, pieces.shape)
    ml = np.bincount(pieces.ravel())[1:] * coarse.voxel_ml
    hu = ndimage.mean(coarse.hu, pieces, numbers)
    left_fraction = ndimage.mean(on_left, pieces, numbers)
    lung = (ml >= SEED_ML) & (hu > GAS_HU)
    spans = lung & (ml > 0.3 * ml[lung].sum()) & (np.abs(left_fraction - 0.5) < 0.3)
    kinds = np.where(lung, np.where(left_fraction > 0.5, LEFT, RIGHT), np.where(ml >= SEED_ML, GAS, 0))
    seeds = np.append(0, kinds).astype(np.int8)[pieces]
    cut = np.append(False, spans)[pieces]
    seeds[cut] = np.where(on_left, LEFT, RIGHT)[cut]
    return seeds, bool(spans.any())
