"""What becomes of the patients: lung cancer, death, and how long they are followed.

Both risks depend on the image and on the clinical data, so that neither is enough alone. About a quarter
of the patients get lung cancer and a fifth die of cardiovascular disease, far more than in any trial, so
that a small cohort has events in each of the six years after a scan. Days count from randomisation.
"""

from dataclasses import dataclass

import numpy as np

from m3fm.simulate.anatomy import LINGULA, LLL, LUL, RLL, RML, RUL
from m3fm.simulate.findings import EXAMS, LOBES, Nodule
from m3fm.simulate.people import Person, choose

SPREAD_DAYS = 2180
"""Events come within this many days of the first exam: a little less than six years."""

TUMOUR_TYPES = {8140: 0.52, 8070: 0.25, 8041: 0.14, 8012: 0.09}
"""ICD-O-3 morphology: adenocarcinoma, squamous cell, small cell, large cell."""
STAGES = {110: 0.36, 120: 0.14, 210: 0.06, 220: 0.07, 310: 0.12, 320: 0.10, 400: 0.15}
GRADES = {2: 0.2, 3: 0.35, 4: 0.25, 8: 0.1, 1: 0.1}
TUMOUR_PLACES = {
    RUL: "locrup",
    RML: "locrmid",
    RLL: "locrlow",
    LUL: "loclup",
    LINGULA: "loclin",
    LLL: "locllow",
}
"""Column of the location flag, by lobe."""

CARDIOVASCULAR = {"I219": 0.3, "I251": 0.35, "I250": 0.1, "I64": 0.1, "I500": 0.1, "I710": 0.05}
OTHER_CAUSES = {"J449": 0.4, "C259": 0.2, "C189": 0.15, "J189": 0.15, "G309": 0.1}
LUNG_CANCER_CAUSE = "C349"


@dataclass(frozen=True, kw_only=True)
class Cancer:
    """A first lung cancer; codes are NLST's."""

    day: int
    lobe: int
    nodule: int | None
    """Number of the nodule that it was, if any was seen."""
    tumour_type: int
    stage: int
    grade: int
    size_mm: int


@dataclass(frozen=True, kw_only=True)
class Death:
    """A death, with the ICD-10 code of its cause as certificates have it, without a dot."""

    day: int
    icd10: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The days on which the patient was scanned, and what came after."""

    scan_days: tuple[int, ...]
    """Of the exams that took place: T0, T1, T2, or the first of them."""
    cancer: Cancer | None
    death: Death | None
    followup_day: int
    """Last day on which the patient was known alive, or that of death."""


def draw_outcome(person: Person, nodules: list[Nodule], calcium: float, rng: np.random.Generator) -> Outcome:
    """What becomes of a patient with these nodules and this severity of coronary calcium (0: none)."""
    planned = int(rng.choice([1, 2, 3], p=[0.26, 0.36, 0.38]))
    first = int(rng.integers(3, 45))
    days = [first] + [first + 365 * exam + int(rng.integers(-25, 26)) for exam in range(1, EXAMS)]
    end = int(rng.integers(2350, 2900) if rng.random() < 0.85 else rng.integers(500, 2350))
    cancer = _cancer(person, nodules, first, rng)
    death = _death(person, calcium, cancer, first, rng)
    if death is not None and death.day > end:
        death = None
    last = end if death is None else death.day
    if cancer is not None and cancer.day > last:
        cancer = None
    # Screening ends with a diagnosis.
    until = last if cancer is None else cancer.day
    return Outcome(
        scan_days=tuple(day for day in days[:planned] if day < until),
        cancer=cancer,
        death=death,
        followup_day=last,
    )


def cancer_log_odds(person: Person, nodules: list[Nodule]) -> float:
    """Log-odds of lung cancer within six years: the worst nodule, smoking, family and emphysema."""
    worst = max((nodule.suspicion for nodule in nodules), default=-0.5)
    clinical = (
        0.022 * (min(person.pack_years, 120) - 50)
        + 1.1 * person.family
        + 1.0 * ("emph" in person.histories)
        + 0.5 * ("copd" in person.histories)
    )
    return -4.6 + 1.35 * worst + clinical


def cardiovascular_log_odds(person: Person, calcium: float) -> float:
    """Log-odds of cardiovascular death within six years: disease history, age and coronary calcium."""
    weights = {"hear": 1.9, "stro": 1.7, "diab": 1.3, "hype": 0.8}
    history = sum(weight for key, weight in weights.items() if key in person.histories)
    return -4.1 + history + 2.4 * calcium + 0.06 * (person.age - 61)


def _happens(log_odds: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < 1 / (1 + np.exp(-log_odds)))


def _day(first: int, log_odds: float, rng: np.random.Generator) -> int:
    """When an event comes: any time within six years, the sooner the higher the risk."""
    return first + 25 + int(SPREAD_DAYS * rng.beta(1.0, 1.1 + 0.25 * np.clip(log_odds, 0, 4)))


def _cancer(person: Person, nodules: list[Nodule], first: int, rng: np.random.Generator) -> Cancer | None:
    log_odds = cancer_log_odds(person, nodules)
    if not _happens(log_odds, rng):
        return None
    worst = max(nodules, key=lambda nodule: nodule.suspicion, default=None)
    return Cancer(
        day=_day(first, log_odds, rng),
        lobe=choose(LOBES, rng) if worst is None else worst.lobe,
        nodule=None if worst is None else worst.number,
        tumour_type=choose(TUMOUR_TYPES, rng),
        stage=choose(STAGES, rng),
        grade=choose(GRADES, rng),
        size_mm=int(rng.integers(8, 40)) if worst is None else worst.long_mm,
    )


def _death(
    person: Person, calcium: float, cancer: Cancer | None, first: int, rng: np.random.Generator
) -> Death | None:
    """The first of the deaths that the patient may die."""
    deaths = []
    log_odds = cardiovascular_log_odds(person, calcium)
    if _happens(log_odds, rng):
        deaths.append(Death(day=_day(first, log_odds, rng), icd10=choose(CARDIOVASCULAR, rng)))
    if cancer is not None and rng.random() < 0.4:
        deaths.append(Death(day=cancer.day + int(rng.integers(60, 1300)), icd10=LUNG_CANCER_CAUSE))
    if rng.random() < 0.05:
        deaths.append(Death(day=_day(first, 0.0, rng), icd10=choose(OTHER_CAUSES, rng)))
    return min(deaths, key=lambda death: death.day, default=None)
