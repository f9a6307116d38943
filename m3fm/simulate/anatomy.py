"""The shape of a patient's chest, in mm.

The origin is in the middle of the chest at the level of the lungs' bases; z increases towards the head, y
towards the back, x towards the patient's left. Every number of `Anatomy` differs between patients. The
arrays z, y and x broadcast against one another, as in `m3fm.simulate.shapes`.
"""

from dataclasses import dataclass, replace

import numpy as np

from m3fm.simulate.people import Person
from m3fm.simulate.shapes import Array, Triple, ellipse, ellipsoid, intersection, union

RUL, RML, RLL, LUL, LINGULA, LLL = 1, 2, 3, 4, 5, 6
"""NLST's codes of lobes (sct_epi_loc)."""

MEDIASTINUM_Y = -4.0
SEPTUM = 6.0
"""Half the least thickness of the tissue between the lungs, in mm."""
SPINE_RADIUS = 19.0


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The measures of one patient's chest, in mm."""

    half_width: float
    """Half width of the inside of the rib cage."""
    half_depth: float
    """Half depth of the inside of the rib cage."""
    length: float
    """Height of the lungs, from the bases to the tops."""
    muscle: float
    fat: float
    breasts: bool
    mediastinum: float
    """Half width of the mediastinum."""
    dome_right: float
    """Height of the diaphragm's right dome."""
    dome_left: float
    """Height of the diaphragm's left dome."""
    heart: Triple
    """Centre of the heart, as (z, y, x)."""
    heart_radii: Triple
    rib_phase: float

    @property
    def spine_y(self) -> float:
        """Coordinate y of the middle of the vertebral bodies."""
        return self.half_depth - 19.0

    def height(self, z: Array) -> Array:
        """Return the height in the lungs: 0 at their bases, 1 at their tops."""
        return z / self.length

    def cage(self, z: Array, y: Array, x: Array) -> Array:
        """Return the depth inside the rib cage, which narrows towards the neck."""
        up = np.clip((self.height(z) - 0.35) / 0.68, 0, 0.995)
        taper = np.sqrt(1 - up * up)
        return ellipse(y, x, self.half_depth * taper, self.half_width * taper)

    def heart_depth(self, z: Array, y: Array, x: Array) -> Array:
        """Return the depth inside the heart without its fat."""
        cz, cy, cx = self.heart
        # The long axis points to the left, to the front and down.
        dz, dy, dx = z - cz, y - cy, x - cx
        return ellipsoid(dz + 0.35 * dx, dy + 0.35 * dx, dx, self.heart_radii)

    def mediastinum_depth(self, z: Array, y: Array, x: Array) -> Array:
        """Return the depth inside the mediastinum, the heart included."""
        middle = ellipse(y - MEDIASTINUM_Y, x, 0.86 * self.half_depth, self.mediastinum)
        spine = SPINE_RADIUS + 4 - np.hypot(x, y - self.spine_y)
        heart = self.heart_depth(z, y, x) + 6
        return union(middle, SEPTUM - np.abs(x), spine, heart)

    def diaphragm(self, y: Array, x: Array) -> Array:
        """Return the height in mm of the diaphragm's two domes."""
        top = np.where(x < 0, self.dome_right, self.dome_left)
        v = (y + 12) / (0.95 * self.half_depth)
        u = (np.abs(x) - 0.52 * self.half_width) / (0.55 * self.half_width)
        return np.maximum(top * (1 - u * u - v * v), 0)

    def lung(self, z: Array, y: Array, x: Array) -> Array:
        """Return the depth below the pleura of either lung; x is negative in the right lung."""
        return intersection(
            self.cage(z, y, x), -self.mediastinum_depth(z, y, x), 0.8 * (z - self.diaphragm(y, x))
        )

    def lobe(self, z: Array, y: Array, x: Array) -> np.ndarray:
        """Return NLST's code of the lobe of each point of a lung, in the broadcast shape [z, y, x]."""
        height = self.height(z)
        backward = (y / self.half_depth + 1) / 2
        lower = height < 0.10 + 0.62 * backward
        right = np.where(lower, RLL, np.where(height > 0.46, RUL, RML))
        left = np.where(lower, LLL, np.where(height > 0.40, LUL, LINGULA))
        return np.where(x < 0, right, left)

    def breathed(self, rng: np.random.Generator) -> "Anatomy":
        """Return the chest at another exam, breathed in a little more or less."""
        breath = float(rng.uniform(0.97, 1.03))
        return replace(self, length=self.length * breath, dome_right=self.dome_right / breath)


def draw_anatomy(person: Person, rng: np.random.Generator) -> Anatomy:
    """Draw the chest of a patient: larger for tall patients, with more fat for heavy ones."""
    tall = person.height_in - 67.0
    half_width = 117 + 1.1 * tall + float(rng.normal(0, 3.0))
    half_depth = 80 + 0.7 * tall + float(rng.normal(0, 3.0))
    length = 236 + 2.5 * tall + float(rng.normal(0, 7.0))
    heart = float(rng.normal(1.0, 0.05))
    return Anatomy(
        half_width=half_width,
        half_depth=half_depth,
        length=length,
        muscle=float(rng.uniform(13, 17)),
        fat=float(np.clip(4 + 1.3 * (person.bmi - 21), 4, 20)),
        breasts=not person.male,
        mediastinum=float(rng.uniform(27, 33)),
        dome_right=float(rng.uniform(38, 50)),
        dome_left=float(rng.uniform(30, 42)),
        heart=(0.30 * length, -0.24 * half_depth, 20 + float(rng.normal(0, 3))),
        heart_radii=(44 * heart, 40 * heart, 53 * heart),
        rib_phase=float(rng.uniform(0, 1)),
    )
