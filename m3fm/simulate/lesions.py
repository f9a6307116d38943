"""Abnormalities and nodules, drawn into the voxels of a chest."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from m3fm.simulate.findings import (
    ABNORMALITIES,
    FAT,
    FLUID,
    GROUND_GLASS,
    MIXED,
    OTHER,
    POORLY_DEFINED,
    SMOOTH,
    SPICULATED,
    ExamFindings,
    SimulatedNodule,
)
from m3fm.simulate.phantom import WATER, Canvas, coronaries
from m3fm.simulate.shapes import Array, cover, intersection
from m3fm.simulate.sites import SITES

Draw = Callable[[Canvas, float, np.random.Generator], None]


def _emphysema(canvas: Canvas, severity: float, rng: np.random.Generator) -> None:
    """Draw air sacs without vessels that fill most of the upper lungs."""
    a = canvas.anatomy
    upper = cover(canvas.z - (0.62 - 0.22 * severity) * a.length, 30.0) * cover(canvas.lung - 1, canvas.edge)
    canvas.blend(0.8 * upper, -990.0)
    for side in (-1, 1):
        for _ in range(int(34 * severity)):
            centre = (
                float(rng.uniform(0.50, 0.95)) * a.length,
                float(rng.uniform(-0.75, 0.75)) * a.half_depth,
                side * float(rng.uniform(0.3, 0.85)) * a.half_width,
            )
            depth = float(a.lung(*(np.array([value], np.float32) for value in centre))[0])
            if depth > 5:
                radius = min(float(rng.uniform(9, 19)), depth)
                canvas.fill_ellipsoid(centre, (radius,) * 3, -995.0, fraction=0.92)


def _fibrosis(canvas: Canvas, severity: float, rng: np.random.Generator) -> None:
    """Draw a net of thickened walls below the pleura of the bases."""
    a = canvas.anatomy
    where = intersection(
        canvas.lung, 34 * severity - canvas.lung, (0.26 + 0.14 * severity) * a.length - canvas.z
    )
    waves = np.zeros_like(canvas.hu)
    for _ in range(5):  # walls are where waves of all directions cancel out: a net
        aim = rng.normal(size=3)
        z, y, x = (2 * np.pi / rng.uniform(16, 24) * aim / np.linalg.norm(aim)).tolist()
        waves += np.sin(z * canvas.z + (y * canvas.y + (x * canvas.x + float(rng.uniform(0, 6)))))
    walls = np.clip(1.1 - np.abs(waves), 0, 1)
    canvas.blend(cover(where, 2 * canvas.edge) * walls * 0.9, -100.0)


def _covid(canvas: Canvas, severity: float, rng: np.random.Generator) -> None:
    """Draw patches of ground glass below the pleura of both lungs, at mid-height, to the side and back."""
    a = canvas.anatomy
    patches = np.full(canvas.hu.shape, -50.0, np.float32)
    for side in (-1, 1):
        for _ in range(round(9 * severity)):
            turn = float(rng.uniform(-0.25, 1.0))
            centre = (
                float(rng.uniform(0.28, 0.72)) * a.length,
                0.80 * np.sin(turn) * a.half_depth,
                side * 0.80 * np.cos(turn) * a.half_width,
            )
            radius = float(rng.uniform(15, 25))
            ball = radius - np.sqrt(
                (canvas.z - centre[0]) ** 2 + (canvas.y - centre[1]) ** 2 + (canvas.x - centre[2]) ** 2
            )
            np.maximum(patches, ball, out=patches)
    canvas.fill(intersection(patches, canvas.lung, 42 - canvas.lung), -430.0, fraction=0.9)


def _calcium(canvas: Canvas, severity: float, rng: np.random.Generator) -> None:
    """Draw calcified stretches of the coronary arteries."""
    for path in coronaries(canvas.anatomy).values():
        for start, end in pairwise(path):
            if rng.random() < severity:
                shift = np.subtract(end, start) * float(rng.uniform(0, 0.2))
                first, last = np.add(start, shift).tolist(), np.subtract(end, shift).tolist()
                canvas.fill_tube(tuple(first), tuple(last), 2.6 + 1.6 * severity, 950.0)


def _site(name: str, hu: float, texture: float = 0.0) -> Draw:
    """Return a function that fills the abnormality's site with a density in HU, less `texture` in spots."""

    def draw(canvas: Canvas, severity: float, rng: np.random.Generator) -> None:
        depth = SITES[name](canvas.anatomy, severity, canvas.z, canvas.y, canvas.x)
        density: Array | float = hu
        if texture:
            y = 2 * np.pi * (canvas.y + 0.4 * canvas.z) / 15.0 + float(rng.uniform(0, 6))
            x = 2 * np.pi * (canvas.x - 0.4 * canvas.z) / 15.0
            density = hu - texture * np.clip(np.sin(y) * np.sin(x) - 0.5, 0, 1)
        canvas.fill(depth, density)

    return draw


