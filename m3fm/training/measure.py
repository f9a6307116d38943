"""What a sample costs on this machine: forward and backward of each scale's micro-batch, timed."""

import time
from collections.abc import Callable, Iterator
from math import prod
from statistics import median

import numpy as np
import torch
from torch import Tensor

from m3fm.clinical.tasks import NO_YES, Task
from m3fm.config.model import Scale
from m3fm.config.sections import TEXT, Costs, RunConfig
from m3fm.core.progress import tracked
from m3fm.core.tokens import encode
from m3fm.dataset.batch import Batch, collate, model_inputs
from m3fm.dataset.mqa import corpus, retrieval_sample
from m3fm.model.ctvit import CTViT
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.model.text import train_tokenizer
from m3fm.model.transformer import recompute_activations
from m3fm.questions.grammar import task_id_questions
from m3fm.training.loop import DTYPES

VOXEL_MM = (2.5, 0.7, 0.7)


def measure_costs(run: RunConfig, device: torch.device, repeats: int) -> Costs:
    """Measure seconds per sample by scale: the median of `repeats` micro-batches after a warm-up.

    Volumes are drawn, texts are those of retrieval, and no data are loaded. On a CPU in float32, in seconds
    of the processor: those of all threads together.
    """
    found: dict[str, dict[str, float]] = {"pretrain": {}, "train": {}}
    with tracked("measuring scale", 2 * len(run.model.scales) + 1) as advance:
        for part, steps in (("pretrain", pretraining_steps), ("train", task_steps)):
            for name, samples, step in steps(run, device):
                seconds = timed(step, device, repeats, warm_up=min(1, repeats - 1))
                found[part][name] = float(f"{seconds / samples:.3g}")
                advance(sum(map(len, found.values())), f"{part} {name}: {found[part][name]} s a sample")
    return Costs(**found)


Step = Callable[[], None]


def pretraining_steps(run: RunConfig, device: torch.device) -> Iterator[tuple[str, int, Step]]:
    """Scale, samples, and forward and backward of a micro-batch of crops, one scale after the other."""
    model = MAE(CTViT(run.model), run.pretrain, run.model.width).to(device)
    _prepare(model, run)
    for name, scale in run.model.scales.items():
        samples = run.pretrain.micro_batch
        noise = torch.rand(samples, prod(scale.grid))
        slices = torch.arange(min(run.pretrain.loss_token_slices, scale.grid[0]))
        tensors = [tensor.to(device) for tensor in (*volumes(scale, samples), noise, slices)]

        def loss(name: str = name, given: list[Tensor] = tensors) -> Tensor:
            return model(name, *given)

        yield name, samples, _step(model, loss, run, device)


def task_steps(run: RunConfig, device: torch.device) -> Iterator[tuple[str, int, Step]]:
    """Yield steps of binary tasks: one for each scale, and one that reads text alone."""
    tasks = {name: _task(name, name) for name in run.model.scales} | {TEXT: _task(TEXT, None)}
    model = M3FM(run.model, tasks).to(device)
    _prepare(model, run)
    seed = run.train.optimizer.seed
    tokenizer = train_tokenizer(corpus(seed), run.model.text.vocabulary)
    rng = np.random.default_rng([seed])
    for name, task in tasks.items():
        samples = run.train.together(task.scale)
        texts = [retrieval_sample("clinical_yes_no", rng) for _ in range(samples)]
        given = model_inputs(collate(texts, tokenizer, run.model)) | inputs(run, task.scale, samples)
        batch = {name: tensor.to(device) for name, tensor in given.items() if tensor is not None}
        questions, _ = zip(*task_id_questions(run.train.task_id_questions, rng))
        encoded = encode(tokenizer, questions, run.model.text.max_question_tokens)
        others = [torch.from_numpy(array).to(device) for array in encoded]

        def loss(name: str = name, batch: Batch = batch, others: list[Tensor] = others) -> Tensor:
            logits, known = model(name, **batch)
            more = model.task_logits(model.encode_question(*others))
            return logits.float().square().mean() + torch.cat([known, more]).float().square().mean()

        yield name, samples, _step(model, loss, run, device)


def inputs(run: RunConfig, scale: str | None, samples: int) -> Batch:
    """Draw volumes of a scale, as `M3FM.forward` takes them; nothing without a scale."""
    if scale is None:
        return {}
    images, size = volumes(run.model.scales[scale], samples)
    # The nodule scale is the one whose attention has a mask.
    mask = {"lung_mask": torch.ones_like(images[:, 0], dtype=torch.bool)} if scale == "nodule" else {}
    return {"images": images, "voxel_size": size, **mask}


def volumes(scale: Scale, samples: int) -> tuple[Tensor, Tensor]:
    """Draw volumes [B, 1, D, H, W] in [-1, 1] and voxel sizes [B, 3] in mm."""
    return torch.rand(samples, 1, *scale.shape) * 2 - 1, torch.tensor([VOXEL_MM]).expand(samples, -1)


def timed(work: Callable[[], object], device: torch.device, repeats: int, warm_up: int) -> float:
    """Measure the median seconds of a call, each waited for; on a CPU, processor seconds."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times = []
    for turn in range(warm_up + repeats):
        _wait(device)
        started = clock()
        work()
        _wait(device)
        if turn >= warm_up:
            times.append(clock() - started)
    return median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _prepare(model: torch.nn.Module, run: RunConfig) -> None:
    model.train()
    if run.launch.activation_checkpointing:
        recompute_activations(model)


def _step(model: torch.nn.Module, loss: Callable[[], Tensor], run: RunConfig, device: torch.device) -> Step:
    precision = run.launch.precision
    half = device.type == "cuda" and precision in DTYPES

    def step() -> None:
        model.zero_grad(set_to_none=False)
        with torch.autocast(device.type, dtype=DTYPES.get(precision), enabled=half):
            value = loss()
        value.backward()

    return step


def _task(name: str, scale: str | None) -> Task:
    return Task(name=name, title=name, answers=NO_YES, head="binary", scale=scale, source="none")
