"""Whether a volume's numbers can be HU."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3fm.ct.geometry import PADDING_HU, Rejected

AIR = (-1150, -850)
SOFT = (-200, 200)
LEAST_AIR, LEAST_SOFT = 0.002, 0.05
MOST_JUMP_HU = 500.0
"""From one slice to the next, on average: more means that one of them has lost its rescale."""
_PICKED = 32
"""Rows and columns that are looked at, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HuFigures:
    """What is measured of a volume's HU; padding, where the files declare one, is left out."""

    air_hu: float | None = None
    """Median of the voxels between -1150 and -850 HU: near -1000 where the rescale is right."""
    air_fraction: float | None = None
    """Of the voxels, between -1150 and -850 HU."""
    soft_fraction: float | None = None
    """Of the voxels in the middle of each slice, where no table is, within 200 HU of water."""
    jump_hu: float | None = None
    """Largest difference between the means of two slices that follow each other."""
    hu_low: int | None = None
    hu_high: int | None = None


def measure_hu(voxels: NDArray[np.int16], padded: bool = False) -> HuFigures:
    """Measure the HU of a volume in the canonical orientation; `padded` tells that -1024 is no air."""
    step_y, step_x = (max(1, size // _PICKED) for size in voxels.shape[1:])
    sample = np.ascontiguousarray(voxels[:, ::step_y, ::step_x])
    values = sample[sample != PADDING_HU] if padded else sample.ravel()
    if not values.size:
        return HuFigures()
    air = values[(values > AIR[0]) & (values < AIR[1])]
    rows, columns = (size // 4 for size in sample.shape[1:])
    middle = sample[:, rows : sample.shape[1] - rows, columns : sample.shape[2] - columns]
    means = sample.mean(axis=(1, 2))
    return HuFigures(
        air_hu=float(np.median(air)) if air.size else None,
        air_fraction=air.size / values.size,
        soft_fraction=float(((middle > SOFT[0]) & (middle < SOFT[1])).mean()),
        jump_hu=float(np.abs(np.diff(means)).max(initial=0)),
        hu_low=int(values.min()),
        hu_high=int(values.max()),
    )


def check_hu(figures: HuFigures) -> None:
    """Refuse a volume whose numbers cannot be HU: it needs some air near -1000 and some tissue near 0.

    A missing rescale moves air to 0 and a doubled one moves tissue to -1000: either fails.
    """
    air, soft, jump = figures.air_fraction, figures.soft_fraction, figures.jump_hu
    if air is None or soft is None or jump is None:
        raise Rejected("implausible_hu", "there is nothing but padding")
    if air < LEAST_AIR or soft < LEAST_SOFT:
        raise Rejected("implausible_hu", f"{air:.1%} of the voxels are air, {soft:.1%} soft tissue")
    if jump > MOST_JUMP_HU:
        raise Rejected("implausible_hu", f"{jump:.0f} HU from one slice to the next")
