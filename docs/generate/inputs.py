"""Tables of what a user hands to a model: clinical elements and the report of nodules."""

import ast
import inspect
from dataclasses import fields
from typing import Any

from docs.generate.tables import code, table
from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER, Element
from m3fm.clinical.records import Nodule
from m3fm.clinical.tasks import TASKS
from m3fm.deploy.inputs import NODULE_ANSWERS, NODULE_NUMBERS


def elements() -> str:
    """Return the table of numbers, categories and relatives; diagnoses have one of their own."""
    heads = ["name", "value", "unit", "sentence that the model reads"]
    known = [element for element in ELEMENTS.values() if element.kind != "diagnosis"]
    return table(heads, [_row(element) for element in known])


def diagnoses() -> str:
    """Return what a diagnosis may be, and the table of diseases and cancers."""
    known = [element for element in ELEMENTS.values() if element.kind == "diagnosis"]
    low, high = known[0].bounds
    values = (
        f"Each is `true`, `false`, or the age at diagnosis in {known[0].unit} ({low:g} to {high:g}); "
        f"{NEVER:g} means never diagnosed, {AGE_UNKNOWN:g} diagnosed at an unknown age."
    )
    return (
        values
        + "\n\n"
        + table(["name", "group", "diagnosis"], [[code(e.name), e.group, e.phrase] for e in known])
    )


def _row(element: Element) -> list[str]:
    low, high = element.bounds
    values = {
        "number": f"{low:g} to {high:g}",
        "category": ", ".join(f'`"{value}"`' for value in element.codes.values()),
        "relative": "`true`, `false`",
    }
    unit = element.unit if element.kind == "number" else ""
    return [code(element.name), values[element.kind], unit, element.sentence.replace("{}", "…")]


def nodule() -> str:
    """Return the table of the fields of a nodule."""
    meanings = attribute_docstrings(Nodule)
    rows = []
    for field in fields(Nodule):
        unit = "mm" if field.name.endswith("_mm") else ""
        rows.append([code(field.name), _values(field.name), unit, meanings.get(field.name, "")])
    return table(["field", "value", "unit", "meaning"], rows)


def _values(name: str) -> str:
    if name in NODULE_ANSWERS:
        return ", ".join(f'`"{answer}"`' for answer in NODULE_ANSWERS[name])
    if name in NODULE_NUMBERS:
        low, high = NODULE_NUMBERS[name]
        return f"{low} to {high}"
    return "`true`, `false`"


def tasks() -> str:
    """Return the table of tasks."""
    rows = [
        [code(task.name), task.title, ", ".join(task.answers), task.scale or "text only", task.source]
        for task in TASKS.values()
    ]
    return table(["task", "title", "answers", "image scale", "labels from"], rows)


def attribute_docstrings(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings of a class's attributes, inherited ones included, by name."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if not parent.__module__.startswith("m3fm."):
            continue
        (definition,) = ast.parse(inspect.getsource(parent)).body
        assert isinstance(definition, ast.ClassDef)
        for part, following in zip(definition.body, definition.body[1:]):
            if not (isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                found[part.target.id] = str(following.value.value)
    return found
