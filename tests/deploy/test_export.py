"""The bundle gives torch's answers, stores every weight once, and says where it is from."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from deploy_samples import ELEMENTS, write_checkpoint

from m3fm.clinical.tasks import TASKS, variant
from m3fm.config.sections import RegionsConfig
from m3fm.config.steps import EXPORT
from m3fm.core.artifacts import Reference, seal
from m3fm.core.code import code_digest
from m3fm.core.errors import InputError
from m3fm.ct.volume import Series
from m3fm.deploy import parity
from m3fm.deploy.bundle import read
from m3fm.deploy.export import export, graphs, unique_bytes
from m3fm.deploy.predictor import Predictor
from m3fm.deploy.runtime import Sessions, sessions
from m3fm.deploy.weights import save_sharing_weights
from m3fm.model.checkpoint import load
from m3fm.model.m3fm import M3FM

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> M3FM:
    return load(checkpoint)[0]


@pytest.fixture(scope="module")
def runtime(bundle: Path) -> Sessions:
    return sessions(bundle)


@pytest.mark.parametrize("task", list(TASKS))
def test_graphs_give_torchs_probabilities_of_every_task(runtime: Sessions, model: M3FM, task: str) -> None:
    found = [
        (parity.answer(runtime, TASKS[task], case), model.predict(task, **case).numpy())
        for case in parity.random_cases(TASKS[task], model.config)
    ]
    for onnx_side, torch_side in found:
        np.testing.assert_allclose(onnx_side, torch_side, atol=1e-5, rtol=0)
    # Every modality matters, so that an input that is not connected would be seen.
    answers = {tuple(torch_side[0].round(4)) for _, torch_side in found}
    assert len(answers) == (4 if TASKS[task].scale else 2)


def test_the_manifest_states_tasks_lineage_and_parity(bundle: Path, checkpoint: Path) -> None:
    manifest = read(bundle)
    assert [task.name for task in manifest.tasks] == list(TASKS)
    assert manifest.regions == RegionsConfig()
    assert manifest.lineage == {
        "code": code_digest(EXPORT.entries),
        "checkpoint": Reference.to(checkpoint).digest,
        "dataset": "md5:0123.dir",
    }
    assert manifest.parity.keys() == {*TASKS, "task_id"}
    assert set(manifest.parity.values()) == {1e-5}
    assert set(manifest.files) == {path.name for path in bundle.iterdir()} - {"bundle.json"}


def test_weights_are_stored_once(bundle: Path, model: M3FM) -> None:
    stored = (bundle / "weights.bin").stat().st_size
    assert stored <= 1.05 * unique_bytes(model)
    used: dict[tuple[int, int], int] = {}
    for path in bundle.glob("*.onnx"):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if where:
                assert where["location"] == "weights.bin"
                assert int(where["offset"]) % 64 == 0
                place = int(where["offset"]), int(where["length"])
                used[place] = used.get(place, 0) + 1
            else:
                assert len(tensor.raw_data) < 1024
    trunk = sum(p.nbytes for p in model.ctvit.encoder.blocks.parameters() if p.nbytes >= 1024)
    assert sum(length for (_, length), count in used.items() if count == 4) >= trunk


def test_the_same_model_gives_the_same_graph(bundle: Path, model: M3FM, tmp_path: Path) -> None:
    name, graph = next(graphs(model))
    save_sharing_weights({name: graph}, tmp_path)
    assert (tmp_path / f"{name}.onnx").read_bytes() == (bundle / f"{name}.onnx").read_bytes()
    assert (bundle / "weights.bin").read_bytes().startswith((tmp_path / "weights.bin").read_bytes())


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes(
    bundle: Path, checkpoint: Path, dataset: Path, tmp_path: Path
) -> None:
    export(checkpoint, tmp_path / "again", {"dataset": "md5:0123.dir"}, dataset)
    assert (tmp_path / "again/bundle.json").read_bytes() == (bundle / "bundle.json").read_bytes()


@pytest.mark.slow
def test_a_bundle_reads_what_its_model_was_trained_with(
    dataset: Path, series: Series, tmp_path: Path
) -> None:
    tasks = variant(("nodule_margin", "emphysema"), "image")
    (tmp_path / "checkpoint").mkdir()
    export(write_checkpoint(tmp_path / "checkpoint", 0, tasks), tmp_path / "bundle", {}, dataset)
    predictor = Predictor(tmp_path / "bundle")
    assert [(task.name, task.text) for task in predictor.bundle.tasks] == [(name, False) for name in tasks]
    found = predictor.predict(series, ELEMENTS)
    assert found == predictor.predict(series), "clinical data are not read"
    assert "no nodule_presence, which would look for one" in found["nodule_margin"].skipped
    given = predictor.predict(series, nodule_slice=("left", 40))
    assert sum(given["nodule_margin"].probabilities.values()) == pytest.approx(1.0, abs=1e-6)


def test_no_path_of_this_machine_is_in_the_bundle(bundle: Path, checkpoint: Path, dataset: Path) -> None:
    local = [checkpoint, dataset, bundle, Path(__file__).parents[2], Path(onnx.__file__).parents[1]]
    for path in bundle.iterdir():
        content = path.read_bytes()
        assert not [str(name) for name in local if str(name).encode() in content], path.name
        assert b".py" not in content, path.name


def test_graphs_that_differ_from_torch_are_not_written(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_another_model = [(path.stem, ir.load(path)) for path in bundle.glob("*.onnx")]
    monkeypatch.setattr("m3fm.deploy.export.graphs", lambda model: of_another_model)
    with pytest.raises(RuntimeError, match=r"nodule_presence: ONNX and torch differ by .*, over 1e-04"):
        export(write_checkpoint(tmp_path, 1), tmp_path / "bundle", {})
    assert not (tmp_path / "bundle").exists()


def test_a_changed_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    changed = tmp_path / "checkpoint"
    changed.mkdir()
    for path in checkpoint.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    (changed / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes() + b"x")
    with pytest.raises(InputError, match="was changed after it was written"):
        export(changed, tmp_path / "bundle", {})


def test_the_model_card_shows_what_was_reached(bundle: Path, tmp_path: Path) -> None:
    from m3fm.deploy import card

    row = {"title": "Emphysema", "metric": "AUC", "patients": 40, "note": "", "headline": True}
    table = [
        {**row, "auc": 0.81234, "low": 0.7, "high": 0.9},
        {**row, "title": "COVID-19", "auc": None, "low": None, "high": None, "note": "no positives"},
        {**row, "title": "Hidden", "auc": 0.5, "low": 0.4, "high": 0.6, "headline": False},
    ]
    seal(tmp_path, "evaluation.json", {"table": table, "split": "test"})
    text = card.text(read(bundle), tmp_path)
    assert "drawn phantoms only" in text
    assert "phantoms" not in card.text(read(bundle).model_copy(update={"simulated": False}), tmp_path)
    assert "| Emphysema | AUC | 40 | 0.812 | 0.700 to 0.900 |" in text
    assert "| COVID-19 | AUC | 40 | none | no positives |" in text
    assert "Hidden" not in text
    assert "md5:0123.dir" in text
    assert "not a medical device" in text
    assert "No evaluation was given" in (bundle / "MODEL_CARD.md").read_text()


def test_the_manifest_is_canonical_json(bundle: Path) -> None:
    content = (bundle / "bundle.json").read_text()
    assert content == json.dumps(json.loads(content), indent=2, sort_keys=True) + "\n"


def test_only_what_a_bundle_was_made_with_is_registered_with_it(
    bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    from m3fm.cli.release import _of_one_model

    other = write_checkpoint(tmp_path, 1)
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    seal(evaluation, "evaluation.json", {})
    with pytest.raises(InputError, match="is not the evaluation that"):
        _of_one_model(bundle, evaluation, checkpoint)
    matching = tmp_path / "matching"
    shutil.copytree(bundle, matching)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["lineage"]["evaluation"] = Reference.to(evaluation).digest
    (matching / "bundle.json").write_text(json.dumps(manifest))
    _of_one_model(matching, evaluation, checkpoint)
    with pytest.raises(InputError, match="is not the checkpoint that"):
        _of_one_model(matching, evaluation, other)
