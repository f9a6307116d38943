"""Names that were replaced do not come back, and every module lies in a package of its own subject."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("m3fm", "components", "pipelines")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

REPLACED = {
    "Share": "Fraction, ExactMatch or WorkerBatches",
    "Row": "StepMetrics, Record, LabelledRow or CsvRow",
    "Board": "ProgressActor",
    "fit_scale": "preprocess",
    "gone_on_with": "resume_or_start_run",
    "identity_questions": "task_id_questions",
    "identity_weight": "task_id_loss_weight",
    "loaders": "num_workers",
    "foreign": "out_of_scope",
}
"""Names of anything, and what to write instead."""

REPLACED_DEFINITIONS = {
    ("m3fm/ct/transforms", "fit"): "crop_and_resize",
    ("m3fm/ct/transforms", "unfit"): "patches_to_volume",
    ("m3fm/ct/transforms", "filled"): "crop_mask",
    ("m3fm/model/", "Predictor"): "Head",
}
"""Names of functions and classes below a path, and what to write instead."""


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every name that a module defines, imports, binds or passes, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield line, node.name
            case ast.Name():
                yield line, node.id
            case ast.Attribute():
                yield line, node.attr
            case ast.arg():
                yield line, node.arg
            case ast.keyword(arg=str(name)):
                yield line, name
            case ast.alias():
                yield from ((line, part) for part in node.name.split("."))
                if node.asname:
                    yield line, node.asname
            case ast.ImportFrom(module=str(module)):
                yield from ((line, part) for part in module.split("."))
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield line, name


def replaced(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield the identifiers of a file that were replaced by others, its own name included."""
    tree, place = ast.parse(path.read_text()), path.relative_to(root)
    for line, name in [(1, path.stem), *identifiers(tree)]:
        if name in REPLACED:
            yield f"{place}:{line}: {name}: write {REPLACED[name]}"
    for node in ast.walk(tree):
        for (below, name), better in REPLACED_DEFINITIONS.items():
            if isinstance(node, Definition) and node.name == name and str(place).startswith(below):
                yield f"{place}:{node.lineno}: {name}: write {better}"


def test_replaced_names_do_not_come_back():
    paths = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    assert {path.relative_to(ROOT).parts[0] for path in paths} == set(CODE)
    faults = [fault for path in paths for fault in replaced(path)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", sorted(REPLACED))
@pytest.mark.parametrize(
    "source",
    [
        "class {}: pass",
        "def {}(): pass",
        "{} = 1",
        "{}: int = 1",
        "x.{} = 1",
        "def f({}): pass",
        "f({}=1)",
        "import {}",
        "import a as {}",
        "from a import {}",
        "from a.{} import b",
        "match x:\n    case {}: pass",
    ],
)
def test_a_replaced_name_is_found(name, source, tmp_path):
    path = tmp_path / "source.py"
    path.write_text(source.format(name))
    assert list(replaced(path, tmp_path))
    path.write_text(source.format(f"{name}_other"))
    assert list(replaced(path, tmp_path)) == []


def test_a_replaced_name_of_a_module_is_found(tmp_path):
    path = tmp_path / "foreign.py"
    path.write_text("")
    assert list(replaced(path, tmp_path)) == ["foreign.py:1: foreign: write out_of_scope"]


@pytest.mark.parametrize(("below", "name"), sorted(REPLACED_DEFINITIONS))
def test_a_replaced_function_or_class_is_found_where_it_was(below, name, tmp_path):
    path = tmp_path / (f"{below}heads.py" if below.endswith("/") else f"{below}.py")
    path.parent.mkdir(parents=True)
    path.write_text(f"class {name}: pass" if name[0].isupper() else f"def {name}(): pass")
    assert len(list(replaced(path, tmp_path))) == 1
    path.write_text(f"{name} = 1")
    assert list(replaced(path, tmp_path)) == []
    elsewhere = tmp_path / "m3fm" / "elsewhere.py"
    elsewhere.write_text(f"class {name}: pass")
    assert list(replaced(elsewhere, tmp_path)) == []


def test_every_module_lies_in_a_package_and_types_are_shipped():
    assert [path.name for path in (ROOT / "m3fm").glob("*.py")] == ["__init__.py"]
    assert (ROOT / "m3fm" / "py.typed").is_file()


def test_a_public_class_has_a_name_of_its_own():
    """Two public classes of one name are two things that a reader takes for one."""
    places: dict[str, list[str]] = {}
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
