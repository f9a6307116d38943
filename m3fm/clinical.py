"""The clinical data elements: one table, and the sentences that the text encoder reads.

The paper counts 49 data elements in its Fig. 3b: the 47 of ELEMENTS (7 of demographics, 4 of smoking, 16
diseases and 15 cancers with the age at diagnosis, 5 of the family), the 3D CT and its voxel size. The
figure's five elements of immunotherapy (cycles of immuno-oncology, pack years, BMI, age at diagnosis,
radiation) belong to the transfer task and are not among the 49.

Sentences have the wording of the paper's example (Methods: Text transformer) and of the authors' demo;
those for which neither has one are worded likewise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from m3fm.cohort.source import Nodule
from m3fm.questions import (
    DIAGNOSIS_AGE_QUESTIONS,
    DIAGNOSIS_QUESTIONS,
    FAMILY_QUESTIONS,
    NUMBER_QUESTIONS,
    STATUS_QUESTIONS,
)

if TYPE_CHECKING:
    import numpy as np

Option = TypeVar("Option")

Value = float | str | bool
Elements = Mapping[str, Value]
"""Values by the name of an element; what is not known is not there, or None or NaN."""

NEVER = -1.0
"""Value of a disease or cancer that the patient says not to have had."""
AGE_UNKNOWN = -2.0
"""Value of a disease or cancer that the patient had, nobody knows when."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """One clinical data element; what its value is depends on the kind.

    number: a float in `unit`. category: one of the texts of `codes`. diagnosis: the age at it in years,
    NEVER or AGE_UNKNOWN (true and false will do). relative: whether that relative had lung cancer.
    """

    name: str
    group: Literal["demographics", "smoking", "disease", "cancer", "family"]
    kind: Literal["number", "category", "diagnosis", "relative"]
    columns: tuple[str, ...]
    """Columns of NLST's prsn table; of a diagnosis the yes-or-no column and that of the age."""
    sentence: str
    """`{}` stands for the value."""
    codes: Mapping[int, Value] = field(default_factory=dict)
    """Values by NLST's codes, of all but numbers; of a diagnosis whose age stands in a second column."""
    unit: str = ""
    bounds: tuple[float, float] = (0.0, 999.0)
    """The range of plausible numbers."""
    phrase: str = ""
    """What a question calls the disease, the cancer or the relative."""


def _number(
    name: str,
    group: Literal["demographics", "smoking"],
    column: str,
    sentence: str,
    unit: str,
    bounds: tuple[float, float],
) -> Element:
    return Element(
        name=name, group=group, kind="number", columns=(column,), sentence=sentence, unit=unit, bounds=bounds
    )


def _category(
    name: str, group: Literal["demographics", "smoking"], column: str, sentence: str, codes: dict[int, str]
) -> Element:
    return Element(name=name, group=group, kind="category", columns=(column,), sentence=sentence, codes=codes)


def _diagnosis(group: Literal["disease", "cancer"], name: str, key: str, phrase: str) -> Element:
    prefix = "diag" if group == "disease" else "canc"
    return Element(
        name=name,
        group=group,
        kind="diagnosis",
        columns=(prefix + key, "age" + key),
        sentence=f"The patient had {phrase} diagnosed at {{}} years old.",
        codes={0: NEVER, 1: AGE_UNKNOWN},
        unit="years",
        bounds=(0.0, 110.0),
        phrase=phrase,
    )


def _relative(name: str, words: str) -> Element:
    return Element(
        name=f"family_{name}",
        group="family",
        kind="relative",
        columns=(f"fam{name}",),
        sentence=f"Patient's {words} have lung cancer.",
        codes={0: False, 1: True},
        phrase=name,
    )


_RACES = {
    1: "white",
    2: "black or African-American",
    3: "Asian",
    4: "American Indian or Alaskan Native",
    5: "Native Hawaiian or other Pacific Islander",
    6: "more than one race",
}
_EDUCATION = {
    1: "8th grade or less",
    2: "9th-11th grade",
    3: "high school graduate/GED",
    4: "post high school training, excluding college",
    5: "associate degree/some college",
    6: "bachelors degree",
    7: "graduate school",
    8: "other",
}

