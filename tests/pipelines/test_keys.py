"""Changes that give a step another key, and changes that do not, by `m3fm.config.steps`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import m3fm
from m3fm.config import steps
from m3fm.config.presets import preset
from m3fm.config.sections import RunConfig
from m3fm.config.steps import STORED, result_digest
from m3fm.core import code
from m3fm.core.errors import InputError

INPUTS = {"dataset": "0" * 64}
ALL = {step.name for step in STORED}
LEARNING = {"pretrain", "train"}


def changed(run: RunConfig, key: str, value: Any) -> RunConfig:
    """Return the run with another value of a dotted key."""
    content = run.model_dump(mode="json")
    *path, last = key.split(".")
    section = content
    for name in path:
        section = section[name]
    section[last] = value
    return RunConfig.model_validate(content)


def keys(run: RunConfig) -> dict[str, str]:
    return {step.name: step.key(step.depends_on(run, **INPUTS)) for step in STORED}


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


FIELDS = [
    ("simulate.patients", 3, {"simulate"}),
    ("simulate.seed", 1, {"simulate"}),
    ("curate.min_slices", 32, {"curate"}),
    ("curate.salt_fingerprint", "0" * 16, {"curate"}),
    ("curate.regions.source", "segmentations", {"curate"}),
    ("curate.labels.covid_days_after", 3, {"curate"}),
    ("model.width", 32, LEARNING),
    ("model.text.max_tokens", 100, LEARNING),
    ("pretrain.mask_ratio", 0.5, {"pretrain"}),
    ("pretrain.optimizer.lr", 1e-4, {"pretrain"}),
    ("pretrain.optimizer.keep_checkpoints", 7, set()),
    ("train.optimizer.keep_checkpoints", 7, set()),
    ("train.modality", "image", {"train"}),
    ("train.optimizer.steps", 3, {"train"}),
    ("train.task_id_questions", 2, {"train"}),
    ("launch.precision", "bfloat16", LEARNING),
    ("evaluate.resamples", 3, {"evaluate"}),
    ("evaluate.seed", 3, {"evaluate"}),
    ("finetune.folds", 3, set()),
    ("launch.workers", 7, set()),
    ("launch.restarts", 0, set()),
    ("launch.num_workers", 5, set()),
    ("launch.placement", "SPREAD", set()),
    ("launch.costs.train", {"heart": 2.0}, set()),
    ("launch.gpus_per_worker", 1.0, set()),
    ("launch.activation_checkpointing", True, set()),
    ("registered_model", "other", set()),
]


@pytest.mark.parametrize(("key", "value", "expected"), FIELDS, ids=[field[0] for field in FIELDS])
def test_a_field_of_the_configuration(key, value, expected):
    tiny = preset("tiny")
    other = changed(tiny, key, value)
    assert moved(keys(tiny), keys(other)) == expected
    assert (result_digest(tiny) != result_digest(other)) == bool(expected)


def test_every_field_is_declared_or_known_to_have_no_effect():
    """A section that is added must be given to a step, or be named here."""
    declared = {field.split(".")[0] for step in (*STORED, steps.FINETUNE) for field in step.fields}
    assert set(RunConfig.model_fields) - declared == {"preset", "registered_model"}


KEYS = """
import json
from m3fm.config.presets import preset
from m3fm.config.steps import STORED
run = preset("tiny")
print(json.dumps({step.name: step.key(step.depends_on(run, dataset="0")) for step in STORED}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, in which files can be changed."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(m3fm.__file__).parent, root / "m3fm", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def keys_of(root: Path) -> dict[str, str]:
    """Compute the keys with the package below a folder."""
    found = subprocess.run(
        [sys.executable, "-c", KEYS],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


SOURCES = [
    ("cli/show.py", set()),
    ("pipeline/steps.py", set()),
    ("transfer/finetune.py", set()),
    ("simulate/lesions.py", {"simulate"}),
    ("cohort/nlst.py", {"curate"}),
    ("ct/lungs.py", {"curate"}),
    ("dataset/expectations.py", {"validate"}),
    ("training/loop.py", LEARNING),
    ("training/multitask.py", {"train"}),
    ("questions/in_scope.yaml", LEARNING | {"evaluate", "export"}),
    ("model/ctvit.py", LEARNING | {"evaluate", "export"}),
    ("model/__init__.py", LEARNING | {"evaluate", "export"}),
    ("evaluation/auc.py", {"evaluate"}),
    ("evaluation/measure.py", {"evaluate"}),
    ("deploy/weights.py", {"export"}),
    ("core/errors.py", ALL),
]


@pytest.mark.integration
@pytest.mark.parametrize(("file", "expected"), SOURCES, ids=[source[0] for source in SOURCES])
def test_a_comment_in_a_source_file(copied, file, expected):
    path = copied / "m3fm" / file
    before, kept = keys_of(copied), path.read_text()
    path.write_text(kept + "\n# A comment.\n")
    found = moved(before, keys_of(copied))
    path.write_text(kept)
    assert expected <= found, f"{expected - found} keep the results of other code"
    assert found <= expected | ALSO.get(file, set())


ALSO = {"ct/lungs.py": {"validate"}}
"""Steps that import the file for another use: made anew without need, which costs time and no truth."""

LIBRARIES = [
    ("torch", LEARNING | {"evaluate", "export"}),
    ("numpy", ALL),
    ("pydicom", {"simulate", "curate", "validate"}),
    ("pylibjpeg", {"simulate", "curate", "validate"}),
    ("great-expectations", {"validate"}),
    ("onnxruntime", {"export"}),
    ("ray", set()),
    ("mlflow", set()),
    ("rich", set()),
]


@pytest.mark.parametrize(("library", "expected"), LIBRARIES, ids=[library[0] for library in LIBRARIES])
def test_another_version_of_a_library(monkeypatch, library, expected):
    tiny = preset("tiny")
    before, versions = keys(tiny), code._version
    monkeypatch.setattr(code, "_version", lambda name: "0" if name == library else versions(name))
    assert expected <= moved(before, keys(tiny)) <= expected | ({"export", "evaluate"} if expected else set())


def test_every_library_decides_a_result_or_is_known_not_to():
    external = {
        name
        for step in (*STORED, steps.FINETUNE)
        for name in code._imported(step.entries)
        if name.split(".")[0] != "m3fm" and name not in sys.stdlib_module_names
    }
    assert external <= code.DISTRIBUTIONS.keys() | code.WITHOUT_EFFECT


def test_another_tokenizer_at_the_same_path(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    run = changed(preset("tiny"), "model.text.tokenizer", str(tmp_path))
    before = keys(run)
    assert moved(before, keys(run)) == set()
    (tmp_path / "tokenizer.json").write_text('{"another": 1}')
    assert moved(before, keys(run)) == LEARNING


def test_the_same_tokenizer_at_another_path_is_the_same(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text("{}")
    one, other = (
        changed(preset("tiny"), "model.text.tokenizer", str(tmp_path / n)) for n in ("one", "other")
    )
    assert keys(one) == keys(other)


def test_a_tokenizer_that_does_not_exist_is_refused(tmp_path):
    run = changed(preset("tiny"), "model.text.tokenizer", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        keys(run)


@pytest.mark.parametrize("step", STORED, ids=lambda step: step.name)
def test_another_input(step):
    tiny = preset("tiny")
    assert step.key(step.depends_on(tiny, dataset="0")) != step.key(step.depends_on(tiny, dataset="1"))
