"""Clinical elements and nodule reports that a user hands to the predictor, checked at the edge."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER, Element, Value
from m3fm.clinical.records import Nodule
from m3fm.clinical.tasks import TASKS
from m3fm.core.errors import InputError
from m3fm.core.files import read_json

NODULE_ANSWERS = {
    "lobe": TASKS["nodule_location"].answers,
    "margin": TASKS["nodule_margin"].answers,
    "attenuation": TASKS["nodule_attenuation"].answers,
}
NODULE_NUMBERS = {"number": (1, 999), "slice_number": (0, 99999), "long_mm": (0, 300), "short_mm": (0, 300)}


def read_elements(path: Path) -> dict[str, Value]:
    """Read clinical elements: a JSON object by the names of ELEMENTS (docs/inputs.md), or one that holds it.

    A file may hold both inputs, as `{"clinical": {...}, "nodules": [...]}`. Raises InputError that names the
    element which is unknown or has a value it cannot have.
    """
    content = _part(read_json(path), "clinical")
    if not isinstance(content, dict):
        raise InputError(f'{path} must hold a JSON object, as in {{"age": 61, "gender": "Male"}}')
    return check_elements(content, str(path))


def check_elements(elements: Mapping[str, Any], where: str = "clinical") -> dict[str, Value]:
    """Return the elements that are known (not None); raise InputError at a name or value that cannot be."""
    elements = _part(elements, "clinical")
    if not isinstance(elements, Mapping):
        raise InputError(f"{where} is a {type(elements).__name__}; pass elements by name, as {{'age': 61}}")
    elements = {name: _plain(value) for name, value in elements.items()}
    for name, value in elements.items():
        if name not in ELEMENTS:
            raise InputError(f"{where}: no element is called {name!r}; there are {', '.join(ELEMENTS)}")
        if value is not None:
            _check_element(where, ELEMENTS[name], value)
    return {name: value for name, value in elements.items() if value is not None}


def _part(content: Any, name: str) -> Any:
    """Return the part of that name of an object that holds nothing but inputs, else the content itself."""
    inputs = {"clinical", "nodules"}
    if isinstance(content, dict) and content and content.keys() <= inputs:
        return content.get(name)
    return content


def _check_element(where: str, element: Element, value: Any) -> None:
    low, high = element.bounds
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match element.kind:
        case "number":
            sound, expected = number and low <= value <= high, f"a number from {low:g} to {high:g}"
        case "category":
            names = list(map(str, element.codes.values()))
            sound, expected = value in names, f"one of {', '.join(names)}"
        case "relative":
            sound, expected = isinstance(value, bool), "true or false"
        case "diagnosis":
            known = isinstance(value, bool) or value in (NEVER, AGE_UNKNOWN)
            sound = known or (number and low <= value <= high)
            expected = f"true, false, or the age at it from {low:g} to {high:g}"
    if not sound:
        raise InputError(f"{where}: {element.name} is {value!r}, expected {expected}")


def read_nodules(path: Path) -> list[Nodule]:
    """Read a nodule report: a JSON list of objects with the fields of `Nodule`; an empty list is "no nodule".

    The list may stand under "nodules" (see `read_elements`). Raises InputError that names the nodule and the
    field which is unknown or has a value it cannot have.
    """
    content = _part(read_json(path), "nodules")
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InputError(f'{path} must hold a JSON list, as in [{{"lobe": "RUL", "long_mm": 7.0}}]')
    return check_nodules(content, str(path))


def check_nodules(entries: Sequence[Nodule | Mapping[str, Any]], where: str = "report") -> list[Nodule]:
    """Return nodules, numbered where they are not; raise InputError at a field or value that cannot be."""
    entries = _part(entries, "nodules")
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Nodule | Mapping) for entry in entries):
        raise InputError(f"{where} is not a list of nodules; pass one, as [{{'lobe': 'RUL', 'long_mm': 7}}]")
    nodules = []
    for number, entry in enumerate(entries, 1):
        values = asdict(entry) if isinstance(entry, Nodule) else entry
        known = {"number": number, **{name: _plain(value) for name, value in values.items()}}
        for name, value in known.items():
            _check_nodule(f"{where}, nodule {number}", name, value)
        nodules.append(Nodule(**known))
    return nodules


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's, as a row of a table of pandas has them."""
    return value.item() if isinstance(value, np.generic) else value


def example() -> dict[str, Any]:
    """Return a template of both inputs, every field with a sound value (docs/inputs.md has the units)."""
    values = {"age": 61.0, "height": 70.0, "weight": 180.0, "pack_years": 40.0, "smoke_day": 20.0}
    clinical: dict[str, Any] = {}
    for element in ELEMENTS.values():
        match element.kind:
            case "number":
                clinical[element.name] = values.get(element.name)
            case "category":
                clinical[element.name] = next(iter(element.codes.values()))
            case "diagnosis" | "relative":
                clinical[element.name] = False
    nodule = Nodule(
        number=1,
        lobe="RUL",
        slice_number=45,
        long_mm=7.0,
        short_mm=5.0,
        margin="smooth",
        attenuation="solid",
    )
    return {"clinical": clinical, "nodules": [asdict(nodule)]}


def _check_nodule(where: str, name: str, value: Any) -> None:
    names = [field.name for field in fields(Nodule)]
    if name not in names:
        raise InputError(f"{where}: no field is called {name!r}; there are {', '.join(names)}")
    if name == "new":
        sound, expected = isinstance(value, bool), "true or false"
    elif name in NODULE_ANSWERS:
        answers = NODULE_ANSWERS[name]
        sound, expected = value is None or value in answers, f"one of {', '.join(answers)}"
    else:
        low, high = NODULE_NUMBERS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        sound, expected = number or (value is None and name != "number"), f"a number from {low} to {high}"
    if not sound:
        raise InputError(f"{where}: {name} is {value!r}, expected {expected}")
