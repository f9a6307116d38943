"""The outcomes of the patients: lung cancer, death, and the length of follow-up.

Both risks depend on the image and on the clinical data, so that neither is enough alone. About a quarter
of the patients get lung cancer and a fifth die of cardiovascular disease, far more than in any trial, so
that a small cohort has events in each of the six years after a scan. Days count from randomisation.
"""

from dataclasses import dataclass

import numpy as np

from m3fm.simulate.anatomy import LINGULA, LLL, LUL, RLL, RML, RUL
from m3fm.simulate.findings import EXAMS, LOBES, SimulatedNodule
from m3fm.simulate.people import Person, choose

SPREAD_DAYS = 2180
"""Length in days of the period of events after the first exam: a little less than six years."""

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
"""Columns of the location flags by lobe."""

CARDIOVASCULAR = {"I219": 0.3, "I251": 0.35, "I250": 0.1, "I64": 0.1, "I500": 0.1, "I710": 0.05}
OTHER_CAUSES = {"J449": 0.4, "C259": 0.2, "C189": 0.15, "J189": 0.15, "G309": 0.1}
LUNG_CANCER_CAUSE = "C349"


@dataclass(frozen=True, kw_only=True)
class Cancer:
    """A first lung cancer; codes are NLST's."""

    day: int
    lobe: int
    nodule: int | None
    """Number of the nodule that is the cancer, if one was seen."""
    tumour_type: int
    stage: int
    grade: int
    size_mm: int


@dataclass(frozen=True, kw_only=True)
class Death:
    """A death and the ICD-10 code of its cause, without a dot, as on certificates."""

    day: int
    icd10: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The days of a patient's scans and of the events after them."""

    scan_days: tuple[int, ...]
    """Days of the exams that took place: T0, T1, T2, or the first of them."""
    cancer: Cancer | None
    death: Death | None
    followup_day: int
    """Last day on which the patient was known to be alive, or the day of death."""


def draw_outcome(
    person: Person, nodules: list[SimulatedNodule], calcium: float, rng: np.random.Generator
) -> Outcome:
    """Draw the outcome of a patient with these nodules and this severity of coronary calcium (0: none)."""
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


def cancer_log_odds(person: Person, nodules: list[SimulatedNodule]) -> float:
    """Compute the log-odds of lung cancer in six years: the worst nodule, smoking, family, lung disease."""
    worst = max((nodule.suspicion for nodule in nodules), default=-0.5)
    clinical = (
        0.022 * (min(person.pack_years, 120) - 50)
        + 1.1 * person.family
        + 1.0 * ("emph" in person.histories)
        + 0.5 * ("copd" in person.histories)
    )
    return -4.6 + 1.35 * worst + clinical


def cardiovascular_log_odds(person: Person, calcium: float) -> float:
    """Compute the log-odds of cardiovascular death in six years: disease history, age, coronary calcium."""
    weights = {"hear": 1.9, "stro": 1.7, "diab": 1.3, "hype": 0.8}
    history = sum(weight for key, weight in weights.items() if key in person.histories)
    return -4.1 + history + 2.4 * calcium + 0.06 * (person.age - 61)


def _happens(log_odds: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < 1 / (1 + np.exp(-log_odds)))


def _day(first: int, log_odds: float, rng: np.random.Generator) -> int:
    """Draw the day of an event within six years; a higher risk makes it come sooner."""
    return first + 25 + int(SPREAD_DAYS * rng.beta(1.0, 1.1 + 0.25 * np.clip(log_odds, 0, 4)))


def _cancer(
    person: Person, nodules: list[SimulatedNodule], first: int, rng: np.random.Generator
) -> Cancer | None:
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
    """Draw the possible deaths of a patient, and return the first, or None."""
    deaths = []
    log_odds = cardiovascular_log_odds(person, calcium)
    if _happens(log_odds, rng):
        deaths.append(Death(day=_day(first, log_odds, rng), icd10=choose(CARDIOVASCULAR, rng)))
    if cancer is not None and rng.random() < 0.4:
        deaths.append(Death(day=cancer.day + int(rng.integers(60, 1300)), icd10=LUNG_CANCER_CAUSE))
    if rng.random() < 0.05:
        deaths.append(Death(day=_day(first, 0.0, rng), icd10=choose(OTHER_CAUSES, rng)))
    return min(deaths, key=lambda death: death.day, default=None)
