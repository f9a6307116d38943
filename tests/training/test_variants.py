"""Tasks, modality and weights: what the configuration says of a training is what happens."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import save_file
from small import AGES, LABELS, write_small
from tokenizers import Tokenizer
from torch import Tensor

from m3fm.clinical.tasks import TASKS, variant
from m3fm.config.presets import preset
from m3fm.config.sections import RunConfig, TrainConfig
from m3fm.core.artifacts import seal
from m3fm.core.errors import InputError
from m3fm.dataset.batch import Batch
from m3fm.dataset.mqa import check_labelled, corpus
from m3fm.evaluation.predict import predict
from m3fm.model.checkpoint import load_model
from m3fm.model.heads import task_loss
from m3fm.model.text import train_tokenizer
from m3fm.training.multitask import _describe
from m3fm.training.objective import Multitask
from m3fm.training.planner import Unit

TINY = preset("tiny")
RETRIEVAL = [name for name, task in TASKS.items() if task.kind == "retrieval"]


def configured(**changes: object) -> RunConfig:
    train = TrainConfig.model_validate({**TINY.train.model_dump(), "batch": 8, "micro_batch": 4, **changes})
    return TINY.model_copy(update={"train": train})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(corpus(1, texts=20), TINY.model.text.vocabulary)


@pytest.fixture(scope="module")
def objective(dataset, tokenizer):
    return lambda **changes: Multitask(dataset, configured(**changes), tokenizer)


def fractions(found: Multitask) -> dict[str, float]:
    """The weight of each task in a step's loss."""
    return {name: sum(unit.weight for unit in found.units(0) if unit.name == name) for name in found.names}


def loss(found: Multitask, unit: Unit, batch: Batch) -> Tensor:
    torch.manual_seed(0)
    return found.loss(unit, batch)


def test_all_tasks_with_labels_are_trained_where_none_is_named(objective):
    found = objective()
    assert fractions(found) == pytest.approx(dict.fromkeys(sorted([*LABELS, *RETRIEVAL]), 1.0))
    assert list(found.model.tasks) == list(TASKS)


def test_the_named_tasks_alone_are_trained_and_have_heads(objective):
    found = objective(tasks=("emphysema",))
    assert [(unit.name, unit.weight) for unit in found.units(3)] == [("emphysema", 0.5)] * 2
    assert list(found.model.tasks) == ["emphysema"]
    assert list(found.model.heads) == ["binary"]
    assert found.model.heads["binary"].out.out_features == 2


def test_questions_of_tasks_that_the_model_has_not_are_questions_of_none(objective):
    both, alone = objective(), objective(tasks=("emphysema",))
    unit = alone.units(0)[0]
    place, classes = list(TASKS).index("emphysema"), set()
    for step in range(12):
        of_all, of_one = (found.load(step, unit) for found in (both, alone))
        assert torch.equal(of_all["task_id_ids"], of_one["task_id_ids"])
        expected = (of_all["identity"] != place).long()
        assert torch.equal(of_one["identity"], expected)
        classes |= set(of_one["identity"].tolist())
    assert classes == {0, 1}


def test_a_step_weighs_each_task_as_it_is_told(objective):
    found = fractions(objective(loss_weights={"emphysema": 3.0, "clinical_number": 0.25}))
    assert found.pop("emphysema") == pytest.approx(3.0)
    assert found.pop("clinical_number") == pytest.approx(0.25)
    assert set(found.values()) == {1.0}


def test_a_sample_s_loss_is_weighted_by_its_answer():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(40, 4)))
    label, weights = torch.from_numpy(rng.integers(0, 4, (40, 1))).double(), (1.0, 0.5, 3.0, 10.0)
    found = task_loss(TASKS["lung_rads"], logits, label, torch.ones(40, 1), weights)
    by_hand = [
        -weights[int(answer)] * np.log(np.exp(row[int(answer)]) / np.exp(row).sum())
        for row, answer in zip(logits.numpy(), label[:, 0].numpy(), strict=True)
    ]
    assert float(found) == pytest.approx(np.mean(by_hand))
    halves = [
        task_loss(TASKS["lung_rads"], logits[h], label[h], label[h], weights)
        for h in (slice(20), slice(20, 40))
    ]
    assert float(sum(halves) / 2) == pytest.approx(float(found)), "whichever samples come together"


def test_class_weights_reach_the_loss_of_their_task(objective):
    plain, weighted = objective(), objective(class_weights={"emphysema": (2.0, 2.0)})
    for name in ("emphysema", "lung_rads"):
        unit = next(unit for unit in plain.units(0) if unit.name == name)
        batch = plain.load(0, unit)
        torch.manual_seed(0)
        logits, _ = plain.model(
            name,
            **{
                k: batch.get(k)
                for k in ("images", "voxel_size", "text_ids", "text_mask", "question_ids", "question_mask")
            },
        )
        answer = F.cross_entropy(logits, batch["label"][:, 0].long())
        gained = loss(weighted, unit, batch) - loss(plain, unit, batch)
        torch.testing.assert_close(
            gained, answer if name == "emphysema" else torch.zeros(()), atol=1e-5, rtol=0
        )


