"""Which worker does what in an optimiser step (paper, Multitask learning: distributed task-parallel)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """One micro-batch of one task (or image scale): the least that a worker does."""

    name: str
    index: int
    weight: float
    """Share of its loss in the step's loss."""
    cost: float
    """Estimated work, in any unit."""


def assign(units: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """Units for each worker, longest first to whoever has least: within 4/3 of the best possible step.

    A function of its arguments alone, so all workers agree on it without a word.
    """
    shares: list[list[Unit]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    for unit in sorted(units, key=lambda unit: (-unit.cost, unit.name, unit.index)):
        worker = loads.index(min(loads))
        shares[worker].append(unit)
        loads[worker] += unit.cost
    return shares
