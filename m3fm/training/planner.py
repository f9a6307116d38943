"""Which worker does what in an optimiser step (paper, Multitask learning: distributed task-parallel)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from heapq import heapify, heapreplace

import numpy as np

from m3fm.clinical.tasks import TASKS, Task
from m3fm.config.sections import TEXT, PretrainConfig, TrainConfig

PLAN, TRAINING, VALIDATION = range(3)
"""What is drawn for, before every seed: NumPy takes [1] and [1, 0] for the same."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One micro-batch of one task (or image scale): the least that a worker does."""

    name: str
    index: int
    weight: float
    """Fraction of the step's loss."""
    cost: float
    """Estimated work, in seconds where they were measured, in any unit otherwise."""


def task_units(tasks: Iterable[Task], config: TrainConfig, costs: Mapping[str, float]) -> list[Unit]:
    """List the micro-batches of tasks in one step of multitask training.

    `costs` are those of one sample by scale. Retrieval tasks share their batch (paper: 768 samples).
    """
    retrieval = sum(task.kind == "retrieval" for task in TASKS.values())
    units = []
    for task in tasks:
        samples = config.retrieval_batch // retrieval if task.kind == "retrieval" else config.batch
        units += _of_task(task, samples // config.together(task.scale), config, costs)
    return units


def validation_units(tasks: Iterable[Task], config: TrainConfig, costs: Mapping[str, float]) -> list[Unit]:
    """List the micro-batches that tasks are validated with, as many of each."""
    return [unit for task in tasks for unit in _of_task(task, config.validation_batches, config, costs)]


def _of_task(task: Task, count: int, config: TrainConfig, costs: Mapping[str, float]) -> list[Unit]:
    """List the micro-batches of a task, which share its loss."""
    weight = config.loss_weights.get(task.name, 1.0) / max(count, 1)
    cost = config.together(task.scale) * costs[task.scale or TEXT]
    return [Unit(task.name, index, weight, cost) for index in range(count)]


def crop_units(step: int | None, config: PretrainConfig, costs: Mapping[str, float]) -> list[Unit]:
    """List the micro-batches of one step of pretraining, each of a random scale; None is validation.

    `costs` are those of one crop, by scale. The validation has as many of each scale.
    """
    names = list(costs)
    if step is None:
        chosen = names * config.validation_batches
    else:
        rng = np.random.default_rng([PLAN, config.optimizer.seed, step])
        chosen = [names[rng.integers(len(names))] for _ in range(config.batch // config.micro_batch)]
    cost = {name: config.micro_batch * costs[name] for name in names}
    return [Unit(name, index, 1.0 / len(chosen), cost[name]) for index, name in enumerate(chosen)]


def assign(units: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """Assign units to workers, longest first to the least loaded: within 4/3 of the best step.

    A function of its arguments alone, so all workers agree on it without a word.
    """
    assigned: list[list[Unit]] = [[] for _ in range(workers)]
    loads = [(0.0, worker) for worker in range(workers)]
    heapify(loads)
    for unit in sorted(units, key=lambda unit: (-unit.cost, unit.name, unit.index)):
        load, worker = loads[0]
        assigned[worker].append(unit)
        heapreplace(loads, (load + unit.cost, worker))
    return assigned


@dataclass(frozen=True, slots=True)
class Forecast:
    """A step's work as the workers share it; times in the unit of the costs."""

    workers: int
    step: float
    """The longest work of one worker: what everybody waits for."""
    even: float
    """All work divided by the workers: no step is shorter."""
    whole: float
    """What no step is shorter than because a unit is done by one worker."""

    @property
    def efficiency(self) -> float:
        """Fraction of the workers' time that is spent in work."""
        return self.even / self.step

    @property
    def over_best(self) -> float:
        """The step beside the larger bound: 1 says that no plan is better."""
        return self.step / max(self.even, self.whole)

    def to_dict(self) -> dict[str, float]:
        """Return the whole plan, for JSON."""
        return asdict(self) | {"efficiency": self.efficiency, "over_best": self.over_best}


def forecast(units: Sequence[Unit], workers: int) -> Forecast:
    """Forecast a step by its units' costs, without the reduction of gradients and the update."""
    costs = sorted((unit.cost for unit in units), reverse=True)
    step = max(sum(unit.cost for unit in work) for work in assign(units, workers))
    # Of the k n + 1 longest units, some worker of n has k + 1, which are no shorter than the last k + 1.
    ends = range(0, len(costs), workers)
    whole = max(sum(costs[end - k : end + 1]) for k, end in enumerate(ends))
    return Forecast(workers, step, sum(costs) / workers, whole)


def table(forecasts: Iterable[Forecast]) -> str:
    """Format forecasts in Markdown, a line for each number of workers."""
    lines = [
        "| workers | step | work / workers | efficiency | whole micro-batches | step / larger bound |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in forecasts:
        times = (f"{time:.5g}" for time in (one.step, one.even))
        rest = (f"{one.efficiency:.1%}", f"{one.whole:.5g}", f"{one.over_best:.3f}")
        lines.append(f"| {' | '.join([str(one.workers), *times, *rest])} |")
    return "\n".join(lines)
