"""The table of the clinical data elements, with their NLST columns and codes, units, ranges and sentences.

ELEMENTS["height"].unit                          # "inches"
years_since_quit({"age": 61.0, "age_quit": 50})  # 11.0

The paper counts 49 data elements in its Fig. 3b: the 47 of ELEMENTS (7 of demographics, 4 of smoking, 16
diseases and 15 cancers with the age at diagnosis, 5 of the family), the 3D CT and its voxel size. The
figure's five elements of immunotherapy (cycles of immuno-oncology, pack years, BMI, age at diagnosis,
radiation) belong to the transfer task and are not among the 49.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = float | str | bool
Elements = Mapping[str, Value]
"""Values by element name; an unknown value is absent, None or NaN."""

NEVER = -1.0
"""Value of a disease or cancer that the patient reports never having had."""
AGE_UNKNOWN = -2.0
"""Value of a disease or cancer that the patient had at an unknown age."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """One clinical data element; its kind decides the type of its value.

    number: a float in `unit`. category: one of the texts of `codes`. diagnosis: the age at diagnosis in
    years, NEVER or AGE_UNKNOWN (true and false also work). relative: whether that relative had lung cancer.
    """

    name: str
    group: Literal["demographics", "smoking", "disease", "cancer", "family"]
    kind: Literal["number", "category", "diagnosis", "relative"]
    columns: tuple[str, ...]
    """Columns of NLST's prsn table; a diagnosis has a yes-or-no column and a column of the age."""
    sentence: str
    """Sentence of the clinical text; `{}` stands for the value."""
    codes: Mapping[int, Value] = field(default_factory=dict)
    """Values by NLST's codes; empty for a number. The age of a diagnosis is in its second column."""
    unit: str = ""
    bounds: tuple[float, float] = (0.0, 999.0)
    """Range of plausible numbers."""
    phrase: str = ""
    """Name of the disease, the cancer or the relative in a question."""

    @property
    def possible(self) -> tuple[float, float]:
        """Range of numbers that are no slip of the point or of a column, wider than `bounds`."""
        return (0.0, 2 * self.bounds[1])


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
    # Where the age is known, the sentence has the years since quitting instead, as the paper's does.
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
"""The 47 elements of text by name, in the order of their sentences."""

IMAGE_ELEMENTS = ("3d_ct", "voxel_size")
"""The other two of the 49 elements: inputs of the image encoder."""


def known(elements: Elements, name: str) -> bool:
    """Return whether an element has a value, one that is neither None nor NaN."""
    value = elements.get(name)
    return value is not None and value == value


def had(elements: Elements, name: str) -> bool:
    """Return whether a disease, a cancer or a relative with lung cancer is reported; false where unknown."""
    if not known(elements, name):
        return False
    value = elements[name]
    return bool(value) if ELEMENTS[name].kind == "relative" else value is not False and value != NEVER


def years_since_quit(elements: Elements) -> float | None:
    """Return the years since the patient quit smoking, or None where one of the two ages is unknown."""
    if known(elements, "age") and known(elements, "age_quit"):
        return float(elements["age"]) - float(elements["age_quit"])
    return None
