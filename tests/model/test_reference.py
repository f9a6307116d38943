"""The authors' weights give the authors' numbers, and a file that is not theirs is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from samples import authors_state_dict
from torch import Tensor

from m3fm.config.presets import PAPER_SCALES
from m3fm.core.errors import InputError
from m3fm.model.checkpoint import load_model, load_reference, save_model
from m3fm.model.m3fm import M3FM

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
        ({"heart": ("binary", 2)}, "another shape|no task has"),
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


DRAWN_HEADS = {"risk": 7, "mixed": 5}
MAPPED = {"risk": ("risk", 7), "two": ("mixed", 2), "three": ("mixed", 3)}
DRAWN_SIZES = {"image_heads": 2, "task_heads": 4, "text_heads": 2, "heads": MAPPED}
DRAWN = authors_state_dict(DRAWN_HEADS)
WORDS = "encoder_txt.embeddings.word_embeddings.weight"
PROJECTION = "img_tokenizer.tokenizer_(4, 6, 4).patch_embed.proj"


def heads_of(**mixed: object) -> dict[str, object]:
    return {"risk": ("risk", 7), **mixed}


def drawn_inputs() -> dict[str, Tensor]:
    ids = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])
    asked = {f"{kind}_{part}": value for kind in ("text", "question") for part, value in
             (("ids", ids), ("mask", (ids != 1).long()))}  # fmt: skip
    return {**asked, "images": torch.linspace(-1, 1, 192).view(2, 1, 4, 6, 4), "voxel_size": torch.ones(2, 3)}


def test_each_task_has_the_outputs_that_it_was_given():
    """By brute force: one head of five outputs, and its softmax taken over those that are a task's."""
    answers = load_reference(DRAWN, **{**DRAWN_SIZES, "heads": heads_of(all=("mixed", 5))})
    whole = answers.predict("all", **drawn_inputs()).log()
    for mixed, expected in (
        ({"two": ("mixed", 2), "three": ("mixed", 3)}, {"two": (0, 2), "three": (2, 5)}),
        ({"three": ("mixed", slice(0, 3)), "two": ("mixed", range(3, 5))}, {"two": (3, 5), "three": (0, 3)}),
        ({"two": ("mixed", slice(-2, None)), "three": ["mixed", np.int64(3)]}, None),
        ({"two": ("mixed", [3, 4]), "three": ("mixed", [0, 1, 2])}, {"two": (3, 5), "three": (0, 3)}),
    ):
        if expected is None:
            with pytest.raises(InputError, match="cannot have outputs 3"):
                load_reference(DRAWN, **{**DRAWN_SIZES, "heads": heads_of(**mixed)})
            continue
        model = load_reference(DRAWN, **{**DRAWN_SIZES, "heads": heads_of(**mixed)})
        for task, (low, high) in expected.items():
            found = model.predict(task, **drawn_inputs())
            torch.testing.assert_close(found, whole[:, low:high].softmax(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        (heads_of(a=("mixed", slice(0, 3)), b=("mixed", slice(2, 5))), "output 2 .* is given to 'a' and 'b'"),
        (heads_of(a=("mixed", slice(0, 2)), b=("mixed", slice(3, 5))), r"no task has outputs \[2\] of"),
        (heads_of(a=("mixed", [-5, -4]), b=("mixed", slice(2, 5))), "'a' cannot have outputs"),
        (heads_of(a=("mixed", [1, 0]), b=("mixed", slice(2, 5))), "'a' cannot have outputs"),
        (heads_of(a=("mixed", slice(0, 5, 2)), b=("mixed", [1, 3])), "'a' cannot have outputs"),
        (heads_of(a=("mixed", 0), b=("mixed", 5)), "'a' cannot have outputs 0"),
        (heads_of(a=("mixed", -1), b=("mixed", 5)), "'a' cannot have outputs -1"),
        (heads_of(a=("mixed", 1), b=("mixed", 4)), "one output of head 'mixed', whose softmax is 1"),
        (heads_of(a=("mixed", 2.0), b=("mixed", 3)), r"expected \(head, outputs\)"),
        (heads_of(a=("mixed", "5")), r"expected \(head, outputs\)"),
        (heads_of(a="mixed"), r"expected \(head, outputs\)"),
        (heads_of(a=(["mixed"], 5)), r"expected \(head, outputs\)"),
        (heads_of(a=("other", 5)), "no head 'other', which task 'a'"),
        ({"risk": ("risk", 7)}, "no use for multi_task_head.mixed.bias"),
        ({}, "should map tasks to outputs"),
        (None, "should map tasks to outputs"),
    ],
    ids=str,
)
def test_heads_that_do_not_give_every_output_to_one_task_are_refused(heads, said):
    with pytest.raises(InputError, match=said):
        load_reference(DRAWN, **{**DRAWN_SIZES, "heads": heads})


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("heads.mixed.out.bias", torch.ones(5), "no use for heads.mixed.out.bias"),
        ("task_encoder.registers", torch.ones(1, 3, 24), "no use for task_encoder.registers"),
        ("image_to_task.bias", torch.ones(24), "no use for image_to_task.bias"),
        ("task_registers2", torch.ones(1, 3, 24), "no use for task_registers2"),
        ("module.task_registers", torch.ones(1, 3, 24), "no use for module.task_registers"),
        ("multi_task_head.foreign.decoder.bias", torch.ones(5), "no use for .*foreign.decoder.bias"),
        ("multi_task_head.mixed.decoder.bias", torch.ones(5), "the same as multi_task_head.mixed.bias"),
        ("img_tokenizer.conv1.weight", DRAWN["img_tokenizer.conv2.weight"], "conv1.weight, .*some"),
        (
            "img_tokenizer.conv4.weight",
            DRAWN["img_tokenizer.conv1.weight"],
            r"conv\d.weight, .*no other copy",
        ),
        ("encoder_txt.embeddings.position_ids", torch.arange(29)[None], "another .*position_ids"),
        ("encoder_img.blocks.1.attn.q.weight", torch.ones(24, 23), r"attn.q.weight \(24, 23\) instead"),
        ("encoder_img.blocks.1.attn.k.bias", torch.ones(()), r"attn.k.bias \(\) instead of \(24,\)"),
        ("encoder_img.norm.weight", torch.ones(1, 24), "encoder_img.norm.weight is .* 1 axes"),
        ("task_registers", torch.ones(3, 24), "task_registers is .* 3 axes"),
        (WORDS, torch.ones(640), "word_embeddings.weight is .* 2 axes"),
        (f"{PROJECTION}.weight", torch.ones(24, 1, 2, 2), "proj.weight is .* 5 axes"),
        (f"{PROJECTION}.weight", torch.ones(24, 1, 2, 2, 0), "patch.2: "),
        (f"{PROJECTION}.weight", torch.ones(24, 1, 3, 2, 2), "is not a whole number of patches"),
        (f"{PROJECTION}.weight", torch.ones(24, 2, 2, 2, 2), r"instead of \(24, 1, 2, 2, 2\)"),
        ("cross_embedding_img.bias", torch.ones(24) / 0, "not finite in cross_embedding_img.bias"),
        ("multi_task_head.risk.bias", torch.full((7,), torch.nan), "not finite in .*risk.bias"),
        (
            "encoder_img.norm.bias",
            torch.ones(24, dtype=torch.int64),
            "other than real numbers in encoder_img",
        ),
        ("encoder_img.norm.bias", torch.ones(24) * 1j, "other than real numbers in encoder_img.norm.bias"),
        ("epoch", 3, "not a tensor: epoch"),
    ],
)
def test_what_is_not_in_the_authors_file_is_refused_by_its_name_there(name, tensor, said):
    for changed in ({**DRAWN, name: tensor}, {name: tensor, **DRAWN, **{name: tensor}}):
        with pytest.raises(InputError, match=said):
            load_reference(changed, **DRAWN_SIZES)


