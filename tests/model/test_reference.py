"""The authors' weights give the authors' numbers, and a file that is not theirs is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from m3fm.errors import InputError
from m3fm.model.checkpoint import load_model, load_reference, save_model
from m3fm.model.m3fm import M3FM
from m3fm.presets import PAPER_SCALES

FILE = Path(__file__).parents[3] / "shared" / "parity" / "reference_tiny.npz"
HEADS = {
    "cancer_risk": ("cancer_risk", 7),
    "heart": ("binary", 2),
    "nodule_size": ("nodule_size", 6),
    "emphysema": ("binary", 2),
}
SIZES = {"image_heads": 4, "task_heads": 4, "text_heads": 4, "heads": HEADS}


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    if not FILE.is_file():
        pytest.skip(f"{FILE.name}, the numbers of the authors' code, is not beside the repository")
    with np.load(FILE) as content:
        return dict(content)


@pytest.fixture
def state_dict(published) -> dict[str, Tensor]:
    return {
        name.removeprefix("w:"): torch.from_numpy(array.copy())
        for name, array in published.items()
        if name.startswith("w:")
    }


def inputs(published, task: str) -> dict[str, Tensor]:
    start = f"{task}:in:"
    return {
        name.removeprefix(start): torch.from_numpy(array)
        for name, array in published.items()
        if name.startswith(start)
    }


def assert_parity(model: M3FM, published) -> None:
    for task in HEADS:
        found = model.predict(task, **inputs(published, task)).numpy()
        assert found.shape == published[f"{task}:out"].shape
        np.testing.assert_allclose(found, published[f"{task}:out"], atol=1e-5, rtol=0)


def test_published_weights_give_the_published_numbers(published, state_dict):
    assert_parity(load_reference(state_dict, **SIZES), published)


def test_from_a_pth_file_and_through_our_own_checkpoint(published, state_dict, tmp_path):
    torch.save(
        {"model": {f"module.{name}": tensor for name, tensor in state_dict.items()}}, tmp_path / "a.pth"
    )
    model = load_reference(tmp_path / "a.pth", **SIZES)
    assert_parity(model, published)
    save_model(model, tmp_path / "ours")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "config.json", "model.safetensors", "tasks.json",
    ]  # fmt: skip
    assert_parity(load_model(tmp_path / "ours"), published)
    save_file({name: tensor.contiguous() for name, tensor in state_dict.items()}, tmp_path / "a.safetensors")
    assert_parity(load_reference(str(tmp_path / "a.safetensors"), **SIZES), published)


def test_outputs_of_a_shared_head_by_place(published, state_dict):
    places = {**HEADS, "emphysema": ("binary", slice(2, 4)), "heart": ("binary", [0, 1])}
    backwards = dict(reversed(places.items()))
    assert_parity(load_reference(state_dict, **{**SIZES, "heads": backwards}), published)
    swapped = {**HEADS, "emphysema": ("binary", range(0, 2)), "heart": ("binary", range(2, 4))}
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_parity(load_reference(state_dict, **{**SIZES, "heads": swapped}), published)


def test_every_tensor_counts(published, state_dict):
    """A tensor that is changed changes an answer, or the file is refused: none is dropped unseen.

    Two cannot change an answer: a constant added to all keys moves no softmax.
    """
    silent = ("attn.k.bias", "attention.self.key.bias")
    for name in state_dict:
        if name.endswith(silent):
            continue
        changed = {**state_dict, name: state_dict[name] + torch.rand(state_dict[name].shape)}
        try:
            model = load_reference(changed, **SIZES)
        except InputError:
            continue
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_parity(model, published)


def test_a_missing_tensor_is_named(state_dict):
    for name in list(state_dict):
        if ".conv" in name or "patch_embed" in name or "hazard_layer" in name:
            continue  # there twice, or a constant
        less = {key: tensor for key, tensor in state_dict.items() if key != name}
        with pytest.raises(InputError, match=r"lacks|has no head"):
            load_reference(less, **SIZES)


@pytest.mark.parametrize(
    "name",
    [
        "encoder_img.blocks.0.attn.extra.weight",
        "encoder_txt.pooler.dense.weight",
        "img_tokenizer.tokenizer_(8, 32, 48).extra",
        "multi_task_head.binary.extra.weight",
        "something",
    ],
)
def test_an_unused_tensor_is_named(state_dict, name):
    with pytest.raises(InputError, match="has no use for") as caught:
        load_reference({**state_dict, name: torch.zeros(3)}, **SIZES)
    assert name.split(".", 1)[-1].replace("attn.", "") in str(caught.value).replace("attn.", "")


def test_duplicates_that_differ_and_other_constants_are_refused(state_dict):
    name = "img_tokenizer.conv2.bias"
    with pytest.raises(InputError, match=r"conv2.bias, which should be some tokenizer's"):
        load_reference({**state_dict, name: state_dict[name] + 1}, **SIZES)
    name = "multi_task_head.hazard_layer.upper_triagular_mask"
    with pytest.raises(InputError, match="upper_triagular_mask"):
        load_reference({**state_dict, name: state_dict[name].T}, **SIZES)


def test_what_the_caller_says_must_fit(state_dict):
    for heads, said in (
        ({**HEADS, "emphysema": ("other", 2)}, "no head 'other'"),
        ({**HEADS, "emphysema": ("binary", 3)}, "cannot have outputs 3"),
        ({**HEADS, "emphysema": ("binary", [2, 0])}, r"cannot have outputs \[2, 0\]"),
        ({"heart": ("binary", 2)}, "another shape|no use for"),
    ):
        with pytest.raises(InputError, match=said):
            load_reference(state_dict, **{**SIZES, "heads": heads})


def test_a_pickle_of_anything_else_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"task_registers": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="holds more than tensors"):
        load_reference(tmp_path / "trap.pth", **SIZES)
    assert not (tmp_path / "sprung").exists()
    (tmp_path / "cut.pth").write_bytes((tmp_path / "trap.pth").read_bytes()[:100])
    for path in (tmp_path / "cut.pth", tmp_path / "none.pth"):
        with pytest.raises(InputError, match=path.name):
            load_reference(path, **SIZES)


def test_their_behaviour_is_switched_on(state_dict):
    config = load_reference(state_dict, **SIZES).config
    assert not config.monotone_risk
    assert not config.text.close_truncated
    assert not any(scale.spacing_follows for scale in config.scales.values())
    assert [scale.patch for scale in config.scales.values()] == [(4, 16, 16)] + [(16, 16, 16)] * 3


def test_the_published_size_has_the_paper_s_scales():
    assert {scale.shape for scale in PAPER_SCALES.values()} == {
        (16, 448, 320), (128, 320, 448), (128, 192, 224), (128, 448, 320),
    }  # fmt: skip