_TABLE = (
    _number("age", "demographics", "age", "The patient is {} years old.", "years", (18.0, 110.0)),
    _category("gender", "demographics", "gender", "Gender is {}.", {1: "Male", 2: "Female"}),
    _category("race", "demographics", "race", "Race is {}.", _RACES),
    _category(
        "ethnic",
        "demographics",
        "ethnic",
        "Ethnicity is {}.",
        {1: "Hispanic or Latino", 2: "neither Hispanic nor Latino"},
    ),
    _number("height", "demographics", "height", "Height is {} inches.", "inches", (36.0, 96.0)),
    _number("weight", "demographics", "weight", "Weight is {} pounds.", "pounds", (50.0, 700.0)),
    _category("education", "demographics", "educat", "Education is {}.", _EDUCATION),
    _category("smoking_status", "smoking", "cigsmok", "{} smoker.", {0: "Former", 1: "Current"}),
    _number(
        "pack_years", "smoking", "pkyr", "Smoking duration is {} pack years.", "pack years", (0.0, 500.0)
    ),
    _number(
        "smoke_day",
        "smoking",
        "smokeday",
        "Smoking intensity is {} cigarettes per day.",
        "cigarettes per day",
        (0.0, 200.0),
    ),
    # The sentence gives the years since, as the paper's does, where the age is known.
    _number(
        "age_quit", "smoking", "age_quit", "The patient quit smoking at {} years old.", "years", (5.0, 110.0)
    ),
    _diagnosis("disease", "asthma_adult", "adas", "asthma (adult)"),
    _diagnosis("disease", "asbestosis", "asbe", "asbestosis"),
    _diagnosis("disease", "bronchiectasis", "bron", "bronchiectasis"),
    _diagnosis("disease", "asthma_childhood", "chas", "asthma (childhood)"),
    _diagnosis("disease", "chronic_bronchitis", "chro", "chronic bronchitis"),
    _diagnosis("disease", "copd", "copd", "COPD"),
    _diagnosis("disease", "diabetes", "diab", "diabetes"),
    _diagnosis("disease", "emphysema", "emph", "emphysema"),
    _diagnosis("disease", "lung_fibrosis", "fibr", "lung fibrosis"),
    _diagnosis("disease", "heart_disease", "hear", "heart disease or heart attack"),
    _diagnosis("disease", "hypertension", "hype", "hypertension"),
    _diagnosis("disease", "pneumonia", "pneu", "pneumonia"),
    _diagnosis("disease", "sarcoidosis", "sarc", "sarcoidosis"),
    _diagnosis("disease", "silicosis", "sili", "silicosis"),
    _diagnosis("disease", "stroke", "stro", "stroke"),
    _diagnosis("disease", "tuberculosis", "tube", "tuberculosis"),
    _diagnosis("cancer", "bladder_cancer", "blad", "bladder cancer"),
    _diagnosis("cancer", "breast_cancer", "brea", "breast cancer"),
    _diagnosis("cancer", "cervical_cancer", "cerv", "cervical cancer"),
    _diagnosis("cancer", "colorectal_cancer", "colo", "colorectal cancer"),
    _diagnosis("cancer", "esophageal_cancer", "esop", "esophageal cancer"),
    _diagnosis("cancer", "kidney_cancer", "kidn", "kidney cancer"),
    _diagnosis("cancer", "larynx_cancer", "lary", "larynx cancer"),
    _diagnosis("cancer", "lung_cancer", "lung", "lung cancer"),
    _diagnosis("cancer", "nasal_cancer", "nasa", "nasal cancer"),
    _diagnosis("cancer", "oral_cancer", "oral", "oral cancer"),
    _diagnosis("cancer", "pancreatic_cancer", "panc", "pancreatic cancer"),
    _diagnosis("cancer", "pharynx_cancer", "phar", "pharynx cancer"),
    _diagnosis("cancer", "stomach_cancer", "stom", "stomach cancer"),
    _diagnosis("cancer", "thyroid_cancer", "thyr", "thyroid cancer"),
    _diagnosis("cancer", "transitional_cell_cancer", "tran", "transitional cell cancer"),
    _relative("brother", "brother(s) (including half-brothers)"),
    _relative("child", "child(ren)"),
    _relative("father", "father"),
    _relative("mother", "mother"),
    _relative("sister", "sister(s) (including half-sisters)"),
)

ELEMENTS: dict[str, Element] = {element.name: element for element in _TABLE}
"""The 47 elements of text, in the order in which their sentences follow one another."""

IMAGE_ELEMENTS = ("3d_ct", "voxel_size")
"""The other two of the 49: inputs of the image encoder."""


def known(elements: Elements, name: str) -> bool:
    """Whether an element has a value: it is there, and neither None nor NaN."""
    value = elements.get(name)
    return value is not None and value == value


def had(elements: Elements, name: str) -> bool:
    """Whether a disease, a cancer or a relative with lung cancer is stated; false where nothing is known."""
    if not known(elements, name):
        return False
    value = elements[name]
    return bool(value) if ELEMENTS[name].kind == "relative" else value is not False and value != NEVER


def years_since_quit(elements: Elements) -> float | None:
    """Years since the patient quit smoking, where both ages are known."""
    if known(elements, "age") and known(elements, "age_quit"):
        return float(elements["age"]) - float(elements["age_quit"])
    return None


def _sentence(element: Element, elements: Elements) -> str | None:
    value = elements[element.name]
    match element.kind:
        case "category":
            return element.sentence.format(value)
        case "relative":
            return element.sentence if had(elements, element.name) else None
        case "diagnosis":
            if not had(elements, element.name):
                return None
            if value is True or value == AGE_UNKNOWN:
                return f"The patient had {element.phrase}."
    if element.name == "age_quit" and (years := years_since_quit(elements)) is not None:
        return f"{years:.1f} years since quit smoking."
    return element.sentence.format(f"{float(value):.1f}")


