"""The healthy chest in HU, drawn from its measures, and the canvas that abnormalities are drawn on."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from m3fm.simulate.anatomy import MEDIASTINUM_Y, SPINE_RADIUS, Anatomy
from m3fm.simulate.shapes import Array, Triple, cover, ellipse, ellipsoid, intersection, tube

AIR, FAT, MUSCLE, BLOOD, WATER = -1000.0, -100.0, 50.0, 45.0, 8.0
LUNG_FRONT, LUNG_BACK = -845.0, -785.0
BELOW_MM, ABOVE_MM = 28.0, 22.0
"""Distance that the scan extends beyond the lungs, below and above, in mm."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The positions of the voxels in the coordinates of `Anatomy`; slices run from the feet to the head."""

    slices: int
    rows: int
    origin: Triple
    """Centre of voxel (0, 0, 0): z, y, x in mm."""
    voxel_size: Triple
    """Distance between slices, rows and columns, in mm."""

    @property
    def axes(self) -> tuple[Array, Array, Array]:
        """Coordinates along each axis, as arrays that broadcast against one another."""
        z, y, x = (
            np.float32(start) + np.arange(count, dtype=np.float32) * np.float32(step)
            for count, start, step in zip((self.slices, self.rows, self.rows), self.origin, self.voxel_size)
        )
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def around(self, low: Triple, high: Triple) -> tuple[slice, slice, slice]:
        """Return the voxels of a box in mm, as slices of the volume."""
        counts = (self.slices, self.rows, self.rows)
        parts = []
        for first, last, start, step, count in zip(low, high, self.origin, self.voxel_size, counts):
            begin = min(max(int(np.floor((first - start) / step)), 0), count)
            end = min(max(int(np.ceil((last - start) / step)) + 1, begin), count)
            parts.append(slice(begin, end))
        return parts[0], parts[1], parts[2]


class Canvas:
    """A volume in HU, [slice, row, column], that is being drawn, and the positions of its parts."""

    def __init__(self, anatomy: Anatomy, grid: Grid) -> None:
        """Create a canvas of air."""
        self.anatomy = anatomy
        self.grid = grid
        self.z, self.y, self.x = grid.axes
        self.edge = grid.voxel_size[1]
        """Width in mm over which surfaces are blurred: one pixel."""
        self.hu = np.full((grid.slices, grid.rows, grid.rows), AIR, np.float32)

    @cached_property
    def lung(self) -> Array:
        """Depth below the pleura of every voxel."""
        return self.anatomy.lung(self.z, self.y, self.x)

    @cached_property
    def cage(self) -> Array:
        """Depth inside the rib cage of every voxel."""
        return self.anatomy.cage(self.z, self.y, self.x)

    def fill(self, depth: Array, hu: Array | float, fraction: float = 1.0) -> None:
        """Blend a solid into the whole volume; `depth`, [slice, row, column], is negative outside of it."""
        self.blend(cover(depth, self.edge) * fraction, hu)

    def blend(self, fraction: Array, hu: Array | float, box: tuple[slice, ...] = ()) -> None:
        """Replace a fraction of every voxel, of a box if one is given, by matter of another density."""
        part = self.hu[box]
        part += fraction * (hu - part)

    def fill_ellipsoid(self, centre: Triple, radii: Triple, hu: float, fraction: float = 1.0) -> None:
        """Blend an ellipsoid in; computes its own box only."""
        margin = self.edge
        box = self.grid.around(
            tuple(c - r - margin for c, r in zip(centre, radii)),  # type: ignore[arg-type]
            tuple(c + r + margin for c, r in zip(centre, radii)),  # type: ignore[arg-type]
        )
        z, y, x = self.z[box[0]], self.y[:, box[1]], self.x[:, :, box[2]]
        depth = ellipsoid(z - centre[0], y - centre[1], x - centre[2], radii)
        self.blend(cover(depth, self.edge) * fraction, hu, box)

    def fill_tube(
        self, start: Triple, end: Triple, radius: float, hu: float, *, in_lung: bool = False
    ) -> None:
        """Blend a tube in; computes its own box only. A tube thinner than a pixel fills a part of it."""
        margin = radius + self.edge
        box = self.grid.around(
            tuple(min(pair) - margin for pair in zip(start, end)),  # type: ignore[arg-type]
            tuple(max(pair) + margin for pair in zip(start, end)),  # type: ignore[arg-type]
        )
        z, y, x = self.z[box[0]], self.y[:, box[1]], self.x[:, :, box[2]]
        fraction = cover(tube(z, y, x, start, end, radius), self.edge)
        fraction *= min(1.0, np.pi * radius**2 / self.edge**2)
        if in_lung:
            fraction = fraction * cover(self.lung[box], self.edge)
        self.blend(fraction, hu, box)


