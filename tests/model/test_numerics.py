"""Half precision is close, recomputed activations change nothing, and the compiler takes each scale whole."""

import numpy as np
import pytest
import torch
from samples import OF_SCALE, RUN, draw_weights, inputs
from torch import Tensor

from m3fm.clinical.tasks import TASKS
from m3fm.model.heads import task_loss
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.model.transformer import Transformer, compile_transformers, recompute_activations

TASKS_HERE = (*OF_SCALE.values(), "lung_rads", "clinical_number")


@pytest.fixture(scope="module")
def model() -> M3FM:
    model = M3FM(RUN.model)
    draw_weights(model)
    return model.eval()


def gradients(model: M3FM, task: str) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    logits = model(task, **inputs(task)).logits
    shape = (2, 3) if TASKS[task].loss == "digits" else (2, 6) if TASKS[task].loss == "hazard" else (2, 1)
    loss = task_loss(TASKS[task], logits, torch.ones(shape), torch.ones(shape))
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("task", TASKS_HERE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_autocast_is_finite_and_close(model, task, dtype, tolerance):
    exact = model.predict(task, **inputs(task))
    loss, grads = gradients(model, task)
    with torch.autocast("cpu", dtype=dtype):
        half = model.predict(task, **inputs(task))
        half_loss, half_grads = gradients(model, task)
    torch.testing.assert_close(half, exact, atol=tolerance, rtol=0)
    assert half.dtype == torch.float32, "softmax and sigmoid are not computed in half precision"
    torch.testing.assert_close(half_loss, loss, atol=5 * tolerance, rtol=5 * tolerance)
    assert all(torch.isfinite(g).all() for g in half_grads)
    a, b = (torch.cat([g.flatten() for g in gs]) for gs in (grads, half_grads))
    assert torch.cosine_similarity(a, b, dim=0) > 0.99


def test_a_half_precision_model_is_finite_and_close(model):
    half = M3FM(RUN.model).eval()
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    for task in TASKS_HERE:
        low = {n: t.bfloat16() if n == "images" else t for n, t in inputs(task).items()}
        torch.testing.assert_close(
            half.predict(task, **low), model.predict(task, **inputs(task)), atol=0.05, rtol=0
        )


def test_extreme_inputs_stay_finite(model):
    for task in TASKS_HERE:
        extreme = inputs(task)
        extreme["text_mask"] = torch.zeros_like(extreme["text_mask"])
        if "images" in extreme:
            extreme["images"] = torch.ones_like(extreme["images"])
            extreme["voxel_size"] = torch.full_like(extreme["voxel_size"], 30.0)
        if "lung_mask" in extreme:
            extreme["lung_mask"] = torch.zeros_like(extreme["lung_mask"])
        assert torch.isfinite(model.predict(task, **extreme)).all()


@pytest.mark.parametrize("scale", list(OF_SCALE))
def test_activation_checkpointing_gives_the_same_gradients_from_less(scale):
    task = OF_SCALE[scale]
    plain, saving = M3FM(RUN.model), M3FM(RUN.model)
    draw_weights(plain)
    saving.load_state_dict(plain.state_dict())
    recompute_activations(saving)
    kept = [0, 0]
    for number, model in enumerate((plain, saving)):

        def pack(tensor: Tensor, number: int = number) -> Tensor:
            kept[number] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            gradients(model, task)
    torch.testing.assert_close(gradients(saving, task), gradients(plain, task), atol=0, rtol=0)
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.integration
def test_texts_of_many_lengths_are_compiled_for_any_length(model):
    """Past its limit of compilations the compiler would go on without compiling; here it raises then."""
    torch.compiler.reset()
    compiled = M3FM(RUN.model).eval()
    compiled.load_state_dict(model.state_dict())
    compile_transformers(compiled, backend="eager")
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for task in ("nodule_size", "emphysema"):
            for length in range(12, 24):
                given = inputs(task, length=length)
                torch.testing.assert_close(compiled.predict(task, **given), model.predict(task, **given))
        mae = MAE(compiled.ctvit, RUN.pretrain, RUN.model.width)
        compile_transformers(mae.decoder, backend="eager")
        for name, task in OF_SCALE.items():
            given = inputs(task)
            noise = torch.rand(2, np.prod(RUN.model.scales[name].grid))
            for slices in (torch.tensor([0]), torch.tensor([0, 1])):
                mae(name, given["images"], given["voxel_size"], noise, slices).backward()


@pytest.mark.integration
@pytest.mark.parametrize("scale", list(OF_SCALE))
def test_the_compiler_takes_encoders_whole(model, scale):
    """`fullgraph` raises at any graph break; the backend leaves out only the code generation of C++."""
    torch.compiler.reset()
    given = inputs(OF_SCALE[scale])
    mask = None if "lung_mask" not in given else model.ctvit.token_mask(scale, given["lung_mask"])
    tokens = model.ctvit.tokenizer(scale)(given["images"], given["voxel_size"])
    for part, queries in ((model.ctvit.encoder, None), (model.task_encoder.encoder, 1)):
        compiled = torch.compile(part, fullgraph=True, dynamic=False, backend="aot_eager")
        torch.testing.assert_close(
            compiled(tokens, mask, queries), part(tokens, mask, queries), atol=1e-5, rtol=1e-4
        )
        assert isinstance(part, Transformer)


@pytest.mark.integration
def test_the_compiler_takes_mae_whole(model):
    torch.compiler.reset()
    mae = MAE(model.ctvit, RUN.pretrain, RUN.model.width)
    given, grid = inputs("emphysema"), RUN.model.scales["both_lungs"].grid
    noise = torch.rand(2, grid[0] * grid[1] * grid[2])
    arguments = ("both_lungs", given["images"], given["voxel_size"], noise, torch.tensor([1]))
    compiled = torch.compile(mae, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), mae(*arguments))