def sentences(elements: Elements) -> list[str]:
    """The clinical text of an exam: a sentence per known element, none for what the patient did not have."""
    found = (_sentence(element, elements) for name, element in ELEMENTS.items() if known(elements, name))
    return [sentence for sentence in found if sentence is not None]


_LOBES = {
    "RUL": "right upper lobe",
    "RML": "right middle lobe",
    "RLL": "right lower lobe",
    "LUL": "left upper lobe",
    "LLL": "left lower lobe",
}
_UNCLEAR = {"other": "other attenuation", "undetermined": "undetermined margin"}


def _nodule_sentence(nodule: Nodule) -> str:
    diameters = [f"{mm:.1f}" for mm in (nodule.long_mm, nodule.short_mm) if mm is not None]
    parts = [_UNCLEAR.get(text, text) for text in (nodule.attenuation, nodule.margin) if text]
    parts += [_LOBES[nodule.lobe]] if nodule.lobe else []
    parts += [f"{' x '.join(diameters)} mm"] if diameters else []
    parts += ["new"] if nodule.new else []
    return f"Nodule {nodule.number}: {', '.join(parts) or 'not described'}."


def nodule_report(nodules: Iterable[Nodule]) -> str:
    """The text that the Lung-RADS task reads: one sentence per nodule, or "No nodule."."""
    return " ".join(map(_nodule_sentence, nodules)) or "No nodule."


def simulate_elements(rng: "np.random.Generator") -> dict[str, Value]:
    """Random elements for the simulated clinical text of the retrieval tasks; the age is always known.

    Any plausible number may come, so that reading is learned and not what is likely; a few diagnoses and
    relatives only, so that the text fits into the tokens that the text encoder reads.
    """
    elements: dict[str, Value] = {}
    for element in ELEMENTS.values():
        if element.kind == "number" and (element.name == "age" or rng.random() < 0.7):
            low, high = map(int, element.bounds)
            high = int(elements["age"]) if element.name == "age_quit" else high
            elements[element.name] = float(rng.integers(low, high + 1))
        elif element.kind == "category" and rng.random() < 0.5:
            elements[element.name] = _pick(rng, tuple(element.codes.values()))
    if "age_quit" in elements:
        elements["smoking_status"] = "Former"
    for kind, fewest, most in (("diagnosis", 1, 3), ("relative", 0, 2)):
        names = [element.name for element in ELEMENTS.values() if element.kind == kind]
        for index in rng.permutation(len(names))[: rng.integers(fewest, most + 1)]:
            elements[names[index]] = kind == "relative" or float(rng.integers(int(elements["age"]) + 1))
    return elements


def digits(number: int) -> tuple[int, int, int]:
    """Hundreds, tens and ones of a number from 0 to 999."""
    return number // 100, number // 10 % 10, number % 10


def retrieval_question(
    task: str, elements: Elements, rng: "np.random.Generator"
) -> tuple[str, tuple[int, ...]]:
    """A question on what the elements' sentences say, and the index of the answer for each of its outputs.

    `task` is "clinical_yes_no" (one index, that of no where the sentences do not say it) or
    "clinical_number" (three digits; the elements must hold a number).
    """
    if task == "clinical_yes_no":
        question, answer = _yes_no_question(elements, rng)
        return question, (answer,)
    question, number = _number_question(elements, rng)
    return question, digits(number)


def _pick(rng: "np.random.Generator", options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]


def _yes_no_question(elements: Elements, rng: "np.random.Generator") -> tuple[str, int]:
    """Choose the group, then the answer, then the element, so that the kind of question hints at nothing."""
    group = _pick(
        rng, ["diagnosis", "relative", *(name for name in STATUS_QUESTIONS if known(elements, name))]
    )
    yes = bool(rng.integers(2))
    if group in STATUS_QUESTIONS:
        asked = STATUS_QUESTIONS[group]
        value = _pick(rng, [text for text in asked if (text == elements[group]) == yes])
        return _pick(rng, asked[value]), int(yes)
    members = [element for element in ELEMENTS.values() if element.kind == group]
    element = _pick(rng, [element for element in members if had(elements, element.name) == yes] or members)
    templates = FAMILY_QUESTIONS if group == "relative" else DIAGNOSIS_QUESTIONS
    return _pick(rng, templates).format(element.phrase), int(had(elements, element.name))


def _number_question(elements: Elements, rng: "np.random.Generator") -> tuple[str, int]:
    candidates: list[tuple[str, float]] = []
    for name in filter(lambda name: known(elements, name), ELEMENTS):
        element, value = ELEMENTS[name], elements[name]
        if element.kind == "number":
            number = years_since_quit(elements) if name == "age_quit" else float(value)
            if number is not None:
                candidates.append((_pick(rng, NUMBER_QUESTIONS[name]), number))
        elif element.kind == "diagnosis" and not isinstance(value, bool) and float(value) >= 0:
            candidates.append((_pick(rng, DIAGNOSIS_AGE_QUESTIONS).format(element.phrase), float(value)))
    question, number = _pick(rng, candidates)
    return question, round(number)
