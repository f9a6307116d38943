"""How the slices of a series lie in space: measured first, then judged."""

import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3fm.ct.geometry import MAX_OBLIQUE_DEGREES, SPACING_MM, Rejected
from m3fm.ct.headers import Header

SAME_PLACE_MM = 1e-3
GAP, UNEVEN, OFF_GRID = 1.5, 0.25, 0.5
"""Fractions of the usual step between slices: above GAP is a gap; other steps may differ by up to UNEVEN, and
a slice may lie up to OFF_GRID of the mean step from its place on the even grid between first and last."""
MAX_TILT_DEGREES = 1.0
MAX_SHIFT_MM = 1.0
OTHER_PLANE_DEGREES = 45.0
"""Angle above which slices are sagittal or coronal."""
MOST_LOCALIZERS = 3
"""Up to this many images of another plane are taken for unmarked localizers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The geometry of a series, measured from its headers; None where that is not possible."""

    files: int
    copies: int | None = None
    """Files that repeat the image of another file and were left out."""
    slices: int | None = None
    """Different images with a usable header."""
    rows: int | None = None
    columns: int | None = None
    """None where slices differ; so are all fields below."""
    voxel_z: float | None = None
    """Usual distance in mm from slice to slice along their normal."""
    voxel_y: float | None = None
    voxel_x: float | None = None
    """mm between the rows (`voxel_y`) and columns (`voxel_x`) of the files."""
    orientation: list[float] | None = None
    """Directions of rising column index (first three numbers) and rising row index, in LPS."""
    oblique_degrees: float | None = None
    """Angle between the slices' normal and the patient's long axis."""
    tilt_degrees: float | None = None
    """Angle between the slices' normal and the line through their corners."""
    shift_mm: float | None = None
    """Largest distance in mm of a slice from that line, in its plane."""
    step_min_mm: float | None = None
    step_max_mm: float | None = None
    gaps: int | None = None
    """Steps more than 1.5 times the usual one."""
    duplicates: int | None = None
    """Slices at the position of another slice."""


def normal_of(slices: Sequence[Header]) -> NDArray[np.float64]:
    """Return the slices' unit normal [3], towards the head for axial slices."""
    along_columns, along_rows = slices[0].orientation.reshape(2, 3)
    normal = np.cross(along_columns, along_rows)
    upwards: NDArray[np.float64] = normal / np.linalg.norm(normal) * np.copysign(1.0, normal[2])
    return upwards


def in_order(slices: Sequence[Header]) -> list[Header]:
    """Sort the slices along their normal, from the feet to the head for axial slices."""
    normal = normal_of(slices)
    return sorted(slices, key=lambda header: float(header.position @ normal))


def measure(slices: Sequence[Header], files: int, copies: int) -> Geometry:
    """Measure the geometry of sorted slices; `files` counts all files, `copies` the repeats among them."""
    record: dict[str, Any] = {"files": files, "copies": copies, "slices": len(slices)}
    if not slices:
        return Geometry(**record)
    first = slices[0]
    if _alike(slices, lambda header: header.shape):
        record |= {"rows": first.shape[0], "columns": first.shape[1]}
    if _alike(slices, lambda header: header.spacing):
        record |= {"voxel_y": float(first.spacing[0]), "voxel_x": float(first.spacing[1])}
    if _alike(slices, lambda header: header.orientation):
        record |= _measured_places(slices)
    return Geometry(**record)


def _measured_places(slices: Sequence[Header]) -> dict[str, Any]:
    normal = normal_of(slices)
    positions = np.stack([header.position for header in slices])
    steps = np.diff(positions @ normal)
    apart = steps[steps > SAME_PLACE_MM]
    places: dict[str, Any] = {
        "orientation": slices[0].orientation.tolist(),
        "oblique_degrees": _degrees(normal[2]),
        "duplicates": len(steps) - len(apart),
    }
    if not len(apart):
        return places
    usual = float(np.median(apart))
    travel = positions[-1] - positions[0]
    progress = (positions - positions[0]) @ normal / (travel @ normal)
    beside = positions - positions[0] - progress[:, None] * travel
    return places | {
        "voxel_z": _rounded(usual),
        "tilt_degrees": _degrees(travel @ normal / np.linalg.norm(travel)),
        "shift_mm": _rounded(np.linalg.norm(beside, axis=1).max()),
        "step_min_mm": _rounded(steps.min()),
        "step_max_mm": _rounded(steps.max()),
        "gaps": int((apart > GAP * usual).sum()),
    }