def test_a_missing_tensor_is_called_as_in_the_file():
    copies = [name for name in DRAWN if ".conv" in name or name.endswith("triagular_mask")]
    for name in DRAWN.keys() - copies:
        with pytest.raises(InputError) as caught:
            load_reference({key: tensor for key, tensor in DRAWN.items() if key != name}, **DRAWN_SIZES)
        expected = "has no head" if name.startswith("multi_task_head") and name.count(".") == 2 else name
        assert expected in str(caught.value)
    load_reference({name: tensor for name, tensor in DRAWN.items() if name not in copies}, **DRAWN_SIZES)


def test_a_head_may_have_any_name():
    renamed = {name.replace("_head.mixed.", "_head.Mixed-2."): tensor for name, tensor in DRAWN.items()}
    heads = heads_of(two=("Mixed-2", 2), three=("Mixed-2", 3))
    found = load_reference(renamed, **{**DRAWN_SIZES, "heads": heads}).predict("two", **drawn_inputs())
    torch.testing.assert_close(found, load_reference(DRAWN, **DRAWN_SIZES).predict("two", **drawn_inputs()))
    for name in ("keys", "mixed.out"):
        with pytest.raises(InputError, match=f"no head '{name}'"):
            load_reference(
                {**DRAWN, f"multi_task_head.{name}.bias": torch.ones(2)},
                **{**DRAWN_SIZES, "heads": {**MAPPED, "other": (name, 2)}},
            )


def test_registers_may_be_none():
    model = load_reference({**DRAWN, "task_registers": torch.ones(1, 0, 24)}, **DRAWN_SIZES)
    assert model.predict("two", **drawn_inputs()).shape == (2, 2)


def test_copies_that_are_the_same_are_taken():
    whole = {
        **DRAWN,
        "multi_task_head.mixed.decoder.bias": DRAWN["multi_task_head.mixed.bias"].double(),
        "encoder_txt.embeddings.position_ids": torch.arange(30)[None],
    }
    found = load_reference(whole, **DRAWN_SIZES).predict("two", **drawn_inputs())
    torch.testing.assert_close(found, load_reference(DRAWN, **DRAWN_SIZES).predict("two", **drawn_inputs()))


@pytest.mark.parametrize(
    "sizes", [{"image_heads": 5}, {"task_heads": 7}, {"text_heads": 3}, {"image_heads": 0}]
)
def test_heads_of_attention_must_divide_the_width(sizes):
    with pytest.raises(InputError, match="heads"):
        load_reference(DRAWN, **{**DRAWN_SIZES, **sizes})


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_that_is_damaged_is_named(name, tmp_path):
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(
        {k: t.clone() for k, t in DRAWN.items()}, path
    )
    content = path.read_bytes()
    for damaged in (b"", b"hello", content[:4], content[: len(content) // 2], content[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=name):
            load_reference(path, **DRAWN_SIZES)
    for missing in (tmp_path, tmp_path / "none.pth", ""):
        with pytest.raises(InputError, match="cannot be read"):
            load_reference(missing, **DRAWN_SIZES)
