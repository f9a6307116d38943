"""Plausibility of a volume's values as HU."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3fm.ct.geometry import PADDING_HU, Rejected

AIR = (-1150, -850)
SOFT = (-200, 200)
LEAST_AIR, LEAST_SOFT = 0.002, 0.05
MOST_JUMP_HU = 500.0
"""Largest change of the mean from one slice to the next; above it, one slice has lost its rescale."""
_PICKED = 32
"""Approximate number of rows and of columns sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HuFigures:
    """Measurements of a volume's HU, without declared padding."""

    air_hu: float | None = None
    """Median of the voxels between -1150 and -850 HU: near -1000 where the rescale is right."""
    air_fraction: float | None = None
    """Fraction of the voxels between -1150 and -850 HU."""
    soft_fraction: float | None = None
    """Fraction within 200 HU of water, among voxels in the middle of each slice (away from the table)."""
    jump_hu: float | None = None
    """Largest difference between the means of adjacent slices."""
    hu_low: int | None = None
    hu_high: int | None = None


def measure_hu(voxels: NDArray[np.int16], padded: bool = False) -> HuFigures:
    """Measure canonical HU [slices, rows, columns]; with `padded`, -1024 is padding and not air."""
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
    """Refuse a volume whose values cannot be HU: it needs some air near -1000 and some tissue near 0.

    A missing rescale moves air to 0 and a doubled one moves tissue to -1000; both are refused. Raises
    Rejected("implausible_hu").
    """
    air, soft, jump = figures.air_fraction, figures.soft_fraction, figures.jump_hu
    if air is None or soft is None or jump is None:
        raise Rejected("implausible_hu", "all voxels are padding")
    if air < LEAST_AIR or soft < LEAST_SOFT:
        raise Rejected("implausible_hu", f"{air:.1%} of the voxels are air, {soft:.1%} soft tissue")
    if jump > MOST_JUMP_HU:
        raise Rejected("implausible_hu", f"{jump:.0f} HU from one slice to the next")
