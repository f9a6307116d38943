"""The registry on a real MLflow with sqlite, made once for all tests of this file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from m3fm.config.sections import EvaluateConfig
from m3fm.core.artifacts import Reference, seal
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest
from m3fm.evaluation.evaluate import evaluate
from m3fm.tracking.registry import EXPERIMENT, Registry, Version

pytestmark = pytest.mark.integration

PARAMS = {"preset": "tiny", "model": {"width": 96, "scales": {"heart": {"shape": [32, 32, 32]}}}}
DVC = "md5:0123456789abcdef0123456789abcdef.dir"


def lineage(commit: str, pipeline_run: str = "run-1") -> dict[str, str]:
    return {
        "git_commit": commit,
        "dvc_digest": DVC,
        "config_digest": "c" * 64,
        "pipeline_run": pipeline_run,
    }


@dataclass(frozen=True)
class Made:
    state: Path
    bundle: Path
    evaluation: Path
    histories: dict[str, Path]

    @property
    def registry(self) -> Registry:
        return Registry.of(self.state)

    @property
    def client(self) -> Any:
        return self.registry.client

    def runs(self, commit: str) -> list[Any]:
        experiment = self.client.get_experiment_by_name(EXPERIMENT).experiment_id
        return self.client.search_runs([experiment], f"tags.`m3fm.git_commit` = '{commit}'")

    def register(self, commit: str, name: str = "m3fm", **changes: Any) -> Version:
        given = {
            "bundle": self.bundle,
            "evaluation": self.evaluation,
            "lineage": lineage(commit),
            "name": name,
            "histories": self.histories,
            "params": PARAMS,
            **changes,
        }
        return self.registry.register(**given)


def _bundle(directory: Path, weights: bytes) -> Path:
    (directory / "graphs").mkdir(parents=True)
    (directory / "weights.bin").write_bytes(weights)
    (directory / "graphs" / "image.onnx").write_bytes(b"graph" * 1000)
    (directory / "tokenizer.json").write_text("{}")
    seal(directory, "bundle.json", {"schema_version": 1})
    return directory


def _predictions() -> pd.DataFrame:
    return pd.DataFrame.from_records(
        [
            {
                "exam": f"e{number}",
                "patient": f"p{number}",
                "task": "emphysema",
                "side": "",
                "nodule": -1,
                "question": "?",
                "probabilities": [1 - score, score],
                "label": [label],
                "mask": [1.0],
                "split": "test",
                "model": "m",
            }
            for number, (label, score) in enumerate(
                [(0.0, 0.1), (0.0, 0.2), (1.0, 0.9), (1.0, 0.15), (0.0, 0.3), (1.0, 0.7)]
            )
        ]
    )


def _prepare(root: Path) -> Made:
    history = root / "history.jsonl"
    rows = [{"step": step, "lr": 0.1, "emphysema": 1.0 / (step + 1)} for step in range(520)]
    history.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluate(_predictions(), root / "evaluation", EvaluateConfig(resamples=50), {})
    bundle = _bundle(root / "bundle", b"weights" * 10_000)
    return Made(root / "state", bundle, root / "evaluation", {"train": history})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        prepared = _prepare(tmp_path_factory.mktemp("registry"))
        yield prepared


def _assert_complete(made: Made, commit: str, name: str) -> None:
    """One run, one version, everything logged once, every artifact as it was given."""
    (version,) = made.registry.versions(name)
    (run,) = made.runs(commit)
    assert version["run_id"] == run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "preset": "tiny",
        "model.width": "96",
        "model.scales.heart.shape": "[32, 32, 32]",
    }
    assert set(run.data.metrics) == {
        "emphysema/auc",
        "emphysema/low",
        "emphysema/high",
        "train/lr",
        "train/emphysema",
    }
    losses = made.client.get_metric_history(run.info.run_id, "train/emphysema")
    assert [point.step for point in losses] == list(range(520))
    assert losses[9].value == pytest.approx(0.1)
    assert len(made.client.get_metric_history(run.info.run_id, "emphysema/auc")) == 1
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == "0123456789abcdef0123456789abcdef"
    assert DVC in dataset.dataset.source
    artifacts = made.state / "mlflow" / "artifacts" / run.info.run_id / "artifacts"
    for directory in (made.bundle, made.evaluation):
        given = sorted(path for path in directory.rglob("*") if path.is_file())
        logged = sorted(path for path in (artifacts / directory.name).rglob("*") if path.is_file())
        assert [path.relative_to(directory) for path in given] == [
            path.relative_to(artifacts / directory.name) for path in logged
        ]
        assert [file_digest(path) for path in given] == [file_digest(path) for path in logged]


def test_a_version_carries_its_lineage_and_everything_is_logged(made: Made):
    version = made.register("first", name="lineage")
    _assert_complete(made, "first", "lineage")
    (listed,) = made.registry.versions("lineage")
    assert (version.version, version.run_id) == (listed["version"], listed["run_id"])
    record = {key: value for key, value in listed["lineage"].items() if key != "lineage"}
    assert record == {
        **lineage("first"),
        "bundle": Reference.to(made.bundle).digest,
        "mlflow_run": version.run_id,
    }
    assert listed["files"] == {
        name: file_digest(made.bundle / name)
        for name in ("graphs/image.onnx", "tokenizer.json", "weights.bin")
    }


def test_a_second_call_finds_the_first_ones_version(made: Made):
    first = made.register("twice", name="twice")
    again = made.register("twice", name="twice", lineage=lineage("twice", pipeline_run="run-2"))
    assert again == first
    assert len(made.runs("twice")) == 1


def test_other_code_or_another_bundle_is_another_version(made: Made, tmp_path: Path):
    made.register("a", name="several")
    made.register("b", name="several")
    made.register("b", name="several", bundle=_bundle(tmp_path / "bundle", b"other weights"))
    assert [version["version"] for version in made.registry.versions("several")] == ["3", "2", "1"]


def test_an_incomplete_lineage_and_damaged_input_are_refused(made: Made, tmp_path: Path):
    with pytest.raises(InputError, match="lacks dvc_digest"):
        made.register("x", name="refused", lineage={**lineage("x"), "dvc_digest": ""})
    damaged = _bundle(tmp_path / "bundle", b"weights")
    (damaged / "weights.bin").write_bytes(b"others!")
    with pytest.raises(InputError, match=r"weights\.bin was changed"):
        made.register("x", name="refused", bundle=damaged)
    assert made.registry.versions("refused") == []
    assert made.runs("x") == []


def test_a_pulled_bundle_is_the_registered_one(made: Made, tmp_path: Path):
    version = made.register("pull", name="pulled")
    made.client.set_registered_model_alias("pulled", "champion", version.version)
    assert made.registry.pull("pulled", version.version, tmp_path / "by-number") == version
    assert made.registry.pull("pulled", "champion", tmp_path / "deep" / "by-alias") == version
    for out in (tmp_path / "by-number", tmp_path / "deep" / "by-alias"):
        assert Reference.to(out).digest == Reference.to(made.bundle).digest
        Reference.to(out).resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["by-number", "deep"]
    assert made.registry.versions("pulled")[0]["aliases"] == ["champion"]
    with pytest.raises(InputError, match="already exists"):
        made.registry.pull("pulled", version.version, tmp_path / "by-number")


@pytest.mark.parametrize("version", ["7", "nobody"])
def test_a_version_that_is_not_there_is_named(made: Made, version: str, tmp_path: Path):
    made.register("absent", name="known")
    for name in ("known", "unknown"):
        with pytest.raises(InputError, match=f"'{name}' has no version or alias '{version}'"):
            made.registry.pull(name, version, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["weights.bin", "bundle.json", "missing"])
def test_a_damaged_download_is_refused_and_leaves_nothing(made: Made, damage: str, tmp_path: Path):
    version = made.register(f"damage-{damage}", name=f"damaged-{damage}")
    stored = made.state / "mlflow" / "artifacts" / version.run_id / "artifacts" / "bundle"
    if damage == "missing":
        (stored / "tokenizer.json").unlink()
    elif damage == "bundle.json":
        # Weights and manifest agree with each other, and not with what was registered.
        (stored / "weights.bin").write_bytes(b"other")
        seal(stored, "bundle.json", {"schema_version": 1})
    else:
        (stored / damage).write_bytes(b"other")
    with pytest.raises(InputError, match="damaged and was not kept"):
        made.registry.pull(f"damaged-{damage}", version.version, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_server_that_the_user_names_is_used(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.registry.uri)
    assert Registry.of(tmp_path) == made.registry
    assert list(tmp_path.iterdir()) == []


def test_two_state_directories_in_one_process_have_two_registries(made: Made, tmp_path: Path):
    version = made.register("two", name="two")
    other = Registry.of(tmp_path)
    assert other.versions("two") == []
    assert made.registry.pull("two", version.version, tmp_path / "bundle") == version
    assert "MLFLOW_TRACKING_URI" not in os.environ


KILLED = """
import os, shutil, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import mlflow
import mlflow.data.meta_dataset
from mlflow import MlflowClient
from test_registry import Made


