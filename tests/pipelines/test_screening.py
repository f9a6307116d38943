"""The whole chain at its smallest: killed and started again, run twice, compared with the library, broken."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from m3fm.config.presets import load
from m3fm.config.sections import RunConfig
from m3fm.config.steps import result_digest
from m3fm.core.artifacts import Reference, read_manifest, seal
from m3fm.core.state import State
from m3fm.pipeline import steps
from m3fm.privacy.pseudonyms import with_salt
from m3fm.tracking.registry import Registry
from m3fm_kfp.pipelines import runner

pytestmark = pytest.mark.slow
"""Minutes long, and of no use where the repository's commit changes meanwhile: `make test-slow`."""

PARAMS = """
preset: tiny
simulate: {patients: 8, rows: 48, slices: [64, 64]}
curate: {seed: 2025}
model:
  {width: 24, depth: 1, heads: 2, task_depth: 1, head_width: 8, text: {width: 16, depth: 1, vocabulary: 400}}
pretrain: {optimizer: {steps: 2, warmup: 1, checkpoint_every: 1}, batch: 4, micro_batch: 2}
train:
  optimizer: {steps: 2, warmup: 1, checkpoint_every: 1}
  batch: 1
  micro_batch: 1
  text_micro_batch: 1
  retrieval_batch: 2
evaluate: {resamples: 50}
"""
STORED = ("dataset", "validation", "pretrained", "checkpoint", "evaluation", "bundle")
STEPS_OF = dict(zip(STORED, ("curate", "validate", "pretrain", "train", "evaluate", "export")))


