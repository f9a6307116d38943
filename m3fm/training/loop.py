"""The training loop: there is one, for pretraining, multitask training and fine-tuning alike."""

import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from m3fm.config.sections import LaunchConfig, OptimizerConfig
from m3fm.core.files import text_digest
from m3fm.dataset.batch import Batch
from m3fm.model.transformer import compile_transformers, recompute_activations
from m3fm.training.batches import Objective, Step, Waiting, WorkerBatches, by_step
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.planner import Unit
from m3fm.training.recipe import learning_rate, parameter_groups
from m3fm.training.reduce import reduce_gradients

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
VALIDATION = "validation/"
"""Before the names of losses that are not of the training."""

StepMetrics = dict[str, float]
"""The metrics of a step: `step`, the losses by name, and its speed."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's rank, its checkpoints, and the actor that it reports to."""

    rank: int
    size: int
    device: torch.device
    checkpoints: Checkpoints
    report: Callable[[StepMetrics, bool], None]
    """The first worker calls it after each step; True where a checkpoint follows."""


class Stateful(Protocol):
    """An object with a state to save: the optimiser, the gradient scaler."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state."""


def train(objective: Objective, config: OptimizerConfig, launch: LaunchConfig, worker: Worker) -> None:
    """Run the optimiser steps that are left. Every worker calls this and ends with the same parameters.

    Raises FloatingPointError that names the step and the micro-batches when a loss is not finite: each is a
    function of the seed, the step, its task and its number. Raises it when a gradient is not finite, too.
    """
    model = objective.model.to(worker.device).train()
    if launch.activation_checkpointing:
        recompute_activations(model)
    if launch.compile:
        compile_transformers(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameter_groups(model, config), lr=config.lr, betas=config.betas)
    scaler = torch.amp.GradScaler(worker.device.type, enabled=launch.precision == "float16")
    stateful: dict[str, Stateful] = {"optimizer": optimizer, "scaler": scaler}
    history = restore(worker.checkpoints, model, stateful)
    if worker.rank == 0:
        for row in history:
            worker.report(row, False)
    steps = range(len(history), config.steps)
    items = Waiting(WorkerBatches(objective, worker.rank, worker.size).loaded(steps, launch))
    clock = Clock(items, worker.device)
    for step, work in zip(steps, by_step(items, steps)):
        losses, each = accumulate(objective, step, work, launch.precision, scaler, config.seed)
        reduce_gradients(parameters, losses)
        means = mean_losses(objective.names, losses)
        if not all(map(math.isfinite, means.values())):
            bad = _not_finite(each, worker)
            raise FloatingPointError(f"step {step}: the loss of {bad} is not finite")
        rate = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(parameters, config.clip_norm))
        # In float16 a step whose gradient overflows is left out, and the next one is scaled by less.
        if not math.isfinite(norm) and (not scaler.is_enabled() or scaler.get_scale() < 1.0):
            raise FloatingPointError(f"step {step}: the losses are finite, and their gradient is not")
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        norms = {"gradient_norm": norm} if math.isfinite(norm) else {}
        history.append({"step": step, "lr": rate, **norms, **means})
        measured = clock.measured(float(losses[2].sum()))
        due = (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps
        if due:
            validation = validate(objective, launch, worker)
            if bad := ", ".join(name for name, loss in validation.items() if not math.isfinite(loss)):
                raise FloatingPointError(f"step {step}: the loss of {bad} is not finite")
            history[-1] |= validation
        if worker.rank == 0:
            worker.report({**history[-1], **measured}, due)
            if due:
                save = partial(save_state, model=model, stateful=stateful, history=history)
                worker.checkpoints.save(step + 1, score(history[-1]), save)
        clock.restart()


def accumulate(
    objective: Objective,
    step: int,
    work: Iterable[tuple[Unit, Batch]],
    precision: str,
    scaler: torch.amp.GradScaler,
    seed: int,
) -> tuple[Tensor, list[tuple[Unit, Tensor]]]:
    """Run a worker's micro-batches forward and backward.

    Gives sums of losses, counts of micro-batches and of samples, by name [3, n], and the loss of each
    micro-batch.
    """
    device = next(objective.model.parameters()).device
    losses, each = torch.zeros(3, len(objective.names), device=device), list[tuple[Unit, Tensor]]()
    for unit, batch in work:
        # Dropout must not depend on which worker runs the unit, nor on what it ran before.
        torch.manual_seed(int(text_digest(f"{seed} {step} {unit.name} {unit.index}")[:8], 16))
        loss, samples = _loss(objective, unit, batch, device, precision)
        scaler.scale(loss * unit.weight).backward()
        value = loss.detach().float()
        each.append((unit, value))
        losses[:, objective.names.index(unit.name)] += torch.stack(
            [value, *losses.new_tensor([1.0, samples])]
        )
    return losses, each


@torch.no_grad()
def validate(objective: Objective, launch: LaunchConfig, worker: Worker) -> StepMetrics:
    """Mean losses of the validation's micro-batches, by name; nothing where there are none."""
    held_out: list[Step] = [None]
    batches = WorkerBatches(objective, worker.rank, worker.size)
    losses = torch.zeros(2, len(objective.names), device=worker.device)
    objective.model.eval()
    for _, unit, batch in batches.loaded(held_out, launch):
        loss, _ = _loss(objective, unit, batch, worker.device, launch.precision)
        losses[:, objective.names.index(unit.name)] += torch.stack([loss.float(), losses.new_ones(())])
    objective.model.train()
    if dist.is_initialized():
        dist.all_reduce(losses)
    return {f"{VALIDATION}{name}": loss for name, loss in mean_losses(objective.names, losses).items()}


def _loss(
    objective: Objective, unit: Unit, batch: Batch, device: torch.device, precision: str
) -> tuple[Tensor, int]:
    """Return the loss of a micro-batch and how many samples it has."""
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    with torch.autocast(device.type, dtype=DTYPES.get(precision), enabled=precision in DTYPES):
        return objective.loss(unit, batch), len(next(iter(batch.values())))


def mean_losses(names: list[str], losses: Tensor) -> StepMetrics:
    """Divide sums by counts [2 or more, n]: means by name, of those with a count."""
    total, count = losses[:2]
    return {name: float(total[i] / count[i]) for i, name in enumerate(names) if count[i] > 0}


def score(row: StepMetrics) -> float | None:
    """Return the mean of a step's validation losses, if it has any."""
    losses = [value for name, value in row.items() if name.startswith(VALIDATION)]
    return sum(losses) / len(losses) if losses else None


def _not_finite(each: list[tuple[Unit, Tensor]], worker: Worker) -> str:
    """Name the micro-batches of any worker whose loss is not finite."""
    own = [unit for unit, loss in each if not torch.isfinite(loss)]
    gathered = [own for _ in range(worker.size)]
    if dist.is_initialized():
        dist.all_gather_object(gathered, own)
    return ", ".join(f"{unit.name} (micro-batch {unit.index})" for unit in chain(*gathered))


class Clock:
    """The seconds of a step, those spent waiting for data, and the peak memory."""

    def __init__(self, items: Waiting, device: torch.device) -> None:
        self.items, self.device = items, device
        self.restart()

    def restart(self) -> None:
        """Begin a step: what came before, validation and checkpoint, is not its own."""
        self.began, self.waited = time.monotonic(), self.items.seconds

    def measured(self, samples: float) -> StepMetrics:
        """Measure the step that ends now, with so many samples over all workers."""
        seconds = time.monotonic() - self.began
        return {
            "samples_per_second": samples / seconds,
            "data_wait": (self.items.seconds - self.waited) / seconds,
            "peak_memory_bytes": float(_peak_memory(self.device)),
        }


def _peak_memory(device: torch.device) -> int:
    """Return the most bytes so far: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # In kilobytes, but on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def save_state(
    directory: Path, model: nn.Module, stateful: Mapping[str, Stateful], history: list[StepMetrics]
) -> None:
    """Write all that a later start needs: weights, optimiser and scaler, and the metrics of each step.

    The rest is a function of the configuration and the step, as nothing random has a state of its own:
    schedule, plan, the position in the data, and what every worker draws.
    """
    save_file(model.state_dict(), directory / "model.safetensors")
    torch.save({name: part.state_dict() for name, part in stateful.items()}, directory / "trainer.pt")
    (directory / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))


def read_history(directory: Path) -> list[StepMetrics]:
    """Read the metrics of each step so far."""
    return [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]


def restore(
    checkpoints: Checkpoints, model: nn.Module, stateful: Mapping[str, Stateful]
) -> list[StepMetrics]:
    """Read what `save_state` wrote last, if anything; gives the history."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        if checkpoints.newest(directory) is None:
            return []
        model.load_state_dict(load_file(directory / "model.safetensors"))
        saved = torch.load(directory / "trainer.pt", map_location="cpu", weights_only=True)
        for name, part in stateful.items():
            part.load_state_dict(saved[name])
        return read_history(directory)