def check(slices: Sequence[Header], geometry: Geometry, min_slices: int) -> None:
    """Refuse what is not one evenly sampled axial volume; takes sorted slices and their geometry.

    Raises Rejected: localizer, not_axial, too_few_slices, inconsistent, several_volumes, duplicate_slices,
    gap, bad_tags, tilted.
    """
    oblique = geometry.oblique_degrees
    if oblique is not None and oblique > OTHER_PLANE_DEGREES:
        reason = "localizer" if len(slices) <= MOST_LOCALIZERS else "not_axial"
        raise Rejected(reason, f"{oblique:.0f} degrees off")
    least = max(min_slices, 2)
    if len(slices) < least:
        raise Rejected("too_few_slices", f"{len(slices)} of at least {least}")
    if geometry.rows is None:
        raise Rejected("inconsistent", "slices differ in size")
    if geometry.orientation is None or oblique is None:
        raise Rejected("inconsistent", "slices differ in orientation")
    if geometry.voxel_y is None:
        raise Rejected("inconsistent", "slices differ in pixel spacing")
    fault = _fault_of_steps(slices, geometry)
    if fault and fault.reason != "inconsistent":
        raise fault
    assert geometry.voxel_z is not None
    assert geometry.tilt_degrees is not None
    assert geometry.shift_mm is not None
    if not SPACING_MM[0] <= geometry.voxel_z <= SPACING_MM[1]:
        raise Rejected("bad_tags", f"slices lie {geometry.voxel_z:g} mm apart")
    shifted = geometry.shift_mm > MAX_SHIFT_MM
    tilt = _usual_tilt(slices) if shifted else geometry.tilt_degrees
    if tilt > MAX_TILT_DEGREES:
        raise Rejected("tilted", f"{tilt:.0f} degrees")
    if oblique > MAX_OBLIQUE_DEGREES:
        raise Rejected("not_axial", f"{oblique:.0f} degrees off")
    if fault:
        raise fault
    if shifted:
        raise Rejected("inconsistent", f"slices are shifted by {geometry.shift_mm:.0f} mm against each other")


def _usual_tilt(slices: Sequence[Header]) -> float:
    """Return the median angle in degrees between the normal and the way from a slice to the next.

    A shear that varies tilts most of the steps, and one shifted slice tilts two.
    """
    ways = np.diff([header.position for header in slices], axis=0)
    cosines = np.abs(ways @ normal_of(slices)) / np.linalg.norm(ways, axis=1)
    return _degrees(float(np.median(cosines)))


def _fault_of_steps(slices: Sequence[Header], geometry: Geometry) -> Rejected | None:
    """Return why slices are not one volume of evenly spaced slices, or None."""
    places = np.array([header.position for header in slices]) @ normal_of(slices)
    fault = _fault(places)
    if _are_volumes(slices, places) if fault else _interleave(slices):
        return Rejected("several_volumes", "each acquisition is a separate volume")
    if geometry.duplicates and _equally_often(places):
        return Rejected("several_volumes", "every position occurs equally often")
    return fault


def _fault(places: NDArray[np.float64]) -> Rejected | None:
    """Return the fault in the rising places of slices along their normal (in mm), or None."""
    steps = np.diff(places)
    if steps.min() < SAME_PLACE_MM:
        return Rejected("duplicate_slices", f"at slice {int(steps.argmin())}")
    usual = np.median(steps)
    if steps.max() > GAP * usual:
        return Rejected("gap", f"{steps.max():.2f} mm after slice {int(steps.argmax())}, usually {usual:.2f}")
    if np.abs(steps - usual).max() > UNEVEN * usual:
        return Rejected(
            "inconsistent", f"steps between slices from {steps.min():.2f} to {steps.max():.2f} mm"
        )
    even, step = np.linspace(places[0], places[-1], len(places), retstep=True)
    off = float(np.abs(places - even).max())
    if off > OFF_GRID * step:
        return Rejected("inconsistent", f"a slice lies {off:.1f} mm from its place on an even grid")
    return None


def _interleave(slices: Sequence[Header]) -> bool:
    """Return whether acquisitions, or times, take turns in the order of the slices.

    A table that moves between rotations has an acquisition for each, one after the other: that is one volume.
    """
    for numbers in zip(*(header.acquisition for header in slices)):
        known = [number for number in numbers if number]
        if known and 1 + sum(map(operator.ne, known, known[1:])) > len(set(known)):
            return True
    return False


def _are_volumes(slices: Sequence[Header], places: NDArray[np.float64]) -> bool:
    """Return whether the slices, split by acquisition or time, are two or more evenly spaced volumes."""
    parts: dict[tuple[str, str], list[float]] = defaultdict(list)
    for header, place in zip(slices, places):
        parts[header.acquisition].append(float(place))
    return len(parts) > 1 and all(len(part) > 2 and _fault(np.array(part)) is None for part in parts.values())


def _equally_often(places: NDArray[np.float64]) -> bool:
    """Return whether there are several positions and each occurs the same number of times."""
    counts = Counter(np.round(places, 2).tolist())
    return len(counts) > 1 and len(set(counts.values())) == 1


def _alike(slices: Sequence[Header], value: Callable[[Header], Any]) -> bool:
    """Return whether a value is the same in all slices, up to rounding."""
    values = np.array([value(header) for header in slices], float)
    return bool(np.abs(values - values[0]).max() <= 1e-3)


def _degrees(cosine: float) -> float:
    return _rounded(np.degrees(np.arccos(np.clip(abs(cosine), 0, 1))))


def _rounded(value: float) -> float:
    """Round to 1e-6: finer than positions are written, and the same on every machine."""
    return round(float(value), 6)