@dataclass(frozen=True)
class Place:
    """A state directory, and how to run the pipeline in it."""

    state: Path
    params: Path

    @property
    def config(self) -> RunConfig:
        return load(self.params)

    def command(self, *options: str) -> list[str]:
        m3fm = [sys.executable, "-c", "from m3fm.cli import main; main()"]
        return [*m3fm, "run", "screening", "--params", str(self.params), "--state", str(self.state), *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*options), capture_output=True, text=True, cwd=self.params.parent)

    def finish(self) -> dict[str, Any]:
        done = self.run("--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def versions(self) -> list[dict[str, Any]]:
        return Registry.of(self.state).versions("m3fm")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    directory = tmp_path_factory.mktemp("screening")
    (directory / "params.yaml").write_text(PARAMS)
    return Place(directory / "state", directory / "params.yaml")


@pytest.fixture(scope="module")
def first(place: Place) -> dict[str, Any]:
    """The finished run. It was killed during curation, and during pretraining, when only the runner died."""
    for step, kill in (("curate", os.killpg), ("pretrain", os.kill)):
        process = subprocess.Popen(place.command(), stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.split()[1:3] == [step, "started"]:
                break
        assert process.poll() is None, f"{step} did not start"
        kill(process.pid, signal.SIGKILL)
        process.wait()
    return place.finish()


def test_every_output_is_whole(first):
    for name in STORED:
        assert Reference.parse(first["outputs"][name]).resolve().is_dir()
    assert first["outputs"]["dataset_version"].endswith(".dir")


def test_killed_run_goes_on_where_it_was(first):
    reused = {step["name"] for step in first["steps"] if step["reused"]}
    assert {"simulate", "curate", "validate"} <= reused
    assert not {"train", "evaluate", "export", "register"} & reused


def test_one_version_is_registered_with_its_lineage(place, first):
    (version,) = place.versions()
    assert first["outputs"]["model"] == f"models:/m3fm/{version['version']}"
    lineage = version["lineage"]
    assert lineage["dvc_digest"] == first["outputs"]["dataset_version"]
    assert lineage["config_digest"] == result_digest(with_salt(place.config))
    assert lineage["bundle"] == Reference.parse(first["outputs"]["bundle"]).digest
    assert lineage["pipeline_run"].startswith("screening-20")


def test_report_is_shown_by_the_pipeline(place, first):
    report = Reference.parse(first["outputs"]["evaluation"]).path / "report.html"
    (shown,) = (place.state / "kfp" / "outputs").glob("*/evaluate/report")
    assert shown.read_text() == report.read_text()


def test_nothing_is_left_in_the_temporary_directory(place, first):
    assert not (place.state / "tmp" / "run").exists()


def test_second_run_reuses_everything(place, first):
    again = place.finish()
    assert again["outputs"] == first["outputs"]
    assert all(step["reused"] for step in again["steps"])
    assert [step["name"] for step in again["steps"]] == list(steps.CHAIN)
    assert len(place.versions()) == 1


def test_lost_output_is_made_again_and_not_handed_on(place, first):
    evaluation = Reference.parse(first["outputs"]["evaluation"])
    (evaluation.path / "metrics.parquet").unlink()
    again = place.finish()
    assert again["outputs"] == first["outputs"]
    assert [step["name"] for step in again["steps"] if not step["reused"]] == ["evaluate"]
    evaluation.resolve()


def test_damaged_volume_is_made_again_and_registers_nothing_new(place, first):
    """Through the link that it shares with DVC's cache."""
    dataset = Reference.parse(first["outputs"]["dataset"])
    volume = sorted((dataset.path / "volumes").iterdir())[0]
    volume.chmod(0o644)
    with volume.open("r+b") as file:
        file.seek(5000)
        file.write(b"XXXXXXXX")
    again = place.finish()
    assert again["outputs"] == first["outputs"]
    assert "curate" not in {step["name"] for step in again["steps"] if step["reused"]}
    dataset.resolve()
    assert len(place.versions()) == 1


def leak(dataset: Path) -> str:
    """Put a row of a test patient into the training set, as faulty curation would; gives the patient."""
    labels = pq.read_table(dataset / "labels.parquet")
    splits = labels["split"].to_pylist()
    leaked = splits.index("test")
    splits[leaked] = "train"
    column = labels.schema.get_field_index("split")
    labels = labels.set_column(column, labels.schema.field(column), pa.array(splits))
    (dataset / "labels.parquet").unlink()  # it may be linked to DVC's cache
    pq.write_table(labels, dataset / "labels.parquet")
    manifest = read_manifest(dataset)
    (dataset / "dataset.json").unlink()
    seal(dataset, "dataset.json", {key: value for key, value in manifest.items() if key != "files"})
    return str(labels["patient"][leaked])


def test_leaked_patient_stops_the_pipeline(place, first, tmp_path):
    broken = Place(tmp_path / "state", place.params)
    for step in ("simulate", "curate"):
        shutil.copytree(place.state / "store" / step, broken.state / "store" / step)
    path = Reference.parse(first["outputs"]["dataset"]).path
    patient = leak(broken.state / "store" / path.relative_to(place.state / "store"))
    for _ in range(2):  # a refusal is not forgotten
        done = broken.run()
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("m3fm: validate failed: ")
        assert patient in line
        assert "log: " in line
        assert "pretrain" not in done.stdout
        assert broken.versions() == []


def test_a_source_takes_the_place_of_the_simulated_cohort(place, first, tmp_path):
    """The simulated cohort, given as if a hospital had: curated alike."""
    (cohort,) = (place.state / "store" / "simulate").glob("[0-9a-f]*")
    reference = runner.source_reference(cohort, "nlst")
    dataset = steps.curate(reference, "nlst", place.config.to_json(), str(tmp_path / "state"))
    assert Reference.parse(dataset).digest == Reference.parse(first["outputs"]["dataset"]).digest


@dataclass(frozen=True)
class Clone:
    """A fresh clone of the repository, in which single commands are run."""

    root: Path
    state: Path

    def run(self, *command: str) -> None:
        environment = {
            **os.environ,
            **State(self.state).settings(),
            "M3FM_STATE": str(self.state),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
        }
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def digest(self, name: str) -> str:
        reference = Reference.to(self.root / name)
        reference.resolve()
        return reference.digest


@pytest.fixture(scope="module")
def clone(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone after `dvc repro`."""
    directory, root = tmp_path_factory.mktemp("dvc"), Path(runner.__file__).parents[1]
    clone = Clone(directory / "clone", directory / "state")
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", "dvc.yaml", "m3fm"):
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, clone.root / name)
    shutil.copy(place.params, clone.root / "params.yaml")
    State(clone.state).enter()
    clone.run("git", "init", "--quiet")
    clone.run("dvc", "repro")
    return clone


def test_dvc_gives_the_same_dataset_and_version(first, clone):
    for name in ("dataset", "validation"):
        assert clone.digest(f"data/{name}") == Reference.parse(first["outputs"][name]).digest, name
    stages = yaml.safe_load((clone.root / "dvc.lock").read_text())["stages"]
    (out,) = [out for out in stages["curate"]["outs"] if out["path"] == "data/dataset"]
    assert f"md5:{out['md5']}" == first["outputs"]["dataset_version"]


def test_single_commands_give_the_same_model(first, clone):
    """Each calls the library as a user would, without the pipeline."""
    dataset, version = "data/dataset", first["outputs"]["dataset_version"]
    clone.run("m3fm", "pretrain", dataset, "pretrained")
    clone.run("m3fm", "train", dataset, "checkpoint", "--pretrained", "pretrained")
    clone.run("m3fm", "evaluate", "checkpoint", dataset, "evaluation")
    clone.run(
        *("m3fm", "export", "checkpoint", dataset, "evaluation", "bundle"), *("--dataset-version", version)
    )
    for name in ("pretrained", "checkpoint", "evaluation", "bundle"):
        assert clone.digest(name) == Reference.parse(first["outputs"][name]).digest, name
