"""The patients: the answers of an enrolment questionnaire, in NLST's codes.

Smoking follows the trial's rules of entry (55 to 74 years old, 30 pack-years, quit at most 15 years ago).
Answers are correlated as in life: smoking with lung disease, weight with diabetes, diabetes and hypertension
with heart disease.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

Code = int | float | str
Option = TypeVar("Option")
MISSING, NOT_APPLICABLE = ".M", ".N"
MISSING_FRACTION = 0.02
"""Fraction of the answers that are missing."""

RACES = {1: 0.83, 2: 0.09, 3: 0.04, 4: 0.01, 5: 0.01, 6: 0.02}
EDUCATION = {1: 0.02, 2: 0.07, 3: 0.25, 4: 0.14, 5: 0.23, 6: 0.16, 7: 0.11, 8: 0.02}
MARITAL = {1: 0.05, 2: 0.66, 3: 0.10, 4: 0.02, 5: 0.17}
CIGARETTES_A_DAY = {15: 0.08, 20: 0.40, 25: 0.13, 30: 0.19, 40: 0.15, 60: 0.05}

DISEASES = {
    "adas": 0.07,
    "asbe": 0.03,
    "bron": 0.04,
    "chas": 0.05,
    "chro": 0.12,
    "copd": 0.12,
    "diab": 0.14,
    "emph": 0.14,
    "fibr": 0.06,
    "hear": 0.16,
    "hype": 0.34,
    "pneu": 0.22,
    "sarc": 0.02,
    "sili": 0.02,
    "stro": 0.07,
    "tube": 0.02,
}
"""Fraction of the patients who report each disease, before the risk factors of RAISED_BY."""

RAISED_BY = {
    "chro": {"heavy": 2.0},
    "copd": {"heavy": 2.2, "chro": 2.5},
    "emph": {"heavy": 2.2, "copd": 3.0},
    "fibr": {"asbe": 4.0, "sili": 3.0},
    "hype": {"obese": 1.8},
    "diab": {"obese": 2.0, "hype": 1.4},
    "hear": {"diab": 2.0, "hype": 1.6, "male": 1.4},
    "stro": {"hype": 2.0, "diab": 1.6},
}
"""Factors on the odds of a disease by cause; the causes are drawn before the disease (see `_diseases`)."""

CANCERS = {
    "blad": 0.010,
    "brea": 0.030,
    "cerv": 0.020,
    "colo": 0.010,
    "esop": 0.003,
    "kidn": 0.006,
    "lary": 0.005,
    "lung": 0.003,
    "nasa": 0.002,
    "oral": 0.005,
    "panc": 0.002,
    "phar": 0.002,
    "stom": 0.002,
    "thyr": 0.006,
    "tran": 0.002,
}
"""Fraction of the patients who report each earlier cancer; of breast and cervix in women alone."""

FAMILY = {"brother": 0.06, "child": 0.01, "father": 0.11, "mother": 0.07, "sister": 0.05}
"""Fraction of the patients who report a relative with lung cancer."""

DRAWN_FIRST = ("asbe", "sili", "hype", "chro", "diab", "copd")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One patient: the facts that the rest of the simulation depends on, and the questionnaire."""

    pid: int
    centre: int
    age: int
    male: bool
    height_in: float
    weight_lb: float
    pack_years: float
    histories: frozenset[str]
    """Keys of DISEASES that the patient had."""
    family: bool
    """Whether a relative had lung cancer."""
    answers: dict[str, Code] = field(repr=False)
    """Columns of NLST's prsn table, in its codes; some answers are missing."""

    @property
    def bmi(self) -> float:
        """Body mass index, kg per square metre."""
        return self.weight_lb * 0.45359 / (self.height_in * 0.0254) ** 2


