"""The findings of each exam: abnormalities, and nodules that stay and grow.

This is a cohort for tests of software, not of epidemiology: every abnormality is in 15 to 35 % of the
exams, large, and at a site of its own (`lesions.py`), so that a small model can learn it from a few
patients. Diseases that the patient reports make the matching abnormality more likely, so that the
clinical text is informative about the image.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from m3fm.simulate.anatomy import LINGULA, LLL, LUL, RLL, RML, RUL, Anatomy
from m3fm.simulate.people import Person, choose
from m3fm.simulate.sites import occupied

EXAMS = 3
"""Number of screening years: T0, T1, T2."""


@dataclass(frozen=True, kw_only=True)
class Abnormality:
    """One kind of abnormality other than nodules."""

    name: str
    """Name of the task that asks for it."""
    code: int | None
    """NLST's sct_ab_desc; None where NLST has none."""
    fraction: float
    """Fraction of the patients (or exams) that have it, without any disease of `raised_by`."""
    raised_by: dict[str, float] = field(default_factory=dict)
    """Factors on the odds, by disease of the history."""
    lasting: bool
    """Whether it is in all exams of a patient or in none; otherwise each exam is drawn anew."""


ABNORMALITIES = (
    Abnormality(name="atelectasis", code=54, fraction=0.25, lasting=False),
    Abnormality(
        name="pleural_thickening_effusion",
        code=55,
        fraction=0.23,
        raised_by={"asbe": 4, "hear": 1.6},
        lasting=False,
    ),
    Abnormality(name="adenopathy_mass", code=56, fraction=0.23, raised_by={"sarc": 6}, lasting=True),
    Abnormality(name="chest_wall_abnormality", code=57, fraction=0.2, lasting=True),
    Abnormality(name="consolidation", code=58, fraction=0.22, raised_by={"pneu": 1.8}, lasting=False),
    Abnormality(
        name="emphysema", code=59, fraction=0.18, raised_by={"emph": 8, "copd": 3, "chro": 1.5}, lasting=True
    ),
    Abnormality(
        name="cvd_diagnosis",
        code=60,
        fraction=0.17,
        raised_by={"hear": 6, "hype": 1.8, "diab": 2},
        lasting=True,
    ),
    Abnormality(
        name="reticular_fibrosis_scar",
        code=61,
        fraction=0.22,
        raised_by={"fibr": 8, "asbe": 2, "tube": 2},
        lasting=True,
    ),
    Abnormality(name="covid19", code=None, fraction=0.25, lasting=False),
)
"""All abnormalities, with the codes of NLST's form."""

SPICULATED, SMOOTH, POORLY_DEFINED, UNDETERMINED = 1, 2, 3, 9
SOFT_TISSUE, GROUND_GLASS, MIXED, FLUID, FAT, OTHER = 1, 2, 3, 4, 6, 7

LOBES = {RUL: 0.22, RML: 0.13, RLL: 0.19, LUL: 0.19, LINGULA: 0.06, LLL: 0.21}
MARGINS = {SPICULATED: 0.33, SMOOTH: 0.34, POORLY_DEFINED: 0.21, UNDETERMINED: 0.12}
ATTENUATIONS = {
    SOFT_TISSUE: 0.48,
    GROUND_GLASS: 0.22,
    MIXED: 0.14,
    FLUID: 0.03,
    FAT: 0.04,
    OTHER: 0.06,
    9: 0.03,
}
LONG_MM = {(4, 4): 0.11, (5, 6): 0.13, (7, 8): 0.14, (9, 15): 0.26, (16, 30): 0.23, (31, 38): 0.13}
"""Fraction of the nodules by range of the long diameter, a whole number of mm as in NLST."""
LARGEST_MM = 44


@dataclass(frozen=True, kw_only=True)
class SimulatedNodule:
    """A nodule in one exam; codes are NLST's."""

    number: int
    """NLST's sct_ab_num, equal in all exams of a patient."""
    lobe: int
    place: tuple[float, float, float]
    """Centre as (z, y, x), in fractions of the cage's length, half depth and half width."""
    angle: float
    """Direction of the long diameter in the slice, radians."""
    long_mm: int
    short_mm: int
    margin: int
    attenuation: int
    first_exam: int

    @property
    def suspicion(self) -> float:
        """Contribution of the nodule to the log-odds of lung cancer."""
        dense = self.attenuation in (SOFT_TISSUE, MIXED)
        return 0.085 * self.long_mm + 1.5 * (self.margin == SPICULATED) + 0.5 * dense

    def centre(self, anatomy: Anatomy) -> tuple[float, float, float]:
        """Return the centre as (z, y, x) in mm, in a chest with the given measures."""
        z, y, x = self.place
        return z * anatomy.length, y * anatomy.half_depth, x * anatomy.half_width


