"""What a user hands to the predictor: a CT, clinical elements and nodules, checked at the edge."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER, Element, Value
from m3fm.clinical.records import Nodule
from m3fm.clinical.tasks import TASKS
from m3fm.core.errors import InputError
from m3fm.core.files import read_json
from m3fm.ct import dicom
from m3fm.ct.volume import Series, read_nifti

_NODULE_ANSWERS = {
    "lobe": TASKS["nodule_location"].answers,
    "margin": TASKS["nodule_margin"].answers,
    "attenuation": TASKS["nodule_attenuation"].answers,
}
_NODULE_NUMBERS = {"number": (1, 999), "slice_number": (0, 99999), "long_mm": (0, 300), "short_mm": (0, 300)}


def read_ct(path: Path, series: str | None = None) -> Series:
    """A NIfTI file, or the one series in a folder of DICOM (or the one with the given SeriesInstanceUID).

    Raises InputError where there is no series, or a choice of several; Rejected where it cannot be used.
    """
    if path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        return read_nifti(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a folder of DICOM files or a .nii(.gz) file")
    found = dicom.index([path])
    if not found:
        raise InputError(f"{path} holds no DICOM image: name a folder of DICOM files or a .nii(.gz) file")
    if series is None and len(found) > 1:
        sizes = ", ".join(
            f"{uid or 'damaged files'} ({len(files)} slices)" for uid, files in sorted(found.items())
        )
        raise InputError(f"{path} holds {len(found)} series, name the folder of one: {sizes}")
    if series is not None and series not in found:
        raise InputError(f"{path} holds no series {series}; there are {', '.join(sorted(found))}")
    return dicom.read_series(found[series or next(iter(found))])


def read_elements(path: Path) -> dict[str, Value]:
    """Clinical elements: a JSON object by the names of `m3fm.clinical.elements.ELEMENTS`; null is not known.

    Raises InputError naming the element that is unknown or has a value it cannot have.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f'{path} must hold a JSON object, as in {{"age": 61, "gender": "Male"}}')
    for name, value in content.items():
        if name not in ELEMENTS:
            raise InputError(f"{path}: no element is called {name!r}; there are {', '.join(ELEMENTS)}")
        if value is not None:
            _check_element(path, ELEMENTS[name], value)
    return {name: value for name, value in content.items() if value is not None}


def _check_element(path: Path, element: Element, value: Any) -> None:
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
        raise InputError(f"{path}: {element.name} is {value!r}, expected {expected}")


def read_nodules(path: Path) -> list[Nodule]:
    """A nodule report: a JSON list of objects with the fields of `Nodule`; an empty list is "no nodule".

    Raises InputError naming the nodule and the field that is unknown or has a value it cannot have.
    """
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InputError(f'{path} must hold a JSON list, as in [{{"lobe": "RUL", "long_mm": 7.0}}]')
    nodules = []
    for number, entry in enumerate(content, 1):
        for name, value in entry.items():
            _check_nodule(f"{path}, nodule {number}", name, value)
        nodules.append(Nodule(**{"number": number, **entry}))
    return nodules


def _check_nodule(where: str, name: str, value: Any) -> None:
    names = [field.name for field in fields(Nodule)]
    if name not in names:
        raise InputError(f"{where}: no field is called {name!r}; there are {', '.join(names)}")
    if name == "new":
        sound, expected = isinstance(value, bool), "true or false"
    elif name in _NODULE_ANSWERS:
        answers = _NODULE_ANSWERS[name]
        sound, expected = value is None or value in answers, f"one of {', '.join(answers)}"
    else:
        low, high = _NODULE_NUMBERS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        sound, expected = number or (value is None and name != "number"), f"a number from {low} to {high}"
    if not sound:
        raise InputError(f"{where}: {name} is {value!r}, expected {expected}")