def draw_chest(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> Canvas:
    """Draw a healthy chest on the scanner's table; the same generator state gives the same vessels."""
    canvas = Canvas(anatomy, grid)
    _body(canvas)
    _bones(canvas)
    _mediastinum(canvas)
    _lungs(canvas)
    _vessels(canvas, rng)
    _airways(canvas)
    _heart(canvas)
    return canvas


def _body(canvas: Canvas) -> None:
    a, z, y, x = canvas.anatomy, canvas.z, canvas.y, canvas.x
    half_width, half_depth = a.half_width + a.muscle + a.fat, a.half_depth + a.muscle + a.fat + 2
    table = intersection(y - (half_depth + 3 - 0.0011 * x * x), half_depth + 15 - 0.0011 * x * x - y)
    canvas.fill(np.broadcast_to(table, canvas.hu.shape), -650.0)
    body = ellipse(y, x, half_depth, half_width)
    if a.breasts:
        for side in (-1, 1):
            breast = ellipsoid(
                z - 0.42 * a.length, y + 0.86 * half_depth, x - side * 0.48 * half_width, (62.0, 34.0, 52.0)
            )
            body = np.maximum(body, breast)
    canvas.fill(body, FAT)
    canvas.fill(np.broadcast_to(ellipse(y, x, half_depth - a.fat, half_width - a.fat), body.shape), MUSCLE)
    # Below the diaphragm: fat around the organs, the liver on the right, the spleen on the left.
    canvas.fill(canvas.cage, -60.0)
    canvas.fill(intersection(canvas.cage - 4, 30 - x), 62.0)
    canvas.fill(intersection(canvas.cage - 5, x - 55, y + 10), 48.0)


def _bones(canvas: Canvas) -> None:
    a, z, y, x = canvas.anatomy, canvas.z, canvas.y, canvas.x
    # Ribs: a shell outside the cage, cut by planes that descend from the back to the front.
    turn = (z + 0.65 * y + 0.10 * np.abs(x)) / 27.0 + a.rib_phase
    across = 5.0 - 27.0 * np.abs(turn - np.rint(turn))
    shell = intersection(-1.5 - canvas.cage, canvas.cage + 10.0)
    front = y + 0.93 * a.half_depth
    canvas.fill(intersection(shell, across, front, 1.03 * a.length - z), 380.0)
    sternum = intersection(
        ellipse(y + a.half_depth + 7, x, 6.0, 19.0), z - 0.22 * a.length, 0.93 * a.length - z
    )
    canvas.fill(sternum, 260.0)
    body = SPINE_RADIUS - np.hypot(x, y - a.spine_y)
    disc = np.abs((z / 26.0 + a.rib_phase) % 1.0 - 0.5) > 0.42
    canvas.fill(np.broadcast_to(body, canvas.hu.shape), np.where(disc, 90.0, 420.0))
    canvas.fill(np.broadcast_to(body - 4, canvas.hu.shape), np.where(disc, 80.0, 190.0))
    arch = ellipse(y - a.spine_y - 24, x, 13.0, 19.0)
    process = intersection(4.0 - np.abs(x), y - a.spine_y - 20, a.spine_y + 46 - y)
    canvas.fill(np.broadcast_to(np.maximum(arch, process), canvas.hu.shape), np.where(disc, 150.0, 330.0))
    canvas.fill(np.broadcast_to(9.0 - np.hypot(x, y - a.spine_y - 24), canvas.hu.shape), 30.0)
    muscle = ellipse(y, x, a.half_depth + a.muscle, a.half_width + a.muscle) - 2
    for side in (-1, 1):
        blade = ellipse(
            y - 0.72 * a.half_depth - side * 0.55 * (x - side * 0.80 * a.half_width),
            x - side * 0.80 * a.half_width,
            5.0,
            42.0,
        )
        above = intersection(muscle, blade, z - 0.58 * a.length, -5 - canvas.cage)
        canvas.fill(above, 350.0)


def _mediastinum(canvas: Canvas) -> None:
    a, z, y, x = canvas.anatomy, canvas.z, canvas.y, canvas.x
    middle = a.mediastinum_depth(z, y, x)
    spine = SPINE_RADIUS + 2 - np.hypot(x, y - a.spine_y)
    inside = intersection(middle, canvas.cage, -spine, z - 0.12 * a.length)
    canvas.fill(inside, -40.0)
    top, carina = 1.2 * a.length, 0.60 * a.length
    arch = 0.76 * a.length
    back = a.spine_y - 24
    canvas.fill_tube((-60.0, back, 24.0), (arch, back, 22.0), 13.0, BLOOD)
    canvas.fill_tube((arch, back, 20.0), (arch + 4, -26.0, -8.0), 13.0, BLOOD)
    canvas.fill_tube((0.42 * a.length, -18.0, -2.0), (arch, -26.0, -10.0), 15.0, BLOOD)
    canvas.fill_tube((0.45 * a.length, -14.0, -27.0), (top, -12.0, -24.0), 9.0, BLOOD)
    canvas.fill_tube((0.45 * a.length, -26.0, 16.0), (0.62 * a.length, -8.0, 20.0), 13.0, BLOOD)
    canvas.fill_tube((0.58 * a.length, -6.0, 18.0), (0.57 * a.length, 2.0, -34.0), 11.0, BLOOD)
    canvas.fill_tube((0.60 * a.length, -6.0, 18.0), (0.58 * a.length, 4.0, 38.0), 11.0, BLOOD)
    canvas.fill_tube((-60.0, back - 14, 4.0), (top, MEDIASTINUM_Y + 18, 3.0), 6.0, 35.0)
    for side, lean in ((-1, 1.0), (1, 1.2)):
        canvas.fill_tube((arch, -20.0, side * 6.0), (top, -14.0, side * 26.0 * lean), 5.5, BLOOD)
    canvas.fill_tube((carina + 10, 2.0, 0.0), (top, -8.0, 0.0), 10.5, 20.0)


def _lungs(canvas: Canvas) -> None:
    a = canvas.anatomy
    backward = np.clip((canvas.y / a.half_depth + 1) / 2, 0, 1)
    canvas.fill(canvas.lung, LUNG_FRONT + (LUNG_BACK - LUNG_FRONT) * backward)


def _vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a tree of vessels in each lung, from the hilum outwards, each branch thinner than its parent."""
    a = canvas.anatomy
    for side in (-1, 1):
        hilum = np.array([0.57 * a.length, 2.0, side * (a.mediastinum + 2)])
        for trunk in range(9):
            turn = 2 * np.pi * trunk / 9 + rng.uniform(-0.25, 0.25)
            aim = np.array([1.25 * np.sin(turn), 0.85 * np.cos(turn), side * rng.uniform(0.35, 1.1)])
            _branch(canvas, hilum, aim / np.linalg.norm(aim), 38.0, 4.2, 3, rng)


def _branch(
    canvas: Canvas,
    start: np.ndarray,
    aim: np.ndarray,
    length: float,
    radius: float,
    generations: int,
    rng: np.random.Generator,
) -> None:
    end = start + aim * length * rng.uniform(0.8, 1.2)
    canvas.fill_tube(_point(start), _point(end), radius, 30.0, in_lung=True)
    if generations == 0:
        return
    for _ in range(2):
        turned = aim + rng.normal(0, 0.45, 3)
        _branch(
            canvas, end, turned / np.linalg.norm(turned), 0.78 * length, 0.66 * radius, generations - 1, rng
        )


def _point(vector: np.ndarray) -> Triple:
    z, y, x = vector.tolist()
    return z, y, x


def _airways(canvas: Canvas) -> None:
    a = canvas.anatomy
    carina = (0.62 * a.length, 4.0, 0.0)
    canvas.fill_tube(carina, (1.2 * a.length, -8.0, 0.0), 8.5, AIR)
    canvas.fill_tube(carina, (0.55 * a.length, 8.0, -a.mediastinum), 6.0, AIR)
    canvas.fill_tube(carina, (0.53 * a.length, 9.0, a.mediastinum + 4), 5.5, AIR)


def _heart(canvas: Canvas) -> None:
    a = canvas.anatomy
    depth = a.heart_depth(canvas.z, canvas.y, canvas.x)
    above = canvas.z - 0.2 * a.diaphragm(canvas.y, canvas.x)
    canvas.fill(intersection(depth + 6, canvas.cage, above), -85.0)
    canvas.fill(intersection(depth, canvas.cage, above), BLOOD)
    for path in coronaries(a).values():
        for start, end in pairwise(path):
            canvas.fill_tube(start, end, 1.8, BLOOD)


def coronaries(anatomy: Anatomy) -> dict[str, list[Triple]]:
    """Return the courses of three coronary arteries over the heart, from the aorta outwards, in mm."""
    cz, cy, cx = anatomy.heart
    rz, ry, rx = (radius + 1.5 for radius in anatomy.heart_radii)
    courses = {  # polar angle from the top of the heart, and azimuth from the left to the front, degrees
        "left anterior descending": [(22, 70), (45, 72), (70, 66), (95, 58), (120, 50)],
        "circumflex": [(24, 30), (45, 0), (65, -25), (88, -45)],
        "right": [(28, 130), (52, 150), (78, 165), (102, 185)],
    }
    paths: dict[str, list[Triple]] = {}
    for name, course in courses.items():
        paths[name] = []
        for polar, azimuth in course:
            t, p = np.radians(polar), np.radians(azimuth)
            x = rx * np.sin(t) * np.cos(p)
            y = -ry * np.sin(t) * np.sin(p) - 0.35 * x
            z = rz * np.cos(t) - 0.35 * x
            paths[name].append((float(cz + z), float(cy + y), float(cx + x)))
    return paths
