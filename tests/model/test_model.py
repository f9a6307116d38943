"""What the model promises: pure, monotone risks, and indifference to what it was not given."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import RUN, inputs
from torch import Tensor

from m3fm.clinical.sentences import clinical_sentences
from m3fm.clinical.tasks import NO_YES, TASKS, YEARS, Task
from m3fm.config.model import Scale
from m3fm.core.errors import InputError
from m3fm.core.tokens import encode
from m3fm.ct import transforms
from m3fm.dataset.batch import collate
from m3fm.dataset.mqa import Sample
from m3fm.model.ctvit import patchify, size_features
from m3fm.model.heads import cumulative_logits, task_loss
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.model.text import train_tokenizer
from m3fm.model.transformer import Block

ELEMENTS = {
    "age": 56.0,
    "gender": "Female",
    "height": 60.0,
    "weight": 105.0,
    "race": "White",
    "pack_years": 38.0,
    "hypertension": 53.0,
    "pneumonia": 50.0,
}
TOKENIZER = train_tokenizer(clinical_sentences(ELEMENTS) * 3, 400)


@pytest.fixture(scope="module")
def model() -> M3FM:
    torch.manual_seed(0)
    return M3FM(RUN.model).eval()


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


@settings(max_examples=20)
@given(
    task=st.sampled_from(["emphysema", "nodule_size", "lung_rads"]),
    text=st.integers(1, 100),
    question=st.integers(1, 40),
)
def test_padding_changes_nothing(model: M3FM, task: str, text: int, question: int) -> None:
    short = inputs(task)
    long = dict(short)
    for name, more in (("text", text), ("question", question)):
        ids, mask = short[f"{name}_ids"], short[f"{name}_mask"]
        long[f"{name}_ids"] = torch.cat([ids, torch.ones(2, more, dtype=torch.long)], dim=1)
        long[f"{name}_mask"] = torch.cat([mask, torch.zeros(2, more, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model.predict(task, **short), model.predict(task, **long), atol=1e-6, rtol=0)


@settings(max_examples=20)
@given(st.sampled_from(["emphysema", "lung_cancer_risk", "lung_rads"]), st.integers(0, 2**31))
def test_a_modality_that_is_masked_out_or_absent_has_no_influence(model: M3FM, task: str, seed: int) -> None:
    given_inputs, other = inputs(task), inputs(task, seed=seed)
    masked = {**given_inputs, "text_mask": torch.zeros_like(given_inputs["text_mask"])}
    absent = {**given_inputs, "text_ids": None, "text_mask": None}
    expected = model.predict(task, **absent)
    for text in (given_inputs["text_ids"], other["text_ids"]):
        torch.testing.assert_close(
            model.predict(task, **{**masked, "text_ids": text}), expected, atol=1e-6, rtol=0
        )
    assert not torch.allclose(model.predict(task, **given_inputs), expected, atol=1e-5)
    without = {**given_inputs, "images": None, "voxel_size": None}
    sized = {**without, "voxel_size": other.get("voxel_size")}
    torch.testing.assert_close(model.predict(task, **sized), model.predict(task, **without), atol=0, rtol=0)


def test_answers_without_image_and_without_text(model: M3FM) -> None:
    nothing = {**inputs("emphysema"), "images": None, "text_ids": None, "text_mask": None}
    assert torch.isfinite(model.predict("emphysema", **nothing)).all()


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_voxels_outside_the_lung_mask_do_not_matter(model: M3FM, seed: int) -> None:
    given_inputs = inputs("nodule_size")
    drawn = inputs("nodule_size", seed=seed)["images"]
    inside = torch.where(given_inputs["lung_mask"][:, None], given_inputs["images"], drawn)
    # What shares a patch with the lung is seen; the mask here is of whole patches.
    torch.testing.assert_close(
        model.predict("nodule_size", **given_inputs),
        model.predict("nodule_size", **{**given_inputs, "images": inside}),
        atol=1e-6,
        rtol=0,
    )


@settings(max_examples=15)
@given(
    st.sampled_from(["lung_cancer_risk", "cvd_mortality", "nodule_size", "emphysema"]), st.floats(0.4, 5.0)
)
def test_doubling_the_voxel_size_changes_the_answer(model: M3FM, task: str, mm: float) -> None:
    once = {**inputs(task), "voxel_size": torch.full((2, 3), mm)}
    twice = {**once, "voxel_size": once["voxel_size"] * 2}
    assert not torch.allclose(model.predict(task, **once), model.predict(task, **twice), atol=1e-5)


@settings(max_examples=30)
@given(
    st.tuples(*[st.integers(2, 30)] * 3),
    st.tuples(*[st.integers(2, 30)] * 3),
    st.tuples(*[st.floats(0.3, 6)] * 3),
)
def test_resizing_keeps_the_physical_size(
    before: tuple[int, int, int], after: tuple[int, int, int], mm: tuple[float, float, float]
) -> None:
    voxels = np.zeros(before, np.int16)
    resized, size = transforms.resize(voxels, mm, after)
    assert resized.shape == after
    np.testing.assert_allclose(np.multiply(size, after), np.multiply(mm, before), rtol=1e-9)
    # The model adds features of the patch in mm: the same patch of mm gives the same ones.
    whole = [torch.tensor(np.multiply([mm_], [n])) for mm_, n in ((size, after), (mm, before))]
    torch.testing.assert_close(size_features(whole[0], 24), size_features(whole[1], 24))


@settings(max_examples=25)
@given(st.permutations(range(8)))
def test_another_order_of_clinical_sentences_changes_tokens_only(order: list[int]) -> None:
    sentences = clinical_sentences(ELEMENTS)
    assert len(sentences) == len(order)
    texts = [" ".join(sentences), " ".join(sentences[i] for i in order)]
    ids, _ = encode(TOKENIZER, texts, 400)
    words = [sorted(TOKENIZER.decode(row.tolist()).split()) for row in ids]
    assert words[0] == words[1], "the same sentences"
    samples = [Sample("a question", text, (0.0,), (1.0,)) for text in texts]
    first, second = (collate([sample], TOKENIZER, RUN.model) for sample in samples)
    for name in first.keys() - {"text_ids", "text_mask"}:
        assert torch.equal(first[name], second[name])


def test_a_new_scale_and_a_new_task_are_configuration() -> None:
    """Transfer learning (paper, Fig. 7): another image size, another head; the old parts stay as they are."""
    torch.manual_seed(0)
    old = M3FM(RUN.model)
    scale = Scale(shape=(16, 32, 48), patch=(4, 8, 8), hu_window=(-160.0, 240.0))
    config = RUN.model.model_copy(update={"scales": {**RUN.model.scales, "tumour": scale}})
    task = Task(
        name="pneumonitis",
        title="",
        answers=NO_YES,
        head="pneumonitis",
        scale="tumour",
        source="",
        kind="transfer",
    )
    new = M3FM(config, {**TASKS, task.name: task}).eval()
    missing, unused = new.load_state_dict(
        old.state_dict()
        | {name: tensor for name, tensor in new.state_dict().items() if name.startswith("task_id.out")},
        strict=False,
    )
    assert not unused
    assert {".".join(name.split(".")[:3]) for name in missing} == {
        "ctvit.tokenizers.tumour",
        *(f"heads.pneumonitis.{part}" for part in ("dense", "norm", "out")),
    }
    question = {name: tensor for name, tensor in inputs("emphysema").items() if name.startswith("question")}
    images = torch.rand(2, 1, *scale.shape)
    answer = new.predict("pneumonitis", images=images, voxel_size=torch.ones(2, 3), **question)
    assert answer.shape == (2, 2)
    torch.testing.assert_close(
        new.predict("emphysema", **inputs("emphysema")),
        old.eval().predict("emphysema", **inputs("emphysema")),
    )


def test_a_task_of_any_scale_takes_the_scale_of_its_images() -> None:
    task = Task(name="any", title="", answers=NO_YES, head="any", source="", kind="transfer")
    model = M3FM(RUN.model, {"any": task}).eval()
    for scale in ("emphysema", "cvd_mortality"):
        assert model.predict("any", **inputs(scale)).shape == (2, 2)
    wrong = {**inputs("emphysema"), "images": torch.zeros(2, 1, 3, 4, 5)}
    with pytest.raises(InputError, match=r"no scale has volumes of \(3, 4, 5\)"):
        model.predict("any", **wrong)


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


def test_a_volume_of_another_scale_is_refused_though_it_has_as_many_patches(model: M3FM) -> None:
    for task, of_another in (("emphysema", "lung_cancer_risk"), ("lung_cancer_risk", "emphysema")):
        wrong = {**inputs(task), "images": inputs(of_another)["images"]}
        for ask in (model, model.predict, model.attention):
            with pytest.raises(InputError, match="images are"):
                ask(task, **wrong)
    mae = MAE(model.ctvit, RUN.pretrain, RUN.model.width)
    with pytest.raises(
        InputError, match=r"images are \[2, 1, 32, 56, 40\], and should be \[B, 1, 32, 40, 56\]"
    ):
        mae(
            "both_lungs",
            inputs("lung_cancer_risk")["images"],
            torch.ones(2, 3),
            torch.rand(2, 70),
            torch.tensor([0]),
        )
    nodule = inputs("nodule_size")
    for mask in (nodule["lung_mask"][..., :-1], nodule["lung_mask"][:, None]):
        with pytest.raises(InputError, match=r"lung_mask are .* should be \[B, 16, 56, 40\]"):
            model.predict("nodule_size", **{**nodule, "lung_mask": mask})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"voxel_size": None}, "images is given and voxel_size is missing"),
        ({"text_mask": None}, "text_ids is given and text_mask is missing"),
        ({"text_ids": None}, "text_mask is given and text_ids is missing"),
        ({"images": None, "voxel_size": None}, "lung_mask is given and images is missing"),
        ({"question_mask": None}, "question_ids is given and question_mask is missing"),
        ({"question_ids": None}, "question_ids is missing"),
        ({name: value[:0] for name, value in inputs("nodule_size").items()}, r"question_ids is \[0, 6\]"),
        ({"text_ids": torch.ones(2, 0), "text_mask": torch.ones(2, 0)}, r"text_ids is \[2, 0\]"),
    ],
)
def test_half_of_what_belongs_together_is_refused(model: M3FM, changes: dict, said: str) -> None:
    for ask in (model, model.predict, model.attention):
        with pytest.raises(ValueError, match=said):
            ask("nodule_size", **{**inputs("nodule_size"), **changes})


@pytest.mark.parametrize("mm", [0.0, -1.0, np.nan, np.inf])
def test_a_voxel_without_size_is_refused(model: M3FM, mm: float) -> None:
    size = torch.ones(2, 3)
    size[1, 2] = mm
    for ask in (model.predict, model.attention):
        with pytest.raises(ValueError, match="voxel_size is"):
            ask("emphysema", **{**inputs("emphysema"), "voxel_size": size})
    with pytest.raises(InputError, match="the voxel size is"):
        transforms.preprocess(
            np.zeros((9, 9, 9), np.int16),
            (0, 9) * 3,
            (1.0, 1.0, mm),
            RUN.model.scales["heart"],
            masked=False,
        )
