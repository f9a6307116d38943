"""Components: thin by construction, documented from their signatures, the same as what they call."""

import ast
import inspect
import sys
from pathlib import Path

import pytest
from kfp import local

from m3fm.config.presets import preset
from m3fm.config.sections import SimulateConfig
from m3fm.core.artifacts import Reference
from m3fm.pipeline import steps
from m3fm_kfp.components import readme

ALLOWED = {*sys.stdlib_module_names, "kfp", "m3fm_kfp"}


def tree_of(name: str) -> ast.Module:
    return ast.parse((readme.HERE / name / "component.py").read_text())


def test_every_step_of_the_chain_has_a_component():
    assert set(readme.names()) == set(steps.CHAIN)


@pytest.mark.parametrize("name", readme.names())
def test_module_scope_imports_only_the_standard_library_and_kfp(name):
    imported = []
    for node in tree_of(name).body:
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
    assert imported
    assert {module.split(".")[0] for module in imported} <= ALLOWED


@pytest.mark.parametrize("name", readme.names())
def test_body_is_one_call_into_steps(name):
    (function,) = [node for node in tree_of(name).body if isinstance(node, ast.FunctionDef)]
    docstring, imported, returned = function.body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(imported) == "from m3fm.pipeline import steps"
    assert isinstance(returned, ast.Return)
    assert isinstance(returned.value, ast.Call)
    assert ast.unparse(returned.value.func) == f"steps.{name}"


@pytest.mark.parametrize("name", readme.names())
def test_takes_what_its_step_takes(name):
    component = inspect.signature(readme.load(name).python_func)
    assert list(component.parameters) == list(inspect.signature(getattr(steps, name)).parameters)


@pytest.mark.parametrize("name", readme.names())
def test_readme_is_that_of_the_signature(name):
    found = (readme.HERE / name / "README.md").read_text()
    assert found == readme.text(name), "run `python -m m3fm_kfp.components.readme`"
    assert "None" not in found


@pytest.mark.integration
def test_component_gives_what_the_function_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny = preset("tiny")
    small = SimulateConfig(patients=1, rows=32, slices=(64, 64))
    config = tiny.model_copy(update={"simulate": small}).model_dump_json()
    called = steps.simulate(config, str(tmp_path / "called"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(tmp_path / "kfp"),
        workspace_root=str(tmp_path / "workspace"),
    )
    task = readme.load("simulate")(config=config, state=str(tmp_path / "run"))
    ran, direct = Reference.parse(task.output), Reference.parse(called)
    assert ran.digest == direct.digest
    assert ran.resolve() == tmp_path / "run" / direct.path.relative_to(tmp_path / "called")
