"""The training loop: there is one, for pretraining, multitask training and fine-tuning alike."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from m3fm.artifacts import text_digest
from m3fm.config import LaunchConfig, OptimizerConfig
from m3fm.model.transformer import compile_transformers, recompute_activations, upcast
from m3fm.training.planner import Unit, assign

BLOCKS = "ctvit.encoder.blocks."
"""How the names of the image encoder's parameters begin."""
BUCKET_BYTES = 64 << 20
"""Gradients that are reduced together."""
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


Batch = dict[str, Tensor]


class Objective(Protocol):
    """What the loop trains. A batch is a function of the step and the unit, whoever loads it and whenever."""

    model: nn.Module
    names: list[str]
    """Of the units: tasks or scales."""

    def units(self, step: int) -> list[Unit]:
        """The micro-batches of an optimiser step."""

    def load(self, step: int, unit: Unit) -> Batch:
        """The tensors of a micro-batch."""

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        """The mean loss of a micro-batch."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Where a worker stands, and whom it tells."""

    rank: int
    size: int
    device: torch.device
    restored: Path | None
    report: Callable[[int, Callable[[Path], None] | None], None]
    """Every worker calls it with the steps done; the first brings a function that writes the checkpoint."""
    tell: Callable[[int, float, float], None]
    """The first worker calls it after each step: steps done, mean loss, share of its time without data."""


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to nothing; a function of the step alone."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by weight decay (none for biases, norms and embeddings) and by depth.

    A block's learning rate is `layer_decay` times the next one's, from the heads down to the tokenizers.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = [int(name.split(BLOCKS)[1].split(".")[0]) for name, _ in named if BLOCKS in name]
    depth = max(blocks, default=-1) + 1
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        level = depth
        if "ctvit.tokenizers." in name:
            level = -1
        elif BLOCKS in name:
            level = int(name.split(BLOCKS)[1].split(".")[0])
        scale = config.layer_decay ** (depth - level)
        decay = config.weight_decay if parameter.ndim > 1 and "position" not in name else 0.0
        group = groups.setdefault((scale, decay), {"params": [], "scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


class Share(Dataset[tuple[int, Unit, Batch]]):
    """This worker's micro-batches from a step on, in order."""

    def __init__(self, objective: Objective, first: int, last: int, worker: Worker) -> None:
        self.objective = objective
        self.items = [
            (step, unit)
            for step in range(first, last)
            for unit in assign(objective.units(step), worker.size)[worker.rank]
        ]

    def __len__(self) -> int:
        """Micro-batches to come."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, Unit, Batch]:
        """Step, unit, tensors."""
        step, unit = self.items[index]
        return step, unit, self.objective.load(step, unit)


class Waiting:
    """Items of an iterator, and how much of the time since the first was asked for went by in waiting."""

    def __init__(self, items: Iterator[tuple[int, Unit, Batch]]) -> None:
        self.items = items
        self.began = time.monotonic()
        self.waited = 0.0

    @property
    def share(self) -> float:
        """Of the time so far."""
        return self.waited / max(time.monotonic() - self.began, 1e-9)

    def __iter__(self) -> Iterator[tuple[int, Unit, Batch]]:
        """The items."""
        return self

    def __next__(self) -> tuple[int, Unit, Batch]:
        """The next item, once it is there."""
        asked = time.monotonic()
        try:
            return next(self.items)
        finally:
            self.waited += time.monotonic() - asked


def by_step(
    items: Iterator[tuple[int, Unit, Batch]], first: int, last: int
) -> Iterator[list[tuple[Unit, Batch]]]:
    """Group a worker's micro-batches by optimiser step; a step without any gives an empty list."""
    pending = next(items, None)
    for step in range(first, last):
        group = []
        while pending is not None and pending[0] == step:
            group.append(pending[1:])
            pending = next(items, None)
        yield group


def accumulate(
    objective: Objective,
    step: int,
    work: list[tuple[Unit, Batch]],
    precision: str,
    scaler: torch.amp.GradScaler,
    seed: int,
) -> tuple[Tensor, list[Tensor]]:
    """Forward and backward of a worker's micro-batches.

    Gives the sums of losses and their counts, by name [2, n], and the loss of each micro-batch.
    """
    device = next(objective.model.parameters()).device
    losses, each = torch.zeros(2, len(objective.names), device=device), []
    for unit, batch in work:
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        # Dropout must not depend on which worker runs the unit, nor on what it ran before.
        torch.manual_seed(int(text_digest(f"{seed} {step} {unit.name} {unit.index}")[:8], 16))
        with torch.autocast(device.type, dtype=DTYPES.get(precision), enabled=precision in DTYPES):
            loss = objective.loss(unit, batch)
        scaler.scale(loss * unit.weight).backward()
        each.append(loss.detach().float())
        sums = losses[:, objective.names.index(unit.name)]
        sums += torch.stack([each[-1], losses.new_ones(())])
    return losses, each


def reduce_gradients(parameters: list[nn.Parameter], losses: Tensor) -> None:
    """Sum gradients and losses over all workers, in place; a parameter that nobody touched has gradient zero.

    In buckets: each is on its way while the next one is filled, whoever has touched which parameter.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if not dist.is_initialized():
        return
    tensors = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sent = [(bucket, *_send(bucket)) for bucket in [*_buckets(tensors), [losses]]]
    for bucket, flat, handle in sent:
        handle.wait()
        for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket])):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors in order, as many together as fill a bucket."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.nbytes for t in bucket) + tensor.nbytes > BUCKET_BYTES:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _send(bucket: list[Tensor]) -> tuple[Tensor, Any]:
    flat = torch.cat([upcast(tensor).flatten() for tensor in bucket])
    return flat, dist.all_reduce(flat, async_op=True)


def _of_all(units: list[Unit], worker: Worker) -> list[Unit]:
    """Units that each worker names, of all workers."""
    gathered = [units for _ in range(worker.size)]
    if dist.is_initialized():
        dist.all_gather_object(gathered, units)
    return [unit for part in gathered for unit in part]


class Stateful(Protocol):
    """What has a state to save: the optimiser, the gradient scaler."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state."""


def save_state(
    directory: Path, model: nn.Module, stateful: Mapping[str, Stateful], state: Mapping[str, Any]
) -> None:
    """Write all that a later start needs: weights, optimiser and scaler, and the losses so far.

    Nothing random has a state of its own: every draw is a function of the seed, the step and the unit.
    """
    save_file(model.state_dict(), directory / "model.safetensors")
    torch.save({name: part.state_dict() for name, part in stateful.items()}, directory / "trainer.pt")
    (directory / "state.json").write_text(json.dumps(state))


def restore(directory: Path, model: nn.Module, stateful: Mapping[str, Stateful]) -> dict[str, Any]:
    """Read what `save_state` wrote."""
    model.load_state_dict(load_file(directory / "model.safetensors"))
    saved = torch.load(directory / "trainer.pt", weights_only=True)
    for name, part in stateful.items():
        part.load_state_dict(saved[name])
    state: dict[str, Any] = json.loads((directory / "state.json").read_text())
    return state


def train(objective: Objective, config: OptimizerConfig, launch: LaunchConfig, worker: Worker) -> None:
    """Run the optimiser steps that are left. Every worker calls this and ends with the same parameters.

    Raises FloatingPointError that names the step and the micro-batches when a loss is not finite: each is a
    function of the seed, the step, its task and its number.
    """
    model = objective.model.to(worker.device).train()
    if launch.activation_checkpointing:
        recompute_activations(model)
    if launch.compile:
        compile_transformers(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameter_groups(model, config), lr=config.lr, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler(worker.device.type, enabled=launch.precision == "float16")
    stateful: dict[str, Stateful] = {"optimizer": optimizer, "scaler": scaler}
    state: dict[str, Any] = {"step": 0, "history": []}
    if worker.restored is not None:
        state = restore(worker.restored, model, stateful)
    first = state["step"]
    names = objective.names
    share = Share(objective, first, config.steps, worker)
    loader = DataLoader(
        share, batch_size=None, num_workers=launch.loaders, pin_memory=worker.device.type == "cuda"
    )
    items = Waiting(iter(loader))
    for step, work in enumerate(by_step(items, first, config.steps), start=first):
        losses, each = accumulate(objective, step, work, launch.precision, scaler, config.seed)
        reduce_gradients(parameters, losses)
        total, count = losses
        means = {name: float(total[i] / count[i]) for i, name in enumerate(names) if count[i] > 0}
        if not all(map(math.isfinite, means.values())):
            own = [unit for (unit, _), loss in zip(work, each) if not torch.isfinite(loss)]
            bad = ", ".join(f"{unit.name} (micro-batch {unit.index})" for unit in _of_all(own, worker))
            raise FloatingPointError(f"step {step}: the loss of {bad} is not finite")
        rate = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        state["history"].append({"step": step, "lr": rate, "gradient_norm": float(norm), **means})
        state["step"] = step + 1
        if worker.rank == 0:
            worker.tell(step + 1, sum(means.values()) / len(means), items.share)
        if state["step"] % config.checkpoint_every == 0 or state["step"] == config.steps:
            save = partial(save_state, model=model, stateful=stateful, state=state)
            worker.report(step + 1, save if worker.rank == 0 else None)