@dataclass(frozen=True, kw_only=True)
class ExamFindings:
    """The findings that are drawn in one exam, and that its report lists."""

    severity: dict[str, float]
    """Severity, 0.6 to 1.0, by the name of an abnormality that is present."""
    nodules: tuple[SimulatedNodule, ...]
    covid_tested: bool


def draw_abnormalities(person: Person, rng: np.random.Generator) -> list[dict[str, float]]:
    """Draw the severities of the abnormalities in each exam that the patient may have."""
    exams: list[dict[str, float]] = [{} for _ in range(EXAMS)]
    for kind in ABNORMALITIES:
        odds = kind.fraction / (1 - kind.fraction)
        for disease, factor in kind.raised_by.items():
            odds *= factor if disease in person.histories else 1.0
        there = rng.random(1 if kind.lasting else EXAMS) < odds / (1 + odds)
        severity = rng.uniform(0.6, 1.0, size=there.size)
        for exam, found in enumerate(exams):
            drawn = 0 if kind.lasting else exam
            if there[drawn]:
                found[kind.name] = float(severity[drawn])
    return exams


def draw_nodules(
    anatomy: Anatomy, abnormalities: set[str], rng: np.random.Generator
) -> list[SimulatedNodule]:
    """Draw up to three nodules as first seen, apart from each other and from the abnormalities."""
    nodules: list[SimulatedNodule] = []
    for number in range(1, 1 + int(rng.choice(4, p=[0.30, 0.35, 0.24, 0.11]))):
        low, high = choose(LONG_MM, rng)
        long_mm = int(rng.integers(low, high + 1))
        margin = choose(MARGINS, rng)
        nodules.append(
            _place(
                SimulatedNodule(
                    number=number,
                    lobe=choose(LOBES, rng),
                    place=(0.0, 0.0, 0.0),
                    angle=float(rng.uniform(0, np.pi)),
                    long_mm=long_mm,
                    short_mm=max(3, round(long_mm * float(rng.uniform(0.7, 1.0)))),
                    margin=margin,
                    attenuation=choose(ATTENUATIONS, rng),
                    first_exam=int(rng.choice(EXAMS, p=[0.86, 0.09, 0.05])),
                ),
                anatomy,
                nodules,
                abnormalities,
                rng,
            )
        )
    return nodules


def _place(
    nodule: SimulatedNodule,
    anatomy: Anatomy,
    others: list[SimulatedNodule],
    abnormalities: set[str],
    rng: np.random.Generator,
) -> SimulatedNodule:
    """Place a nodule at random in its lobe where it has room, or else where it has the most room."""
    places = rng.uniform((0.05, -0.95, -0.95), (0.98, 0.95, 0.95), size=(6000, 3)).astype(np.float32)
    z, y, x = (places * (anatomy.length, anatomy.half_depth, anatomy.half_width)).T.astype(np.float32)
    room = np.minimum(anatomy.lung(z, y, x), -occupied(anatomy, abnormalities, z, y, x))
    for other in others:
        oz, oy, ox = other.centre(anatomy)
        apart = np.sqrt((z - oz) ** 2 + (y - oy) ** 2 + (x - ox) ** 2)
        room = np.minimum(room, apart - other.long_mm)
    room[anatomy.lobe(z, y, x) != nodule.lobe] = -np.inf
    enough = np.flatnonzero(room > nodule.long_mm / 2 + 3)
    chosen = int(rng.choice(enough)) if enough.size else int(room.argmax())
    pz, py, px = places[chosen].tolist()
    return replace(nodule, place=(pz, py, px))


def nodules_at(
    exam: int, nodules: list[SimulatedNodule], growing: int | None, rng: np.random.Generator
) -> list[SimulatedNodule]:
    """Return the nodules as they are at an exam; `growing` is the number of the one that is a cancer."""
    seen = [nodule for nodule in nodules if nodule.first_exam <= exam]
    return [_grown(nodule, exam - nodule.first_exam, nodule.number == growing, rng) for nodule in seen]


def _grown(nodule: SimulatedNodule, years: int, cancer: bool, rng: np.random.Generator) -> SimulatedNodule:
    growth = float(rng.uniform(1.15, 1.35)) ** years if cancer else 1.0
    return replace(
        nodule,
        long_mm=max(nodule.long_mm, min(LARGEST_MM, round(nodule.long_mm * growth))),
        short_mm=max(nodule.short_mm, min(LARGEST_MM, round(nodule.short_mm * growth))),
    )