def test_years_that_are_censored_have_no_influence(objective):
    found = objective(tasks=("cvd_mortality",))
    unit = found.units(0)[0]
    batches = [found.load(step, unit) for step in range(4)]
    batch = next(batch for batch in batches if (batch["mask"] == 0).any())
    before = loss(found, unit, batch)
    known, censored = (dict(batch) for _ in range(2))
    censored["label"] = torch.where(batch["mask"] == 0, 1.0 - batch["label"], batch["label"])
    assert torch.equal(loss(found, unit, censored), before)
    known["label"] = torch.where(batch["mask"] == 1, 1.0 - batch["label"], batch["label"])
    assert not torch.equal(loss(found, unit, known), before), "the others have"


def test_a_model_of_images_sees_no_text_and_learns_no_task_that_has_nothing_else(objective):
    found = objective(modality="image")
    assert set(found.names) == {"emphysema", "cvd_mortality"}
    for unit in found.units(0):
        batch = found.load(0, unit)
        assert batch["images"].shape[0] == 4
        assert not {"text_ids", "text_mask"} & batch.keys()


def test_a_model_of_text_sees_no_image_and_is_planned_as_cheap(objective):
    found = objective(modality="text")
    assert set(found.names) == {*LABELS, *RETRIEVAL}
    assert len({unit.cost for unit in found.units(0)}) == 1
    for unit in found.units(0):
        batch = found.load(0, unit)
        assert not {"images", "voxel_size", "lung_mask"} & batch.keys()
        assert batch["text_mask"].any()


def written(objective: Multitask, run: RunConfig, tokenizer: Tokenizer, directory: Path) -> Path:
    """The checkpoint that training would write at its end."""
    directory.mkdir()
    save_file(objective.model.state_dict(), directory / "model.safetensors")
    _describe(run, tokenizer.to_str(), directory)
    seal(directory, "checkpoint.json", {"steps": 0})
    return directory


def ages(dataset: Path, other: Path, age: float) -> Path:
    """The dataset with another age of every patient."""
    import shutil

    import pandas as pd

    shutil.copytree(dataset, other)
    pd.read_parquet(other / "exams.parquet").assign(age=age).to_parquet(other / "exams.parquet")
    return other


@pytest.mark.parametrize("modality", ["both", "image", "text"])
def test_evaluation_shows_a_checkpoint_what_it_was_trained_with(
    dataset, tokenizer, objective, tmp_path, modality
):
    run = configured(tasks=("emphysema",), modality=modality)
    found = objective(tasks=("emphysema",), modality=modality)
    checkpoint = written(found, run, tokenizer, tmp_path / "checkpoint")
    assert load_model(checkpoint).tasks == variant(("emphysema",), modality)
    here = predict(checkpoint, dataset, "train")
    assert set(here["task"]) == {"emphysema"}, "the model has no other"
    assert len(here) == len(AGES)
    older = predict(checkpoint, ages(dataset, tmp_path / "older", 99.0), "train")
    same = [list(a) == list(b) for a, b in zip(here["probabilities"], older["probabilities"])]
    assert all(same) if modality == "image" else not any(same), "of the text"


def test_a_checkpoint_is_not_evaluated_where_nothing_is_known_of_its_tasks(
    dataset, tokenizer, objective, tmp_path
):
    run = configured(tasks=("emphysema",))
    checkpoint = written(objective(tasks=("emphysema",)), run, tokenizer, tmp_path / "checkpoint")
    with pytest.raises(InputError, match="has no test exam with a label of emphysema"):
        predict(checkpoint, dataset, "test")


def test_a_task_without_labels_cannot_be_asked_for(dataset):
    check_labelled(dataset, ["emphysema", *RETRIEVAL])
    with pytest.raises(InputError, match="no label of covid19"):
        check_labelled(dataset, ["covid19"])


WRONG = [
    ({"tasks": ["emphysem"]}, "no task is called 'emphysem'; there are nodule_presence, "),
    ({"tasks": []}, "at least 1"),
    ({"tasks": ["lung_rads"], "modality": "image"}, "lung_rads reads text alone"),
    ({"modality": "images"}, "modality"),
    ({"loss_weights": {"nothing": 1.0}}, "no task is called 'nothing'"),
    ({"loss_weights": {"emphysema": 0.0}}, "greater than 0"),
    ({"class_weights": {"emphysema": (1.0,)}}, r"emphysema has 2 answers \(no, yes\), not 1"),
    ({"class_weights": {"emphysema": (1.0, -1.0)}}, "greater than 0"),
    ({"class_weights": {"cvd_mortality": (1.0,) * 6}}, "cvd_mortality does not choose"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG)
def test_what_cannot_be_trained_is_refused(changes, reason):
    with pytest.raises(ValidationError, match=reason):
        configured(**changes)
