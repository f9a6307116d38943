"""Ways in which a series can be broken; curation must refuse each for the reason of the same name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

HU_OFFSET = -1024
"""What stored values are shifted by, so that none is negative."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One image of a series as it is going to be written."""

    hu: NDArray[np.int16]
    number: int
    """InstanceNumber."""
    position: tuple[float, float, float]
    """Centre of the first pixel: x, y, z in mm."""
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    spacing: tuple[float, float] = (1.0, 1.0)
    """Between rows, between columns, in mm."""
    intercept: int = HU_OFFSET
    """RescaleIntercept as the file says it."""
    fraction_written: float = 1.0
    """Of the file's bytes."""


Fault = Callable[[list[Slice], np.random.Generator], list[Slice]]


def _gap(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """The couch moved on by one slice without a scan."""
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
    """A tilted gantry: each slice lies a little more to the front than the one below."""
    step = slices[1].position[2] - slices[0].position[2]
    return [_moved(part, y=-0.2 * step * index) for index, part in enumerate(slices)]


def _inconsistent(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """Half of the slices were taken with other settings: another field of view, or another orientation."""
    at = _middle(slices, rng)
    if rng.random() < 0.5:
        row, column = (round(1.1 * mm, 4) for mm in slices[at].spacing)
        other = [replace(part, spacing=(row, column)) for part in slices[at:]]
    else:
        turned = (1.0, 0.0, 0.0, 0.0, round(float(np.cos(0.2)), 6), round(float(np.sin(0.2)), 6))
        other = [replace(part, orientation=turned) for part in slices[at:]]
    return slices[:at] + other


def _unreadable(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """A file that was cut short on its way."""
    at = _middle(slices, rng)
    slices[at] = replace(slices[at], fraction_written=0.6)
    return slices


def _implausible_hu(slices: list[Slice], rng: np.random.Generator) -> list[Slice]:
    """The shift of the stored values was lost."""
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
"""By the name that `m3fm.ct.geometry.REASONS` has for it; slices come and go from the feet to the head."""


def _middle(slices: list[Slice], rng: np.random.Generator) -> int:
    """Index of a slice that is near neither end."""
    return int(rng.integers(len(slices) // 4, 3 * len(slices) // 4))


def _moved(part: Slice, y: float = 0.0, z: float = 0.0) -> Slice:
    position = (part.position[0], round(part.position[1] + y, 4), round(part.position[2] + z, 4))
    return replace(part, position=position)
