"""The faults that a series can have; curation must refuse each for the reason of the same name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

HU_OFFSET = -1024
"""Shift of the stored values in HU, which makes them non-negative."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One image of a series, before it is written."""

    hu: NDArray[np.int16]
    """Values in HU, [row, column]."""
    number: int
    """InstanceNumber."""
    position: tuple[float, float, float]
    """Centre of the first pixel: x, y, z in mm."""
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    spacing: tuple[float, float] = (1.0, 1.0)
    """Distance between rows and between columns, in mm."""
    intercept: int = HU_OFFSET
    """RescaleIntercept that the file states."""
    fraction_written: float = 1.0
    """Fraction of the file's bytes that are written."""


Fault = Callable[[list[Slice], np.random.Generator], list[Slice]]


def _gap(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """Move the slices above a random one up by one slice: the couch moved on without a scan."""
    at = _middle(slices, rng)
    step = slices[1].position[2] - slices[0].position[2]
    return slices[:at] + [_moved(part, z=step) for part in slices[at:]]


def _duplicate_slices(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    at = _middle(slices, rng)
    slices[at] = replace(slices[at], position=slices[at - 1].position)
    return slices


def _too_few_slices(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    return slices[: max(len(slices) // 3, 2)]


def _tilted(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """Shift each slice a little more to the front than the one below, as with a tilted gantry."""
    step = slices[1].position[2] - slices[0].position[2]
    return [_moved(part, y=-0.2 * step * index) for index, part in enumerate(slices)]


def _inconsistent(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """Set another field of view, or another orientation, for half of the slices."""
    at = _middle(slices, rng)
    if rng.random() < 0.5:
        row, column = (round(1.1 * mm, 4) for mm in slices[at].spacing)
        other = [replace(part, spacing=(row, column)) for part in slices[at:]]
    else:
        turned = (1.0, 0.0, 0.0, 0.0, round(float(np.cos(0.2)), 6), round(float(np.sin(0.2)), 6))
        other = [replace(part, orientation=turned) for part in slices[at:]]
    return slices[:at] + other


def _unreadable(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """Cut one file short, as a broken transfer does."""
    at = _middle(slices, rng)
    slices[at] = replace(slices[at], fraction_written=0.6)
    return slices


def _implausible_hu(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """Drop the shift of the stored values from the header."""
    return [replace(part, intercept=0) for part in slices]


FAULTS: dict[str, Fault] = {
    "gap": _gap,
    "duplicate_slices": _duplicate_slices,
    "too_few_slices": _too_few_slices,
    "tilted": _tilted,
    "inconsistent": _inconsistent,
    "unreadable": _unreadable,
    "implausible_hu": _implausible_hu,
}
"""Faults by name, as in `m3fm.ct.geometry.REASONS`; they take and return slices from the feet to the head."""


def _middle(slices: list[Slice], rng: np.random.Generator) -> int:
    """Return the index of a random slice near neither end."""
    return int(rng.integers(len(slices) // 4, 3 * len(slices) // 4))


def _moved(part: Slice, y: float = 0.0, z: float = 0.0) -> Slice:
    position = (part.position[0], round(part.position[1] + y, 4), round(part.position[2] + z, 4))
    return replace(part, position=position)
