"""Fine-tuning: the weights from a checkpoint, the training rows, and the output."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transfer_samples import PATIENTS, RUN, SALT, raw, row, write_task

from m3fm.config.presets import preset
from m3fm.core.artifacts import read_manifest, seal
from m3fm.core.errors import InputError
from m3fm.core.files import write_json
from m3fm.dataset.validate import validate_predictions
from m3fm.model.checkpoint import save_model, transfer_weights, write_config
from m3fm.model.ctvit import CTViT
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.tracking.registry import EXPERIMENT, Registry
from m3fm.transfer import report
from m3fm.transfer.finetune import finetune
from m3fm.transfer.objective import Finetuning, build_model, new_parts
from m3fm.transfer.rows import find_cases, split_folds
from m3fm.transfer.task_file import read

SCALE = {"shape": [8, 16, 16], "patch": [4, 8, 8], "hu_window": [-1000, 200]}


@pytest.fixture(scope="module")
def multitask(tmp_path_factory, tokenizer) -> Path:
    """A checkpoint such as `m3fm train` writes."""
    torch.manual_seed(7)
    directory = tmp_path_factory.mktemp("multitask")
    save_model(M3FM(RUN.model), directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    seal(directory, "checkpoint.json", {"inputs": {}, "steps": 0})
    return directory


@pytest.fixture(scope="module")
def ctvit(tmp_path_factory) -> Path:
    """A checkpoint such as `m3fm pretrain` writes."""
    torch.manual_seed(8)
    directory = tmp_path_factory.mktemp("ctvit")
    mae = MAE(CTViT(RUN.model), RUN.pretrain, RUN.model.width)
    save_file(mae.state_dict(), directory / "model.safetensors")
    write_config(RUN.model, directory)
    seal(directory, "checkpoint.json", {"inputs": {}, "steps": 0})
    return directory


@pytest.mark.parametrize("kind", ["multitask", "ctvit"])
@pytest.mark.parametrize("new_scale", [False, True])
def test_weights_come_from_the_checkpoint_and_the_rest_is_new(request, tmp_path, kind, new_scale):
    directory = request.getfixturevalue(kind)
    task = read(write_task(tmp_path, **({"scale": SCALE} if new_scale else {})))
    found = build_model(task, "both", RUN.model, directory, seed=1).state_dict()
    drawn = build_model(task, "both", RUN.model, None, seed=1).state_dict()
    given = load_file(directory / "model.safetensors")
    assert found.keys() == drawn.keys()
    new = {name for name in found if torch.equal(found[name], drawn[name])}
    taken = {name for name in found if name in given and torch.equal(found[name], given[name])}
    # Zeros of biases and ones of norms are the same in both.
    assert found.keys() <= new | taken
    matrices = {name for name in found if found[name].ndim > 1}
    expected = {
        name
        for name in matrices
        if not name.startswith(("heads.", "ctvit.tokenizers.pneumonitis."))
        and (kind == "multitask" or name.startswith("ctvit."))
    }
    assert taken & matrices == expected
    assert {"heads.pneumonitis.out.weight", "heads.pneumonitis.dense.weight"} <= new - taken
    assert any(name.startswith("ctvit.encoder") for name in expected)
    assert any(name.startswith("ctvit.tokenizers.") for name in expected) is not new_scale


def test_a_checkpoint_that_lacks_a_tensor_is_refused(multitask, tmp_path):
    given = load_file(multitask / "model.safetensors")
    del given["image_to_task.weight"]
    save_file(given, tmp_path / "model.safetensors")
    task = read(write_task(tmp_path))
    model = build_model(task, "both", RUN.model, None, seed=1)
    with pytest.raises(
        InputError, match=r"model\.safetensors does not fit the model: it lacks image_to_task"
    ):
        transfer_weights(model, tmp_path, new_parts(task))


def finetuning(dataset, tokenizer, task, modality="both", rows=None, **changes) -> Finetuning:
    cases = find_cases(task, dataset, SALT).cases
    model = build_model(task, modality, RUN.model, None, seed=1)
    config = RUN.finetune.model_copy(update={"batch": 8, "micro_batch": 4, **changes})
    return Finetuning(
        dataset, task, cases if rows is None else [cases[n] for n in rows], model, tokenizer, config
    )


def test_a_step_is_whole_and_a_function_of_step_and_unit(dataset, tokenizer, tmp_path):
    found = finetuning(dataset, tokenizer, read(write_task(tmp_path)))
    units = found.units(0)
    assert sum(unit.weight for unit in units) == pytest.approx(1.0)
    assert found.units(None) == [], "a fold's training rows have no validation"
    first, again, other = (found.load(step, units[0]) for step in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["images"], other["images"])
    assert torch.isfinite(found.loss(units[0], first))


def test_every_answer_is_drawn_as_often_from_the_training_rows_alone(dataset, tokenizer, tmp_path):
    task = read(write_task(tmp_path))
    rows = [n for n in range(PATIENTS) if n % 5]
    found = finetuning(dataset, tokenizer, task, rows=rows, element_dropout=0.0)
    labels = torch.cat([found.load(step, unit)["label"] for step in range(12) for unit in found.units(0)])
    assert 0.3 < labels.mean() < 0.7, "a third of the rows is ill"
    assert len(found.cases) == len(rows)


@pytest.mark.parametrize("modality", ["both", "image", "text"])
def test_a_variant_reads_its_modality_alone(dataset, tokenizer, tmp_path, modality):
    task = read(write_task(tmp_path))
    found = finetuning(dataset, tokenizer, task, modality)
    batch = found.load(0, found.units(0)[0])
    assert ("images" in batch) == (modality != "text")
    assert ("text_ids" in batch) == (modality != "image")
    cases = list(found.cases)
    other_text = [replace(case, clinical={"cycles": "99"}) for case in cases]
    other_image = [
        replace(case, row=replace(case.row, exam=cases[-1 - n].row.exam)) for n, case in enumerate(cases)
    ]
    before = np.array(list(found.probabilities(cases)))
    np.testing.assert_allclose(before.sum(axis=1), 1.0, atol=1e-6)
    assert np.array_equal(before, list(found.probabilities(other_text))) == (modality == "image")
    assert np.array_equal(before, list(found.probabilities(other_image))) == (modality == "text")


def test_training_separates_classes_that_differ(dataset, tokenizer, tmp_path):
    from m3fm.config.sections import LaunchConfig
    from m3fm.training.checkpoints import Checkpoints
    from m3fm.transfer.finetune import alone
    from m3fm.transfer.report import auc

    found = finetuning(dataset, tokenizer, read(write_task(tmp_path, scale=SCALE)), "image")
    config = RUN.finetune.optimizer.model_copy(update={"steps": 30, "layer_decay": 1.0})
    alone(found, config, LaunchConfig(), Checkpoints(str(tmp_path / "checkpoints"), 1, {}))
    answers = np.array([case.answer for case in found.cases])
    assert auc(answers, np.array(list(found.probabilities(found.cases)))) > 0.9


@pytest.fixture
def written(dataset, tmp_path) -> Path:
    """The output for given probabilities."""
    rows = [row(number) for number in range(PATIENTS)] + [row(900)]
    task = read(write_task(tmp_path / "task", rows))
    found = find_cases(task, dataset, SALT)
    folds = split_folds(task, found.cases, 4, 1)
    scores = np.random.default_rng(0).dirichlet([1, 1], (2, PATIENTS))
    about = {"simulated": True, "left_out": found.left_out, "seen": 3}
    out = tmp_path / "out"
    out.mkdir()
    given = dict(zip(("reference", "scratch"), scores))
    content = report.write(out, task, found.cases, folds, given, about)
    seal(out, "finetuning.json", content)
    return out


def test_no_identifier_of_the_table_is_written(written):
    files = [path for path in written.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        content = path.read_bytes()
        assert not [n for n in range(PATIENTS) if raw(n).encode() in content], path.name
        assert b"MRN" not in content


def test_the_page_has_the_notes_for_its_reader(written):
    content = json.loads((written / "finetuning.json").read_text())
    assert content["counts"] == {"rows": 24, "patients": 24, "by_answer": {"no": 16, "yes": 8}}
    page = (written / "report.html").read_text()
    for text in (
        "4-fold cross-validation by patient on 24 simulated patients, not a test on others",
        "drawn phantoms only",
        "trained on the CT of 3 of these patients",
        "1 rows of table.csv are left out (patient not in the dataset: 1)",
        content["verdict"],
        "<svg",
    ):
        assert text in page, text


def test_predictions_meet_their_contract(written, tmp_path):
    path = written / "predictions/scratch.parquet"
    found = pd.read_parquet(path)
    assert len(found) == PATIENTS
    assert set(found["fold"]) == {0, 1, 2, 3}
    validate_predictions(path, tmp_path / "validation")
    (written / "predictions/tasks.json").unlink()
    with pytest.raises(InputError, match=r"is refused: .* pneumonitis"):
        validate_predictions(path, tmp_path / "refused")


@pytest.mark.slow
def test_all_rows_and_folds_run_on_ray_and_resume(dataset, multitask, tmp_path):
    changes = {"folds": 3, "batch": 4, "micro_batch": 4}
    optimizer = RUN.finetune.optimizer.model_copy(update={"steps": 2})
    config = RUN.finetune.model_copy(update={**changes, "optimizer": optimizer})
    run, task = RUN.model_copy(update={"finetune": config}), write_task(tmp_path / "task")
    first = tmp_path / "first"
    registry = Registry.of(tmp_path / "state")
    finetune(dataset, task, first, run, multitask, registry.uri)
    content = json.loads((first / "finetuning.json").read_text())
    assert [row["row"] for row in content["table"]] == list(report.ROWS)
    assert content["seen"] == 0, "the checkpoint is of another dataset"
    assert sorted(path.name for path in first.iterdir()) == ["finetuning.json", "predictions", "report.html"]

    (logged,) = registry.client.search_runs(
        [registry.client.get_experiment_by_name(EXPERIMENT).experiment_id]
    )
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["auc/ct"] == content["table"][1]["auc"]
    assert logged.data.params["finetune.folds"] == "3"

    # The remains of a run with other inputs are not used.
    for name, inputs in (("again", {}), ("resumed", content["inputs"])):
        folds = tmp_path / f".{name}.training" / "folds"
        folds.mkdir(parents=True)
        write_json(folds.parent / "inputs.json", inputs)
        rows = int((pd.read_parquet(first / "predictions/ct.parquet")["fold"] == 1).sum())
        write_json(folds / "ct-1.json", [[0.5, 0.5]] * rows)
        finetune(dataset, task, tmp_path / name, run, multitask)
    assert (tmp_path / "again/finetuning.json").read_bytes() == (first / "finetuning.json").read_bytes()
    before, after = (pd.read_parquet(tmp_path / n / "predictions/ct.parquet") for n in ("first", "resumed"))
    same = [list(a) == list(b) for a, b in zip(before["probabilities"], after["probabilities"])]
    assert same == list(after["fold"] != 1)


@pytest.mark.slow
def test_an_error_in_a_fold_is_one_line(dataset, multitask, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(multitask, damaged)
    given = load_file(damaged / "model.safetensors")
    del given["image_to_task.weight"]
    save_file(given, damaged / "model.safetensors")
    manifest = read_manifest(damaged)
    seal(damaged, "checkpoint.json", {name: value for name, value in manifest.items() if name != "files"})
    config = RUN.finetune.model_copy(update={"folds": 2})
    with pytest.raises(InputError, match="it lacks image_to_task") as failure:
        finetune(
            dataset,
            write_task(tmp_path / "task"),
            tmp_path / "out",
            RUN.model_copy(update={"finetune": config}),
            damaged,
        )
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "out").exists()


def test_every_preset_can_be_fine_tuned():
    for name in ("tiny", "base", "large", "huge"):
        assert preset(name).finetune.folds == 5
