"""The contract of the layers knows every room, and nobody goes around it."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP_LEVEL = ("components", "pipelines")


def contract() -> set[str]:
    """Return the rooms in the layers of pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (found["layers"] for found in settings["contracts"] if found["type"] == "layers")
    return {room.strip() for layer in layers for room in layer.split("|")}


def test_every_room_has_a_layer():
    rooms = {f"m3fm.{path.parent.name}" for path in ROOT.glob("m3fm/*/__init__.py")}
    assert contract() == rooms | {"m3fm_kfp.components", "m3fm_kfp.pipelines"}


def test_nothing_stands_loose_in_the_hall():
    assert {path.name for path in ROOT.glob("m3fm/*.py")} == {"__init__.py"}


def test_components_and_pipelines_are_imported_by_their_namespace_only():
    """As top-level packages they would be unknown to the contract, and exist in a checkout alone."""
    found = []
    for folder in ("m3fm", *TOP_LEVEL, "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                found += [
                    f"{path}: {name}" for name in names if name.split(".")[0] in ("components", "pipelines")
                ]
    assert found == []
