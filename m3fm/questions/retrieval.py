"""Questions about simulated clinical text: the two information retrieval tasks (paper, Fig. 1e, 17 and 18).

elements = simulate_elements(rng)
retrieval_question("clinical_number", elements, rng)   # ("How old is the patient?", (0, 6, 1))
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from m3fm.clinical.elements import ELEMENTS, Elements, Value, had, known, years_since_quit
from m3fm.questions.bank import (
    DIAGNOSIS_AGE_QUESTIONS,
    DIAGNOSIS_QUESTIONS,
    FAMILY_QUESTIONS,
    NUMBER_QUESTIONS,
    STATUS_QUESTIONS,
)

if TYPE_CHECKING:
    import numpy as np

Option = TypeVar("Option")


def simulate_elements(rng: "np.random.Generator") -> dict[str, Value]:
    """Draw random elements for the clinical text of the retrieval tasks; the age is always known.

    Numbers are uniform over the plausible range, so that the model learns to read rather than to guess what
    is likely; diagnoses and relatives are few, so that the text fits into the text encoder's tokens.
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
    """Split a number from 0 to 999 into hundreds, tens and ones."""
    return number // 100, number // 10 % 10, number % 10


def retrieval_question(
    task: str, elements: Elements, rng: "np.random.Generator"
) -> tuple[str, tuple[int, ...]]:
    """Generate a question about the elements' sentences, and the index of the answer for each output.

    `task` is "clinical_yes_no" (one index, that of "no" where the sentences do not mention it) or
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
    """Choose the group, then the answer, then the element: the form of a question must not hint at it."""
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