DRAWINGS: dict[str, Draw] = {
    "emphysema": _emphysema,
    "reticular_fibrosis_scar": _fibrosis,
    "covid19": _covid,
    "consolidation": _site("consolidation", 30.0, texture=900.0),
    "atelectasis": _site("atelectasis", 55.0),
    "pleural_thickening_effusion": _site("pleural_thickening_effusion", WATER),
    "adenopathy_mass": _site("adenopathy_mass", 60.0),
    "chest_wall_abnormality": _site("chest_wall_abnormality", 50.0),
    "cvd_diagnosis": _calcium,
}
"""Drawing functions of the abnormalities by name, in the order of drawing."""
LASTING = {kind.name for kind in ABNORMALITIES if kind.lasting}


def draw_findings(canvas: Canvas, findings: ExamFindings, seed: list[int], timepoint: int) -> None:
    """Draw all findings of an exam; the nodules last, so that nothing hides them.

    Lasting abnormalities have one pattern at all timepoints, the others a new one at each.
    """
    for number, (name, draw) in enumerate(DRAWINGS.items()):
        if name in findings.severity:
            stream = [*seed, number] if name in LASTING else [*seed, number, timepoint]
            draw(canvas, findings.severity[name], np.random.default_rng(stream))
    for nodule in findings.nodules:
        draw_nodule(canvas, nodule, np.random.default_rng([*seed, 100 + nodule.number]))


SUBVOXELS = 4
"""Samples along each axis of a voxel, to count the fraction of it inside a nodule."""
SPIKES = 13
DENSITY = {GROUND_GLASS: -560.0, FLUID: 10.0, FAT: -90.0, OTHER: 220.0}
"""HU by attenuation; others are soft tissue, SOLID."""
SOLID = 45.0


def draw_nodule(canvas: Canvas, nodule: SimulatedNodule, rng: np.random.Generator) -> None:
    """Draw a nodule with partial volume: a half-filled voxel is halfway between nodule and surroundings."""
    centre = nodule.centre(canvas.anatomy)
    reach = 1.05 * nodule.long_mm + canvas.edge
    box = canvas.grid.around(
        (centre[0] - reach, centre[1] - reach, centre[2] - reach),
        (centre[0] + reach, centre[1] + reach, centre[2] + reach),
    )
    axes = (canvas.z[box[0], 0, 0], canvas.y[0, box[1], 0], canvas.x[0, 0, box[2]])
    z, y, x = (
        _sample_positions(axis, step) - middle
        for axis, step, middle in zip(axes, canvas.grid.voxel_size, centre)
    )
    fraction, density = _nodule_shape(nodule, z[:, None, None], y[None, :, None], x[None, None, :], rng)
    filled, weighted = _voxel_means(fraction), _voxel_means(fraction * density)
    part = canvas.hu[box]
    part += weighted - filled * part


def _sample_positions(axis: Array, step: float) -> Array:
    """Return the positions of the samples within voxels that are centred on `axis`."""
    offsets = ((np.arange(SUBVOXELS, dtype=np.float32) + 0.5) / SUBVOXELS - 0.5) * np.float32(step)
    return (axis[:, None] + offsets).ravel()


def _voxel_means(samples: Array) -> Array:
    """Average the samples of each voxel."""
    d, h, w = (size // SUBVOXELS for size in samples.shape)
    blocks = samples.reshape(d, SUBVOXELS, h, SUBVOXELS, w, SUBVOXELS)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def _nodule_shape(
    nodule: SimulatedNodule, z: Array, y: Array, x: Array, rng: np.random.Generator
) -> tuple[Array, Array | float]:
    """Compute how full of nodule each sample is, 0 to 1, and its density in HU; the origin is the centre."""
    cosine, sine = np.float32(np.cos(nodule.angle)), np.float32(np.sin(nodule.angle))
    u = (x * cosine + y * sine) / (nodule.long_mm / 2)
    v = (y * cosine - x * sine) / (nodule.short_mm / 2)
    w = z / (nodule.short_mm / 2)
    radius = np.sqrt(u * u + v * v + w * w)
    density: Array | float = DENSITY.get(nodule.attenuation, SOLID)
    if nodule.attenuation == MIXED:
        density = np.where(radius < 0.5, SOLID, DENSITY[GROUND_GLASS]).astype(np.float32)
    return _margin(nodule.margin, radius, (w, v, u), rng), density


def _margin(
    margin: int, radius: Array, directions: tuple[Array, Array, Array], rng: np.random.Generator
) -> Array:
    """Compute how full of nodule a sample is by its distance from the centre, in radii of the nodule."""
    if margin == SMOOTH:
        return (radius < 1).astype(np.float32)
    if margin == POORLY_DEFINED:
        return np.clip((1.45 - radius) / 0.9, 0, 1)
    if margin == SPICULATED:
        full = radius < 0.95
        for spike in rng.normal(size=(SPIKES, 3)).astype(np.float32):
            spike /= np.linalg.norm(spike)
            along = sum(part * fraction for part, fraction in zip(directions, spike))
            aside = np.sqrt(np.maximum(radius * radius - along * along, 0))
            full |= (along > 0) & (aside < 0.28 * (2.1 - radius))
        return full.astype(np.float32)
    w, v, u = directions
    bumps = 1 + 0.22 * np.sin(4 * u + 1) * np.sin(4 * v) + 0.15 * np.sin(5 * w)
    return np.clip((1.1 * bumps - radius) / 0.25 + 0.5, 0, 1)
