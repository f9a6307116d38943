"""Solids as functions of position, which return the depth of a point inside in mm, negative outside.

Coordinates z, y and x are arrays in mm that broadcast against one another: [D, 1, 1], [1, H, 1] and [1, 1, W]
for a volume [D, H, W], or [N] for single points. Depths are exact on the surface and to first order near it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""Arrays of float32; operations with plain numbers keep the type."""
Triple = tuple[float, float, float]
TINY = np.float32(1e-6)


def ellipse(y: Array, x: Array, half_depth: Array | float, half_width: Array | float) -> Array:
    """Return the depth inside an ellipse around the origin, equal in all slices unless its axes vary."""
    v, u = y / half_depth, x / half_width
    radius = np.sqrt(v * v + u * u) + TINY
    slope = np.hypot(v / half_depth, u / half_width) + TINY
    return (1 - radius) * radius / slope


def ellipsoid(z: Array, y: Array, x: Array, radii: Triple) -> Array:
    """Return the depth inside an ellipsoid around the origin; `radii` in slice, row, column order."""
    w, v, u = z / radii[0], y / radii[1], x / radii[2]
    radius = np.sqrt(w * w + v * v + u * u) + TINY
    w, v, u = w / radii[0], v / radii[1], u / radii[2]
    slope = np.sqrt(w * w + v * v + u * u) + TINY
    return (1 - radius) * radius / slope


def tube(z: Array, y: Array, x: Array, start: Triple, end: Triple, radius: float) -> Array:
    """Return the depth inside a straight tube with round ends; `start` and `end` are (z, y, x)."""
    along = np.subtract(end, start)
    dz, dy, dx = z - start[0], y - start[1], x - start[2]
    fraction = np.clip((dz * along[0] + dy * along[1] + dx * along[2]) / (along @ along), 0, 1)
    return radius - np.sqrt(
        (dz - fraction * along[0]) ** 2 + (dy - fraction * along[1]) ** 2 + (dx - fraction * along[2]) ** 2
    )


def intersection(*depths: Array) -> Array:
    """Return the depth inside all of several solids."""
    result = depths[0]
    for depth in depths[1:]:
        result = np.minimum(result, depth)
    return result


def union(*depths: Array) -> Array:
    """Return the depth inside any of several solids."""
    result = depths[0]
    for depth in depths[1:]:
        result = np.maximum(result, depth)
    return result


def cover(depth: Array, edge_mm: float) -> Array:
    """Return the fraction of a voxel that a solid fills if its surface is blurred over `edge_mm`."""
    return np.clip(depth / edge_mm + 0.5, 0, 1)
