"""Throughput of two workers beside one, on the same batch: real Ray Train workers with one thread each.

    python benchmarks/training.py [--dataset DIRECTORY] [--steps N] [--rounds N] [--params FILE]

Multitask training of the tiny preset on a simulated dataset, or on the one given. Steps are timed from the
second on, so the start of Ray and of the workers takes no part. Both are run in turn; a round's ratio is that
of its two runs, and the median of the rounds' ratios is what counts. Runs need a core for each worker.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tokenizers import Tokenizer

from m3fm import tracking
from m3fm.cohort.source import open_source
from m3fm.config import RunConfig
from m3fm.dataset.curate import curate
from m3fm.dataset.mqa import corpus
from m3fm.model.text import train_tokenizer
from m3fm.presets import load, preset
from m3fm.registry import Registry
from m3fm.simulate import simulate
from m3fm.tasks import TASKS
from m3fm.training.batches import Objective
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.costs import task_costs
from m3fm.training.launch import fit
from m3fm.training.objective import Multitask
from m3fm.training.planner import forecast, task_units

WORKERS = (1, 2)
PATIENTS = 24


class Timed(NamedTuple):
    """Medians of a run's steps after the first."""

    samples_per_second: float
    waiting: float
    """Share of the first worker's time without data."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--params", type=Path)
    chosen = parser.parse_args()
    run = preset("tiny") if chosen.params is None else load(chosen.params)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        dataset = chosen.dataset or simulated(root, run)
        tokenizer = train_tokenizer(corpus(0), run.model.text.vocabulary).to_str()
        rounds = [
            {
                workers: timed(
                    dataset.resolve(), run, tokenizer, workers, chosen.steps, root / f"{turn}-{workers}"
                )
                for workers in WORKERS
            }
            for turn in range(chosen.rounds)
        ]
    tell(run, rounds)


def simulated(root: Path, run: RunConfig) -> Path:
    """A small simulated dataset."""
    simulate(root / "cohort", run.simulate.model_copy(update={"patients": PATIENTS}), workers=2)
    source = open_source("nlst", root / "cohort", run.curate.labels)
    curate(source, root / "dataset", run.curate, workers=2)
    return root / "dataset"


def build(dataset: Path, run: RunConfig, tokenizer: str) -> Objective:
    """What each worker trains."""
    return Multitask(dataset, run, Tokenizer.from_str(tokenizer))


def timed(dataset: Path, run: RunConfig, tokenizer: str, workers: int, steps: int, place: Path) -> Timed:
    """Train for so many steps on so many workers; MLflow is told of each, as in any training."""
    optimizer = run.train.optimizer.model_copy(
        update={"steps": steps, "warmup": 1, "checkpoint_every": steps}
    )
    launch = run.launch.model_copy(update={"workers": workers})
    registry = Registry.of(place)
    run_id = tracking.begin(registry.uri, "benchmark", {})
    checkpoints = Checkpoints(str(place / "checkpoints"), 1, {})
    fit(
        "training",
        partial(build, dataset, run, tokenizer),
        optimizer,
        launch,
        checkpoints,
        (registry.uri, run_id),
    )
    history = {
        name: [metric.value for metric in registry.client.get_metric_history(run_id, name)][1:]
        for name in ("samples_per_second", "data_wait")
    }
    return Timed(median(history["samples_per_second"]), median(history["data_wait"]))


def tell(run: RunConfig, rounds: list[dict[int, Timed]]) -> None:
    """Print medians, and the ratio."""
    units = task_units(TASKS, run.train, task_costs(run))
    samples = sum(run.train.together(TASKS[unit.name].scale) for unit in units)
    print(f"\n{run.preset}, {samples} samples a step, median of {len(rounds)} rounds")
    print(f"{'workers':>8}{'s a step':>10}{'samples/s':>11}{'waiting':>9}{'planned':>9}")
    for workers in WORKERS:
        rate = median(one[workers].samples_per_second for one in rounds)
        waiting = median(one[workers].waiting for one in rounds)
        share = forecast(units, workers).efficiency
        print(f"{workers:8}{samples / rate:10.3f}{rate:11.1f}{waiting:9.1%}{share:9.1%}")
    few, many = WORKERS
    ratios = [one[many].samples_per_second / one[few].samples_per_second for one in rounds]
    print(
        f"{many} workers beside {few}: {median(ratios):.2f} times the throughput",
        *[f"{r:.2f}" for r in ratios],
    )


if __name__ == "__main__":
    main()
