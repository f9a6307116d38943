"""The sites of the abnormalities: the regions that they fill, and that nodules keep away from.

Each function returns the depth inside the region in mm, negative outside, for an abnormality of a severity
from 0.6 to 1.0, at coordinates as in `m3fm.simulate.shapes`. The sites hardly overlap, and do not vary.
"""

from collections.abc import Callable

import numpy as np

from m3fm.simulate.anatomy import Anatomy
from m3fm.simulate.shapes import Array, ellipsoid, intersection

Site = Callable[[Anatomy, float, Array, Array, Array], Array]


def effusion(anatomy: Anatomy, severity: float, z: Array, y: Array, x: Array) -> Array:
    """Return the depth inside a crescent at the back of either lung's base, thicker further down."""
    thickness = 54 * severity * np.clip(1 - z / (0.50 * anatomy.length), 0, 1)
    return intersection(
        thickness - anatomy.cage(z, y, x), y - 0.1 * anatomy.half_depth, anatomy.lung(z, y, x) + 4
    )


def atelectasis(anatomy: Anatomy, severity: float, z: Array, y: Array, x: Array) -> Array:
    """Return the depth inside the collapsed base of the left lower lobe, beside the spine."""
    centre = (0.24 * anatomy.length, 0.36 * anatomy.half_depth, 0.40 * anatomy.half_width)
    radii = (64 * severity, 34 * severity, 40 * severity)
    body = ellipsoid(z - centre[0], y - centre[1], x - centre[2], radii)
    return intersection(body, anatomy.lung(z, y, x) + 4, x)


def consolidation(anatomy: Anatomy, severity: float, z: Array, y: Array, x: Array) -> Array:
    """Return the depth inside the outer part of the right upper lobe."""
    centre = (0.68 * anatomy.length, -0.05 * anatomy.half_depth, -0.66 * anatomy.half_width)
    radii = (44 * severity, 46 * severity, 40 * severity)
    body = ellipsoid(z - centre[0], y - centre[1], x - centre[2], radii)
    return intersection(body, anatomy.lung(z, y, x) + 3, -x)


def adenopathy(anatomy: Anatomy, severity: float, z: Array, y: Array, x: Array) -> Array:
    """Return the depth inside masses at both hila and right of the trachea, which bulge into the lungs."""
    size = 33 * severity
    depth = ellipsoid(
        z - 0.80 * anatomy.length, y + 14, x + 26, (34 * severity, 26 * severity, 30 * severity)
    )
    for side in (-1, 1):
        hilum = ellipsoid(
            z - 0.57 * anatomy.length, y - 4, x - side * (anatomy.mediastinum + 12), (size,) * 3
        )
        depth = np.maximum(depth, hilum)
    return depth


def chest_wall_mass(anatomy: Anatomy, severity: float, z: Array, y: Array, x: Array) -> Array:
    """Return the depth inside a mass that grows from the left ribs into the chest."""
    radii = (50 * severity, 52 * severity, 38 * severity)
    return ellipsoid(
        z - 0.55 * anatomy.length, y + 0.05 * anatomy.half_depth, x - 0.95 * anatomy.half_width, radii
    )


SITES: dict[str, Site] = {
    "pleural_thickening_effusion": effusion,
    "atelectasis": atelectasis,
    "consolidation": consolidation,
    "adenopathy_mass": adenopathy,
    "chest_wall_abnormality": chest_wall_mass,
}
"""Sites by the name of the abnormality; the others are spread over the lungs or lie in the heart."""


def occupied(anatomy: Anatomy, abnormalities: set[str], z: Array, y: Array, x: Array) -> Array:
    """Return the depth inside any of the regions that the abnormalities may fill."""
    depth = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), -np.inf, np.float32)
    for name in sorted(abnormalities & set(SITES)):
        depth = np.maximum(depth, SITES[name](anatomy, 1.0, z, y, x))
    return depth