def die_before_call(number):
    calls = [0]

    def counted(method):
        def call(*args, **kwargs):
            calls[0] += 1
            if calls[0] == number:
                os._exit(9)
            return method(*args, **kwargs)

        return call

    for name, method in list(vars(MlflowClient).items()):
        if not name.startswith("_") and callable(method):
            setattr(MlflowClient, name, counted(method))


def die_in_copy(number):
    copies = [0]

    def copy(source, destination):
        copies[0] += 1
        content = Path(source).read_bytes()
        half = copies[0] == number
        Path(destination).write_bytes(content[: len(content) // 2] if half else content)
        if half:
            os._exit(9)

    shutil.copy2 = copy


root = Path(sys.argv[2])
made = Made(root / "state", root / "bundle", root / "evaluation", {"train": root / "history.jsonl"})


def killed(kind, die, number):
    child = os.fork()  # before MLflow is used here, so that each child opens the database itself
    if child == 0:
        made.client
        die(number)
        made.register(f"{kind}-{number}", name=f"{kind}-{number}")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(kind, number, code, flush=True)
    return code == 9


number = 1
while killed("call", die_before_call, number):
    number += 1
for number in (1, 4, 8):
    killed("copy", die_in_copy, number)
"""


def test_killed_at_any_moment_and_called_again_there_is_one_complete_version(made: Made):
    root = made.bundle.parent
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    killed = {kind: sum(code == "9" for k, _, code in lines if k == kind) for kind in ("call", "copy")}
    assert killed["call"] >= 11  # every stage of a registration is at least one call
    assert killed["copy"] == 3  # in the first and last file of the bundle, the last of the evaluation
    assert [code for _, _, code in lines if code != "9"] == ["0"]
    for kind, number, _ in lines:
        made.register(f"{kind}-{number}", name=f"{kind}-{number}")
        _assert_complete(made, f"{kind}-{number}", f"{kind}-{number}")
