"""The loop: the same parameters whoever does the work, and wherever it was interrupted."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import Tensor, nn

from m3fm.config.sections import LaunchConfig, OptimizerConfig
from m3fm.dataset.batch import Batch
from m3fm.training.batches import Step
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.loop import VALIDATION, StepMetrics, Worker, train
from m3fm.training.planner import Unit
from m3fm.training.recipe import learning_rate, parameter_groups

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

    def units(self, step: Step) -> list[Unit]:
        """The last task has nothing that is held out."""
        names = TASKS if step is not None else TASKS[:-1]
        return [Unit(name, 0, 1.0, float(i + 1)) for i, name in enumerate(names)]

    def load(self, step: Step, unit: Unit) -> Batch:
        step = 77 if step is None else step
        generator = torch.Generator().manual_seed(1000 * step + TASKS.index(unit.name))
        return {"x": torch.randn(4, 5, generator=generator)}

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        modules = self.model
        assert isinstance(modules, nn.ModuleDict)
        return (modules[unit.name](modules["trunk"](batch["x"])) - 1.0).square().mean()


def silent(row: StepMetrics, durable: bool) -> None:
    pass


def worker(
    rank: int, size: int, directory: Path, report: Callable[[StepMetrics, bool], None] = silent
) -> Worker:
    checkpoints = Checkpoints(str(directory / "checkpoints"), 2, {"a": "test"})
    return Worker(rank, size, torch.device("cpu"), checkpoints, report)


def run(rank: int, size: int, directory: Path, report: Callable[[StepMetrics, bool], None] = silent) -> None:
    if size > 1:
        dist.init_process_group("gloo", f"file://{directory}.store", rank=rank, world_size=size)
    train(Toy(), OPTIMIZER, LaunchConfig(), worker(rank, size, directory, report))


def last(directory: Path) -> Path:
    checkpoints = worker(0, 1, directory).checkpoints
    found = checkpoints.newest(directory / "last")
    assert found is not None
    assert found.step == OPTIMIZER.steps
    return directory / "last"


def weights(directory: Path) -> Tensor:
    tensors = load_file(last(directory) / "model.safetensors").values()
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("alone")
    run(0, 1, directory)
    return directory


@pytest.mark.integration
@pytest.mark.parametrize("size", [2, 3])
def test_workers_together_do_what_one_does_alone(alone: Path, tmp_path: Path, size: int) -> None:
    mp.spawn(run, args=(size, tmp_path / "many"), nprocs=size)
    torch.testing.assert_close(weights(tmp_path / "many"), weights(alone), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("stop", [0, 2, 3, 5, 6])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(alone: Path, tmp_path: Path, stop: int) -> None:
    def interrupt(row: StepMetrics, durable: bool) -> None:
        if row["step"] == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(0, 1, tmp_path, interrupt)
    rows: list[StepMetrics] = []
    run(0, 1, tmp_path, lambda row, durable: rows.append(row))
    assert torch.equal(weights(tmp_path), weights(alone))
    assert (last(tmp_path) / "history.jsonl").read_text() == (last(alone) / "history.jsonl").read_text()
    steps = [row["step"] for row in rows]
    assert steps == list(range(8)), "of all steps: whoever listens may have missed some"
    assert [step for step, row in zip(steps, rows) if "data_wait" in row] == steps[stop // 3 * 3 :]


def test_in_float16_the_scale_of_the_gradients_is_gone_on_with(tmp_path: Path) -> None:
    """The first scale is too large for this loss, so that each of the first steps halves it."""

    class Steep(Toy):
        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            return 4.0 * super().loss(unit, batch)

    def started(directory: Path, report: Callable[[StepMetrics, bool], None] = silent) -> None:
        train(Steep(), OPTIMIZER, LaunchConfig(precision="float16"), worker(0, 1, directory, report))

    def interrupt(row: StepMetrics, durable: bool) -> None:
        if row["step"] == 5:
            raise KeyboardInterrupt

    started(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        started(tmp_path / "stopped", interrupt)
    started(tmp_path / "stopped")
    history = [json.loads(line) for line in (last(tmp_path / "whole") / "history.jsonl").open()]
    assert "gradient_norm" not in history[3], "the scale had to be lowered after the checkpoint, too"
    assert "gradient_norm" in history[-1]
    assert torch.equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    assert (last(tmp_path / "stopped") / "history.jsonl").read_text() == (
        last(tmp_path / "whole") / "history.jsonl"
    ).read_text()


@pytest.mark.integration
def test_other_workers_than_before_go_on(alone: Path, tmp_path: Path) -> None:
    def interrupt(row: StepMetrics, durable: bool) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(0, 1, tmp_path / "many", interrupt)
    assert [one.step for one in worker(0, 1, tmp_path / "many").checkpoints.found()] == [3]
    mp.spawn(run, args=(3, tmp_path / "many"), nprocs=3)
    torch.testing.assert_close(weights(tmp_path / "many"), weights(alone), atol=1e-6, rtol=1e-5)


def test_a_micro_batch_is_computed_before_the_next_is_asked_for(tmp_path: Path) -> None:
    """Or else nothing could be loaded while the model computes, and a whole step would be in memory."""
    events: list[str] = []

    class Watched(Toy):
        def load(self, step: Step, unit: Unit) -> Batch:
            events.append(f"load {step}")
            return super().load(step, unit)

        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            events.append("compute")
            return super().loss(unit, batch)

    train(Watched(), OPTIMIZER.model_copy(update={"steps": 1}), LaunchConfig(), worker(0, 1, tmp_path))
    assert events == ["load 0", "compute"] * 7 + ["load None", "compute"] * 6


def test_validation_is_of_what_is_held_out_and_changes_nothing(alone: Path, tmp_path: Path) -> None:
    class Unvalidated(Toy):
        def units(self, step: Step) -> list[Unit]:
            return [] if step is None else super().units(step)

    rows: list[StepMetrics] = []
    train(Unvalidated(), OPTIMIZER, LaunchConfig(), worker(0, 1, tmp_path, lambda row, _: rows.append(row)))
    assert torch.equal(weights(tmp_path), weights(alone))
    assert not any(name.startswith(VALIDATION) for row in rows for name in row)

    lines = (last(alone) / "history.jsonl").read_text().splitlines()
    validated = [json.loads(line) for line in lines]
    assert [row["step"] + 1 for row in validated if f"{VALIDATION}task_0" in row] == [3, 6, 8]
    # Without dropout, from the weights that were saved.
    toy = Toy()
    toy.model.load_state_dict(load_file(last(alone) / "model.safetensors"))
    toy.model.eval()
    for unit in toy.units(None):
        expected = float(toy.loss(unit, toy.load(None, unit)).detach())
        assert validated[-1][f"{VALIDATION}{unit.name}"] == pytest.approx(expected, rel=1e-6)
    assert f"{VALIDATION}task_6" not in validated[-1]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_task(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            return super().loss(unit, batch) * (math.nan if unit.name == "task_3" else 1.0)

    with pytest.raises(
        FloatingPointError, match=r"step 0: the loss of task_3 \(micro-batch 0\) is not finite"
    ):
        train(Broken(), OPTIMIZER, LaunchConfig(), worker(0, 1, tmp_path))


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_does_harm(tmp_path: Path) -> None:
    """Finite losses with a gradient that is not: a root at zero."""

    class Broken(Toy):
        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            loss = super().loss(unit, batch)
            return loss + (loss - loss.detach()).abs().sqrt() if unit.name == "task_2" else loss

    with pytest.raises(FloatingPointError, match="step 0: the losses are finite, and their gradient is not"):
        train(Broken(), OPTIMIZER, LaunchConfig(), worker(0, 1, tmp_path))
    assert worker(0, 1, tmp_path).checkpoints.found() == []


def test_loaders_read_ahead_and_change_nothing(alone: Path, tmp_path: Path) -> None:
    train(Toy(), OPTIMIZER, LaunchConfig(num_workers=2), worker(0, 1, tmp_path))
    assert torch.equal(weights(tmp_path), weights(alone))


def diverge(rank: int, size: int, directory: Path) -> None:
    dist.init_process_group("gloo", f"file://{directory}/store", rank=rank, world_size=size)

    class Broken(Toy):
        def loss(self, unit: Unit, batch: Batch) -> Tensor:
            return super().loss(unit, batch) * (math.inf if unit.name == "task_5" else 1.0)

    try:
        train(Broken(), OPTIMIZER, LaunchConfig(), worker(rank, size, directory))
    except FloatingPointError as error:
        (directory / f"{rank}.txt").write_text(str(error))


@pytest.mark.integration
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
    from m3fm.config.presets import preset
    from m3fm.model.m3fm import M3FM

    model = M3FM(preset("tiny").model)
    groups = parameter_groups(model, OptimizerConfig(steps=1, warmup=0, lr=1.0, layer_decay=0.5))
    scale = {parameter: group["scale"] for group in groups for parameter in group["params"]}
    assert len(scale) == len(list(model.parameters()))
    first = scale[model.ctvit.encoder.blocks[0].attn.qkv.weight]  # type: ignore[union-attr,index]
    assert first == 0.5**4
    assert scale[model.ctvit.tokenizer("heart").proj.weight] == first / 2
    assert scale[model.task_id.out.weight] == 1.0
