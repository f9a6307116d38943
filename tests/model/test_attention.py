"""Attention maps: the weights that the <TASK> token gives, and where in the CT they lie."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import OF_SCALE, RUN, draw_weights, inputs

from m3fm.config.model import Scale
from m3fm.ct import transforms
from m3fm.model.m3fm import M3FM


@pytest.fixture(scope="module")
def model() -> M3FM:
    model = M3FM(RUN.model)
    draw_weights(model)
    return model.eval()


@pytest.mark.parametrize("scale", list(OF_SCALE))
def test_weights_are_those_that_the_answer_is_made_of(model, scale):
    """A brute force: softmax of the <TASK> query against every key, head by head, from the block's parts."""
    task = OF_SCALE[scale]
    arguments = inputs(task)
    maps = model.attention(task, **arguments)
    seen = {}
    last = model.task_encoder.encoder.blocks[-1]
    handle = last.register_forward_pre_hook(lambda _, args: seen.update(tokens=args[0], keep=args[1]))
    model.predict(task, **arguments)
    handle.remove()
    x, width, heads = last.norm1(seen["tokens"]), RUN.model.width, RUN.model.heads
    weight, bias = last.attn.qkv.weight, last.attn.qkv.bias
    q, k = (x @ weight[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width] for i in (0, 1))
    expected = torch.zeros(x.shape[:2])
    part = width // heads
    for sample in range(len(x)):
        keep = torch.ones(x.shape[1], dtype=torch.bool) if seen["keep"] is None else seen["keep"][sample]
        for head in range(heads):
            chosen = slice(head * part, (head + 1) * part)
            scores = k[sample, :, chosen] @ q[sample, 0, chosen] / part**0.5
            expected[sample, keep] += scores[keep].softmax(0) / heads
    patches, words = np.prod(RUN.model.scales[scale].grid), arguments["text_ids"].shape[1]
    assert maps.image.shape == (2, *RUN.model.scales[scale].grid)
    torch.testing.assert_close(maps.image.flatten(1), expected[:, 5 : 5 + patches], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(maps.text, expected[:, -words:], atol=1e-6, rtol=1e-5)
    others = expected[:, :5].sum(1)
    torch.testing.assert_close(maps.image.sum((1, 2, 3)) + maps.text.sum(1) + others, torch.ones(2))
    assert maps.image.std() > 0


def test_without_image_or_text_there_is_no_map_of_it(model):
    both = inputs("emphysema")
    question = {name: both[name] for name in ("question_ids", "question_mask")}
    image = {name: both[name] for name in ("images", "voxel_size")}
    text = {name: both[name] for name in ("text_ids", "text_mask")}
    assert model.attention("emphysema", **question) == (None, None)
    assert model.attention("emphysema", **question, **image).text is None
    assert model.attention("emphysema", **question, **text).image is None
    text["text_mask"] = text["text_mask"].clone()
    text["text_mask"][:, 5:] = 0
    assert (model.attention("emphysema", **question, **text).text[:, 5:] == 0).all()


def test_voxels_outside_the_lung_are_not_attended_to(model):
    maps = model.attention("nodule_size", **inputs("nodule_size"))
    mask = inputs("nodule_size")["lung_mask"]
    outside = ~model.ctvit.token_mask("nodule", mask)[:, 1:].unflatten(1, RUN.model.scales["nodule"].grid)
    assert (maps.image[outside] == 0).all()
    assert (maps.image[~outside] > 0).all()


@given(st.integers(0, 2**32), st.data())
def test_a_patch_comes_back_to_where_its_voxels_were(seed, data):
    """One voxel of the volume is bright; the patch that it is seen in is the map's maximum around it."""
    rng = np.random.default_rng(seed)
    scale = Scale(shape=(8, 16, 24), patch=(4, 4, 8), hu_window=(-1000.0, 0.0))
    sizes = [data.draw(st.integers(2, 60)) for _ in range(3)]
    low = [int(rng.integers(0, 5)) for _ in range(3)]
    shape = tuple(start + size + int(rng.integers(0, 5)) for start, size in zip(low, sizes, strict=True))
    box = tuple(edge for start, size in zip(low, sizes, strict=True) for edge in (start, start + size))
    grid = scale.grid
    at = tuple(int(rng.integers(n)) for n in grid)
    patches = np.zeros(grid, np.float32)
    patches[at] = 1.0
    back = transforms.patches_to_volume(patches, box, scale, shape)
    assert back.shape == shape
    outside = np.ones(shape, bool)
    outside[box[0] : box[1], box[2] : box[3], box[4] : box[5]] = False
    assert (back[outside] == 0).all()
    for axis in range(3):  # the voxel nearest to the patch's middle is brighter than all that are farther
        length, target = sizes[axis], scale.shape[axis]
        middle = (at[axis] + 0.5) * scale.patch[axis]
        places = np.arange(length) + 0.5
        places = places * target / length if length > target else places + (target - length) // 2
        profile = back.max(axis=tuple(a for a in range(3) if a != axis))[low[axis] : low[axis] + length]
        if profile.max() > 0:
            assert abs(places[profile.argmax()] - middle) <= scale.patch[axis]


def test_a_constant_map_stays_constant_in_the_box():
    scale = RUN.model.scales["both_lungs"]
    box = (3, 60, 5, 70, 0, 90)
    back = transforms.patches_to_volume(np.full(scale.grid, 0.25, np.float32), box, scale, (64, 80, 96))
    np.testing.assert_allclose(back[3:60, 5:70, 0:90], 0.25, rtol=1e-6)
    assert back.sum() == pytest.approx(0.25 * 57 * 65 * 90, rel=1e-5)