def draw_person(pid: int, rng: np.random.Generator) -> Person:
    """Draw one patient."""
    male = bool(rng.random() < 0.59)
    age = int(rng.triangular(55, 58, 75))
    height = round(rng.normal(69.5 if male else 64.0, 2.6))
    bmi = float(np.clip(rng.normal(27.6, 4.2), 18.5, 40.0))
    weight = round(bmi * (height * 0.0254) ** 2 / 0.45359)
    smoking, pack_years = _smoking(age, rng)
    traits = {"male": male, "obese": bmi > 30, "heavy": pack_years > 55}
    histories = _diseases(traits, rng)
    cancers = {
        key for key, fraction in CANCERS.items() if rng.random() < fraction and not _other_sex(key, male)
    }
    relatives = {key for key, fraction in FAMILY.items() if rng.random() < fraction}
    centre = int(rng.integers(1, 5))
    answers: dict[str, Code] = {
        "age": age,
        "gender": 1 if male else 2,
        "race": _category(RACES, rng),
        "ethnic": _unanswered(95, rng) or (1 if rng.random() < 0.03 else 2),
        "height": _or_missing(height, rng),
        "weight": _or_missing(weight, rng),
        "educat": _category(EDUCATION, rng),
        "marital": choose(MARITAL, rng),
        **smoking,
        **{name: int(rng.random() < fraction) for name, fraction in _EXPOSURES.items()},
        **_reported("diag", DISEASES, histories, age, rng),
        **_reported("canc", CANCERS, cancers, age, rng),
        **{f"fam{key}": _or_missing(int(key in relatives), rng) for key in FAMILY},
    }
    return Person(
        pid=pid,
        centre=centre,
        age=age,
        male=male,
        height_in=height,
        weight_lb=weight,
        pack_years=pack_years,
        histories=frozenset(histories),
        family=bool(relatives),
        answers=answers,
    )


_EXPOSURES = {"cigar": 0.19, "pipe": 0.22, "smokelive": 0.86, "smokework": 0.88}


def _smoking(age: int, rng: np.random.Generator) -> tuple[dict[str, Code], float]:
    """Draw a smoking history that the trial admits (see the module's docstring), and its pack-years."""
    current = bool(rng.random() < 0.48)
    start = int(np.clip(rng.normal(17, 3), 9, 30))
    stop = age if current else age - int(rng.integers(0, 16))
    years = max(stop - start - int(rng.integers(0, 4)), 10)
    daily = max(choose(CIGARETTES_A_DAY, rng), -(-600 // years))
    pack_years = round(years * daily / 20, 2)
    answers: dict[str, Code] = {
        "cigsmok": int(current),
        "smokeage": _or_missing(start, rng),
        "smokeyr": years,
        "smokeday": daily,
        "pkyr": pack_years,
        "age_quit": NOT_APPLICABLE if current else stop,
    }
    return answers, pack_years


def _diseases(traits: dict[str, bool], rng: np.random.Generator) -> set[str]:
    had = {trait for trait, there in traits.items() if there}
    later = (key for key in DISEASES if key not in DRAWN_FIRST)
    for key in (*DRAWN_FIRST, *later):
        odds = DISEASES[key] / (1 - DISEASES[key])
        for cause, factor in RAISED_BY.get(key, {}).items():
            odds *= factor if cause in had else 1.0
        if rng.random() < odds / (1 + odds):
            had.add(key)
    return had - set(traits)


def _reported(
    prefix: str, keys: dict[str, float], had: set[str], age: int, rng: np.random.Generator
) -> dict[str, Code]:
    """Draw the yes-or-no column and the column of the age at diagnosis for each disease or cancer."""
    columns: dict[str, Code] = {}
    for key in keys:
        answer = _or_missing(int(key in had), rng)
        youngest = 3 if key == "chas" else 30
        oldest = 18 if key == "chas" else age
        when = int(rng.integers(youngest, oldest + 1))
        columns[prefix + key] = answer
        columns[f"age{key}"] = _or_missing(when, rng) if answer == 1 else NOT_APPLICABLE
    return columns


def _other_sex(cancer: str, male: bool) -> bool:
    return male and cancer in ("brea", "cerv")


def choose(fractions: Mapping[Option, float], rng: np.random.Generator) -> Option:
    """Choose one of the keys, with probabilities in proportion to the values."""
    weights = np.array(list(fractions.values()))
    return list(fractions)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _category(fractions: dict[int, float], rng: np.random.Generator) -> int:
    """Draw a category's code, or now and then a code for an unanswered question."""
    chosen = choose(fractions, rng)
    return _unanswered(int(rng.choice([95, 98, 99])), rng) or chosen


def _unanswered(code: int, rng: np.random.Generator) -> int | None:
    return code if rng.random() < MISSING_FRACTION else None


def _or_missing(value: Code, rng: np.random.Generator) -> Code:
    return MISSING if rng.random() < MISSING_FRACTION else value
