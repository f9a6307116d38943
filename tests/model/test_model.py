"""What the model promises: pure, monotone risks, and indifference to what it was not given."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m3fm.model.ctvit import size_features
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE, patchify
from m3fm.model.predictors import cumulative_logits, task_loss
from m3fm.model.text import train_tokenizer
from m3fm.model.transformer import Block
from m3fm.presets import preset
from m3fm.tasks import TASKS, YEARS
from m3fm.tokens import encode

RUN = preset("tiny")


@pytest.fixture(scope="module")
def model() -> M3FM:
    torch.manual_seed(0)
    return M3FM(RUN.model).eval()


def inputs(task: str, batch: int = 2, length: int = 12) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    scale = TASKS[task].scale
    shape = RUN.model.scales[scale].shape if scale else None
    ids = torch.randint(5, 900, (batch, length), generator=generator)
    return {
        "images": torch.rand(batch, 1, *shape, generator=generator) * 2 - 1 if shape else None,
        "voxel_size": torch.rand(batch, 3, generator=generator) + 1 if shape else None,
        "text_ids": ids,
        "text_mask": torch.ones_like(ids),
        "question_ids": ids[:, :6],
        "question_mask": torch.ones_like(ids[:, :6]),
    }


@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_answers_with_probabilities(model: M3FM, task: str) -> None:
    answer = model.predict(task, **inputs(task))
    assert answer.shape == (2, 30 if TASKS[task].loss == "digits" else len(TASKS[task].answers))
    assert ((answer >= 0) & (answer <= 1)).all()
    if TASKS[task].loss == "softmax":
        torch.testing.assert_close(answer.sum(1), torch.ones(2))


@pytest.mark.parametrize("task", ["lung_cancer_risk", "nodule_size"])
def test_every_sample_is_answered_as_if_alone(model: M3FM, task: str) -> None:
    both = inputs(task)
    alone = {name: None if value is None else value[1:] for name, value in both.items()}
    torch.testing.assert_close(
        model.predict(task, **both)[1:], model.predict(task, **alone), atol=1e-6, rtol=0
    )


def test_more_padding_changes_nothing(model: M3FM) -> None:
    short = inputs("emphysema")
    ids, mask = short["text_ids"], short["text_mask"]
    assert ids is not None
    assert mask is not None
    long = {
        **short,
        "text_ids": torch.cat([ids, torch.ones(2, 30, dtype=torch.long)], dim=1),
        "text_mask": torch.cat([mask, torch.zeros(2, 30, dtype=torch.long)], dim=1),
    }
    torch.testing.assert_close(
        model.predict("emphysema", **short), model.predict("emphysema", **long), atol=1e-6, rtol=0
    )


def test_masked_text_is_the_same_as_no_text(model: M3FM) -> None:
    with_text = inputs("emphysema")
    assert with_text["text_mask"] is not None
    masked = {**with_text, "text_mask": torch.zeros_like(with_text["text_mask"])}
    absent = {**with_text, "text_ids": None, "text_mask": None}
    expected = model.predict("emphysema", **absent)
    torch.testing.assert_close(model.predict("emphysema", **masked), expected, atol=1e-6, rtol=0)
    assert not torch.allclose(model.predict("emphysema", **with_text), expected, atol=1e-4)


def test_answers_without_image_and_without_text(model: M3FM) -> None:
    nothing = {**inputs("emphysema"), "images": None, "text_ids": None, "text_mask": None}
    assert torch.isfinite(model.predict("emphysema", **nothing)).all()


def test_voxels_outside_the_lung_mask_do_not_matter(model: M3FM) -> None:
    given_inputs = inputs("nodule_size")
    images = given_inputs["images"]
    assert images is not None
    mask = torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.bool)
    mask[:, :, 8:40, 8:32] = True
    changed = images.clone()
    changed[:, :, :, :8] = 1.0
    first = model.predict("nodule_size", **{**given_inputs, "lung_mask": mask})
    second = model.predict("nodule_size", **{**given_inputs, "images": changed, "lung_mask": mask})
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_voxel_size_matters(model: M3FM) -> None:
    sizes = inputs("lung_cancer_risk")
    assert sizes["voxel_size"] is not None
    doubled = {**sizes, "voxel_size": sizes["voxel_size"] * 2}
    assert not torch.allclose(
        model.predict("lung_cancer_risk", **sizes), model.predict("lung_cancer_risk", **doubled), atol=1e-5
    )


@given(st.lists(st.floats(-50, 50), min_size=7, max_size=7))
def test_risk_never_falls(values: list[float]) -> None:
    risk = cumulative_logits(torch.tensor([values], dtype=torch.float64)).sigmoid()
    assert (risk.diff(dim=1) >= 0).all()


@settings(max_examples=25)
@given(st.integers(2, 40), st.floats(0.3, 40.0))
def test_size_features_follow_their_formula(sixths: int, size: float) -> None:
    width = 6 * sixths
    found = size_features(torch.tensor([[size, size / 2, size / 4]]), width)[0].numpy()
    part, expected = width // 3, []
    for value in (size, size / 2, size / 4):
        angles = [value * 10000 ** (-i / (part / 2)) for i in range(part // 2)]
        expected += [*np.sin(angles), *np.cos(angles)]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_censored_year_does_not_move_the_loss() -> None:
    task = TASKS["lung_cancer_risk"]
    logits = torch.randn(2, YEARS)
    label = torch.zeros(2, YEARS)
    mask = torch.tensor([[1.0, 1, 0, 0, 0, 0]] * 2)
    other = label.clone()
    other[:, 2:] = 1.0
    assert task_loss(task, logits, label, mask) == task_loss(task, logits, other, mask)
    assert task_loss(task, logits, other, torch.ones_like(mask)) != task_loss(task, logits, other, mask)


def test_computing_the_first_token_alone_gives_the_same_token() -> None:
    torch.manual_seed(0)
    block, tokens = Block(24, 3), torch.randn(2, 9, 24)
    torch.testing.assert_close(block(tokens, queries=1), block(tokens)[:, :1])


def test_cubes_come_slice_by_slice() -> None:
    volume = torch.arange(4 * 4 * 4).view(1, 1, 4, 4, 4)
    cubes = patchify(volume, (2, 2, 2))
    assert cubes.shape == (1, 8, 8)
    torch.testing.assert_close(cubes[0, 3], volume[0, 0, :2, 2:, 2:].flatten())


def test_mae_sees_visible_cubes_and_predicts_those_asked_for_and_nothing_else() -> None:
    torch.manual_seed(0)
    mae = MAE(M3FM(RUN.model).ctvit, RUN.pretrain, RUN.model.width).eval()
    scale = RUN.model.scales["both_lungs"]
    images = torch.rand(2, 1, *scale.shape)
    d, h, w = scale.grid
    noise, slices = torch.rand(2, d * h * w), torch.tensor([1])
    loss = mae("both_lungs", images, torch.ones(2, 3), noise, slices)
    order = noise.argsort(dim=1)
    visible = round(d * h * w * (1 - RUN.pretrain.mask_ratio))
    asked = (order >= h * w) & (order < 2 * h * w)

    def loss_without(cubes: Tensor) -> Tensor:
        changed = patchify(images, scale.patch).clone()
        changed[torch.arange(2)[:, None].expand_as(order)[cubes], order[cubes]] = 0.0
        back = changed.view(2, d, h, w, *scale.patch).permute(0, 1, 4, 2, 5, 3, 6).reshape(images.shape)
        return mae("both_lungs", back, torch.ones(2, 3), noise, slices)

    seen = (torch.arange(d * h * w) < visible).expand_as(order)
    torch.testing.assert_close(loss_without(~seen & ~asked), loss, atol=1e-6, rtol=0)
    for needed in (seen & ~asked, ~seen & asked):
        assert (loss_without(needed) - loss).abs() > 1e-5


def test_long_text_keeps_its_end_and_absent_text_has_no_mask() -> None:
    tokenizer = train_tokenizer(["The patient is 56.0 years old."] * 3, 300)
    ids, mask = encode(tokenizer, ["The patient is 56.0 years old. " * 50, ""], 20)
    assert ids.shape == (2, 20)
    assert ids[0, 0] == 0
    assert ids[0, -1] == 2
    assert mask[0].all()
    assert not mask[1].any()


def test_digits_stay_single() -> None:
    tokenizer = train_tokenizer(["Weight is 105.0 pounds."] * 50, 400)
    assert {"1", "0", "5"} <= set(tokenizer.encode("105").tokens)
