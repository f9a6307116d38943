"""The loop: the same parameters whoever does the work, and wherever it was interrupted."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from m3fm.config import LaunchConfig, OptimizerConfig
from m3fm.training.loop import Batch, Worker, learning_rate, parameter_groups, train
from m3fm.training.planner import Unit

OPTIMIZER = OptimizerConfig(steps=8, warmup=2, lr=0.01, checkpoint_every=3)
TASKS = [f"task_{i}" for i in range(7)]


class Toy:
    """Seven tasks on a small network with dropout; each has a head of its own, as M3FM's tasks do."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        heads = {name: nn.Linear(8, 1) for name in TASKS}
        self.model: nn.Module = nn.ModuleDict(
            {"trunk": nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout(0.2)), **heads}
        )
        self.names = TASKS

    def units(self, step: int) -> list[Unit]:
        return [Unit(name, 0, 1.0, float(i + 1)) for i, name in enumerate(TASKS)]

    def load(self, step: int, unit: Unit) -> Batch:
        generator = torch.Generator().manual_seed(1000 * step + TASKS.index(unit.name))
        return {"x": torch.randn(4, 5, generator=generator)}

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        modules = self.model
        assert isinstance(modules, nn.ModuleDict)
        return (modules[unit.name](modules["trunk"](batch["x"])) - 1.0).square().mean()


def keep(directory: Path, step: int, save: Callable[..., None] | None, stop_at: int | None = None) -> None:
    if save is not None:
        target = directory / str(step)
        target.mkdir(parents=True)
        save(target)
    if step == stop_at:
        raise KeyboardInterrupt


def silent(step: int, loss: float, waiting: float) -> None:
    pass


def run(
    rank: int, size: int, directory: Path, restored: Path | None = None, stop_at: int | None = None
) -> None:
    if size > 1:
        dist.init_process_group("gloo", f"file://{directory}.store", rank=rank, world_size=size)
    report = partial(keep, directory, stop_at=stop_at)
    train(Toy(), OPTIMIZER, LaunchConfig(), Worker(rank, size, torch.device("cpu"), restored, report, silent))


def weights(directory: Path) -> Tensor:
    from safetensors.torch import load_file

    return torch.cat([tensor.flatten() for tensor in load_file(directory / "8/model.safetensors").values()])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("alone")
    run(0, 1, directory)
    return directory


@pytest.mark.parametrize("size", [2, 3])
def test_workers_together_do_what_one_does_alone(alone: Path, tmp_path: Path, size: int) -> None:
    mp.spawn(run, args=(size, tmp_path / "many"), nprocs=size)
    torch.testing.assert_close(weights(tmp_path / "many"), weights(alone), atol=1e-6, rtol=1e-5)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(alone: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(0, 1, tmp_path, stop_at=3)
    run(0, 1, tmp_path, restored=tmp_path / "3")
    assert torch.equal(weights(tmp_path), weights(alone))
    assert (tmp_path / "8/state.json").read_text() == (alone / "8/state.json").read_text()


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_task(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            return super().loss(unit, batch) * (math.nan if unit.name == "task_3" else 1.0)

    worker = Worker(0, 1, torch.device("cpu"), None, partial(keep, tmp_path), silent)
    with pytest.raises(
        FloatingPointError, match=r"step 0: the loss of task_3 \(micro-batch 0\) is not finite"
    ):
        train(Broken(), OPTIMIZER, LaunchConfig(), worker)


def diverge(rank: int, size: int, directory: Path) -> None:
    dist.init_process_group("gloo", f"file://{directory}/store", rank=rank, world_size=size)

    class Broken(Toy):
        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            return super().loss(unit, batch) * (math.inf if unit.name == "task_5" else 1.0)

    worker = Worker(rank, size, torch.device("cpu"), None, partial(keep, directory), silent)
    try:
        train(Broken(), OPTIMIZER, LaunchConfig(), worker)
    except FloatingPointError as error:
        (directory / f"{rank}.txt").write_text(str(error))


def test_every_worker_names_the_batch_that_one_of_them_had(tmp_path: Path) -> None:
    mp.spawn(diverge, args=(2, tmp_path), nprocs=2)
    said = {(tmp_path / f"{rank}.txt").read_text() for rank in range(2)}
    assert said == {"step 0: the loss of task_5 (micro-batch 0) is not finite"}


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [learning_rate(OPTIMIZER, step) for step in range(9)]
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert rates[8] == pytest.approx(0.0)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_every_parameter_is_trained_and_earlier_blocks_more_slowly() -> None:
    from m3fm.model.m3fm import M3FM
    from m3fm.presets import preset

    model = M3FM(preset("tiny").model)
    groups = parameter_groups(model, OptimizerConfig(steps=1, warmup=0, lr=1.0, layer_decay=0.5))
    scale = {parameter: group["scale"] for group in groups for parameter in group["params"]}
    assert len(scale) == len(list(model.parameters()))
    first = scale[model.ctvit.encoder.blocks[0].attn.qkv.weight]  # type: ignore[union-attr,index]
    assert first == 0.5**4
    assert scale[model.ctvit.tokenizer("heart").proj.weight] == first / 2
    assert scale[model.task_id.out.weight] == 1.0
