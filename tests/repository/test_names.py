"""Names that were replaced by the field's words do not come back."""

import ast
import functools
from pathlib import Path

import english
import pytest

REPLACED = {
    "Share": "Fraction",
    "Row": "StepMetrics, Record, LabelledRow or CsvRow",
    "Predictor": "Head",
    "fit_scale": "preprocess",
    "unfit": "patches_to_volume",
    "identity_questions": "task_id_questions",
    "identity_weight": "task_id_loss_weight",
    "loaders": "num_workers",
    "gone_on_with": "resume_or_start_run",
    "Board": "ProgressActor",
}
"""The old name, and the one to write."""
ALLOWED = {("m3fm/deploy/predictor.py", "Predictor")}
"""A bundle's `Predictor` does predict; the model's heads are heads."""


@functools.cache
def names(path: Path) -> frozenset[str]:
    """Return every identifier that a source defines or uses, without its texts and comments."""
    found = {
        getattr(node, field, None)
        for node in ast.walk(english.tree(path))
        for field in ("id", "name", "attr", "arg")
    }
    return frozenset(name for name in found if isinstance(name, str))


@pytest.mark.parametrize("old", REPLACED)
def test_a_replaced_name_is_gone(old: str):
    using = {(str(path.relative_to(english.ROOT)), old) for path in english.sources() if old in names(path)}
    assert using - ALLOWED == set()


def test_a_class_of_a_name_stands_once():
    """Two public classes of one name are two things that a reader takes for one."""
    places: dict[str, list[str]] = {}
    for path in english.sources():
        for node in english.tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(english.ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
