"""Micro-batches on their way to the loop: who loads which, in which order, and the time it waits."""

import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from math import prod
from operator import itemgetter
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from m3fm.config.sections import LaunchConfig
from m3fm.dataset.batch import Batch
from m3fm.training.planner import Unit, assign

ALIGNMENT = 16
"""Bytes at a multiple of which each tensor begins in a `Packed`."""
Step = int | None
"""An optimiser step from 0; None is the validation, whose micro-batches are the same every time."""


class Objective(Protocol):
    """An objective that the loop trains; a batch is a function of the step and the unit alone."""

    model: nn.Module
    names: list[str]
    """Names of the units: tasks or scales."""

    def units(self, step: Step) -> list[Unit]:
        """List the micro-batches of an optimiser step, or of validation; empty if nothing is held out."""

    def load(self, step: Step, unit: Unit) -> Batch:
        """Load the tensors of a micro-batch."""

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        """Compute the mean loss of a micro-batch, a scalar."""


class Packed(NamedTuple):
    """A micro-batch in one piece of memory: each one takes its time from a process to another."""

    memory: Tensor
    """uint8, all tensors one after the other."""
    layout: list[tuple[str, torch.dtype, list[int]]]
    """Name, type and shape of each."""


def pack(batch: Batch) -> Packed:
    """Pack the tensors of a micro-batch into one; none is empty."""
    parts, layout = [], []
    for name, tensor in batch.items():
        data = tensor.contiguous().reshape(-1).view(torch.uint8)
        parts += [data, data.new_zeros(-len(data) % ALIGNMENT)]
        layout.append((name, tensor.dtype, list(tensor.shape)))
    return Packed(torch.cat(parts), layout)


def unpack(packed: Packed) -> Batch:
    """Return the tensors of a micro-batch, which share its memory."""
    batch, start = {}, 0
    for name, dtype, shape in packed.layout:
        size = prod(shape) * dtype.itemsize
        batch[name] = packed.memory[start : start + size].view(dtype).reshape(shape)
        start += size + -size % ALIGNMENT
    return batch


class WorkerBatches(Dataset[tuple[Step, Unit, Packed]]):
    """A worker's micro-batches, by step and unit."""

    def __init__(self, objective: Objective, rank: int, size: int) -> None:
        self.objective, self.rank, self.size = objective, rank, size

    def __getitem__(self, item: tuple[Step, Unit]) -> tuple[Step, Unit, Packed]:
        """Load an item: step, unit, tensors."""
        step, unit = item
        return step, unit, pack(self.objective.load(step, unit))

    def items(self, steps: Iterable[Step]) -> Iterator[tuple[Step, Unit]]:
        """List this worker's items of some steps, in order."""
        known: list[Unit] = []
        mine: list[Unit] = []
        for step in steps:
            units = self.objective.units(step)
            if units != known:
                known, mine = units, assign(units, self.size)[self.rank]
            yield from ((step, unit) for unit in mine)

    def loaded(self, steps: Iterable[Step], launch: LaunchConfig) -> Iterator[tuple[Step, Unit, Batch]]:
        """Iterate over the micro-batches of some steps, read ahead by the processes `launch` sets."""
        loader: DataLoader[tuple[Step, Unit, Packed]] = DataLoader(
            self,
            batch_size=None,
            sampler=self.items(steps),
            num_workers=launch.num_workers,
            pin_memory=launch.gpus_per_worker > 0,
        )
        for step, unit, packed in loader:
            yield step, unit, unpack(packed)


class Waiting:
    """Items of an iterator, and the seconds that went by in waiting for them."""

    def __init__(self, items: Iterator[tuple[Step, Unit, Batch]]) -> None:
        self.items = items
        self.seconds = 0.0

    def __iter__(self) -> Iterator[tuple[Step, Unit, Batch]]:
        """Return this iterator."""
        return self

    def __next__(self) -> tuple[Step, Unit, Batch]:
        """Wait for the next item and return it."""
        asked = time.monotonic()
        try:
            return next(self.items)
        finally:
            self.seconds += time.monotonic() - asked


def by_step(
    items: Iterable[tuple[Step, Unit, Batch]], steps: Iterable[Step]
) -> Iterator[Iterator[tuple[Unit, Batch]]]:
    """Group a worker's micro-batches by optimiser step; a step may have none.

    Each is taken when it is asked for, so that the next ones are loaded while it is computed.
    """
    groups = groupby(items, key=itemgetter(0))
    group = next(groups, None)
    for step in steps:
        if group is None or group[0] != step:
            yield iter(())
            continue
        yield ((unit, batch) for _, unit, batch in group[1])
        group = next(groups, None)
