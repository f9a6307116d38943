"""Many workers compute what one does: the gradient of a step of all 19 tasks, and the steps that follow."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.config.sections import LaunchConfig, OptimizerConfig
from m3fm.core.files import text_digest
from m3fm.dataset.batch import Batch
from m3fm.model.heads import task_loss
from m3fm.model.m3fm import M3FM
from m3fm.training import loop, reduce
from m3fm.training.batches import Step
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.loop import Worker
from m3fm.training.planner import Unit, assign

pytestmark = pytest.mark.integration

RUN = preset("tiny")
OPTIMIZER = OptimizerConfig(steps=10, warmup=2, lr=0.001, checkpoint_every=10, layer_decay=0.9)
MICRO_BATCHES = 2


class All:
    """Every task in every step, two micro-batches of each, on drawn inputs; the clinical text has dropout."""

    def __init__(self, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        text = RUN.model.text.model_copy(update={"dropout": 0.1})
        self.dtype = dtype
        self.model: nn.Module = M3FM(RUN.model.model_copy(update={"text": text})).to(dtype)
        self.names = list(TASKS)

    def units(self, step: Step) -> list[Unit]:
        if step is None:
            return []
        cost = {name: 10.0 if task.scale else 1.0 for name, task in TASKS.items()}
        return [
            Unit(name, index, 1.0 / MICRO_BATCHES, cost[name])
            for name in TASKS
            for index in range(MICRO_BATCHES)
        ]

    def load(self, step: Step, unit: Unit) -> Batch:
        rng = np.random.default_rng([step, self.names.index(unit.name), unit.index])
        task = TASKS[unit.name]
        ids = torch.from_numpy(rng.integers(5, 900, (1, 10)))
        batch = {"text_ids": ids, "text_mask": torch.ones_like(ids)}
        batch |= {"question_ids": ids[:, :5], "question_mask": torch.ones_like(ids[:, :5])}
        if task.scale is not None:
            shape = RUN.model.scales[task.scale].shape
            batch["images"] = torch.from_numpy(rng.uniform(-1, 1, (1, 1, *shape))).to(self.dtype)
            batch["voxel_size"] = torch.from_numpy(rng.uniform(1, 2, (1, 3))).to(self.dtype)
        width = {"softmax": 1, "hazard": 6, "digits": 3}[task.loss]
        return {**batch, "label": torch.from_numpy(rng.integers(0, 2, (1, width))).to(self.dtype)}

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        batch = dict(batch)
        label = batch.pop("label")
        output = self.model(unit.name, **batch)
        identity = nn.functional.cross_entropy(
            output.task_logits, torch.full((1,), self.names.index(unit.name))
        )
        return task_loss(TASKS[unit.name], output.logits, label, torch.ones_like(label)) + identity


def gradient(rank: int, size: int, directory: Path) -> None:
    """The gradient of the first step, as the loop computes and reduces it."""
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", f"file://{directory}/store", rank=rank, world_size=size)
    objective = All(torch.float32)
    parameters = list(objective.model.train().parameters())
    work = [(unit, objective.load(0, unit)) for unit in assign(objective.units(0), size)[rank]]
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    losses, _ = loop.accumulate(objective, 0, work, "float32", scaler, seed=1)
    reduce.reduce_gradients(parameters, losses)
    if rank == 0:
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
        torch.save({"gradient": flat, "losses": losses}, directory / "result.pt")


def ten_steps(rank: int, size: int, directory: Path) -> None:
    """The parameters after ten steps, in float64."""
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", f"file://{directory}/store", rank=rank, world_size=size)
    objective = All(torch.float64)
    checkpoints = Checkpoints(str(directory / "checkpoints"), 1, {})
    worker = Worker(rank, size, torch.device("cpu"), checkpoints, lambda row, durable: None)
    loop.train(objective, OPTIMIZER, LaunchConfig(), worker)
    flat = torch.cat([parameter.detach().flatten() for parameter in objective.model.parameters()])
    torch.save({"parameters": flat}, directory / f"{rank}.pt")


# Processes begin with all that they need, whose import takes seconds.
multiprocessing.set_forkserver_preload([__name__, "transformers.models.roberta.modeling_roberta"])


def run(work: Callable[[int, int, Path], None], size: int, directory: Path) -> Path:
    directory.mkdir()
    mp.start_processes(work, args=(size, directory), nprocs=size, start_method="forkserver")
    return directory


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict[str, Tensor]:
    directory = run(gradient, 1, tmp_path_factory.mktemp("one") / "1")
    return torch.load(directory / "result.pt")


def brute_force() -> Tensor:
    """The gradient of the weighted sum of all losses, each micro-batch in turn, by autograd alone."""
    objective = All(torch.float32)
    objective.model.train()
    total: Tensor | None = None
    for unit in objective.units(0):
        torch.manual_seed(int(text_digest(f"1 0 {unit.name} {unit.index}")[:8], 16))
        loss = objective.loss(unit, objective.load(0, unit)) * unit.weight
        total = loss if total is None else total + loss
    assert total is not None
    grads = torch.autograd.grad(total, list(objective.model.parameters()), allow_unused=True)
    pairs = zip(grads, objective.model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).double().norm() / expected.double().norm())


def test_a_step_s_gradient_is_that_of_all_its_micro_batches(one):
    assert relative(one["gradient"], brute_force()) < 1e-6


@pytest.mark.parametrize("size", [2, 3])
def test_workers_together_have_the_gradient_of_one(one, tmp_path, size, monkeypatch):
    found = torch.load(run(gradient, size, tmp_path / "a") / "result.pt")
    assert relative(found["gradient"], one["gradient"]) < 1e-6
    torch.testing.assert_close(found["losses"], one["losses"])
    again = torch.load(run(gradient, size, tmp_path / "b") / "result.pt")
    assert torch.equal(again["gradient"], found["gradient"]), "the same workers, exactly the same"


def test_many_small_buckets_are_as_good_as_one(one, tmp_path):
    found = torch.load(run(partial(with_buckets, gradient, 1000), 2, tmp_path / "a") / "result.pt")
    assert relative(found["gradient"], one["gradient"]) < 1e-6


def with_buckets(work: Callable[[int, int, Path], None], size: int, rank: int, *rest: object) -> None:
    reduce.BUCKET_BYTES = size
    work(rank, *rest)  # type: ignore[arg-type]


def test_ten_steps_of_one_two_and_three_workers_end_alike(tmp_path):
    ends = {}
    for size in (1, 2, 3):
        directory = run(ten_steps, size, tmp_path / str(size))
        parts = [torch.load(directory / f"{rank}.pt")["parameters"] for rank in range(size)]
        assert all(torch.equal(part, parts[0]) for part in parts), "all workers have the same parameters"
        ends[size] = parts[0]
    for size in (2, 3):
        torch.testing.assert_close(ends[size], ends[1], atol=1e-9, rtol=0)
    again = torch.load(run(ten_steps, 2, tmp_path / "again") / "0.pt")["parameters"]
    assert torch.equal(again, ends[2])
