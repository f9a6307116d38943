"""Throughput of two workers beside one, on the same batch: real Ray Train workers with one thread each.

    python benchmarks/training.py [--dataset DIRECTORY] [--params FILE] [--workers N ...] [--rounds N]

Multitask training of the tiny preset on a simulated dataset, or on the one given. Steps are timed from the
third on, so the start of Ray and of the workers takes no part. Both are run in turn; a round's ratio is that
of its two runs, and the median of the rounds' ratios is what counts. Workers on CPUs, with the processes that
load for them, have as many cores as there are workers: nothing of one worker uses another's core. With
a GPU they have all: `--workers 1 --params large.yaml --dataset DIRECTORY` gives the data wait there.
Needs Linux.
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tokenizers import Tokenizer

from m3fm.clinical.tasks import TASKS
from m3fm.cohort.source import open_source
from m3fm.config.presets import load, preset
from m3fm.config.sections import RunConfig
from m3fm.dataset.curate import curate
from m3fm.dataset.mqa import corpus
from m3fm.model.text import train_tokenizer
from m3fm.simulate import simulate
from m3fm.tracking.registry import Registry
from m3fm.tracking.runs import start_run
from m3fm.training.batches import Objective
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.costs import task_costs
from m3fm.training.launch import fit
from m3fm.training.objective import Multitask
from m3fm.training.planner import forecast, task_units

PATIENTS = 24
WARM_UP = 2


class Timed(NamedTuple):
    """Medians of a run's steps, without the first ones."""

    samples_per_second: float
    waiting: float
    """Fraction of the first worker's time without data."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--params", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
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
                for workers in chosen.workers
            }
            for turn in range(chosen.rounds)
        ]
    show_ratios(run, rounds)


def simulated(root: Path, run: RunConfig) -> Path:
    """Write a small simulated dataset."""
    simulate(root / "cohort", run.simulate.model_copy(update={"patients": PATIENTS}), workers=2)
    source = open_source("nlst", root / "cohort", run.curate.labels)
    curate(source, root / "dataset", run.curate, workers=2)
    return root / "dataset"


def build(dataset: Path, run: RunConfig, tokenizer: str, cores: set[int]) -> Objective:
    """Build the objective of each worker, on these cores, as the processes that it starts."""
    os.sched_setaffinity(0, cores)
    return Multitask(dataset, run, Tokenizer.from_str(tokenizer))


def timed(dataset: Path, run: RunConfig, tokenizer: str, workers: int, steps: int, root: Path) -> Timed:
    """Train for so many steps on so many workers, logged to MLflow."""
    optimizer = run.train.optimizer.model_copy(
        update={"steps": steps, "warmup": 1, "checkpoint_every": steps}
    )
    launch = run.launch.model_copy(update={"workers": workers})
    cores = os.sched_getaffinity(0)
    if not launch.gpus_per_worker:
        cores = set(sorted(cores)[:workers])
    uri = Registry.of(root).uri
    run_id = start_run(uri, f"{workers} workers", {})
    checkpoints = Checkpoints(str(root / "checkpoints"), 1, {})
    fit(
        "training",
        partial(build, dataset, run, tokenizer, cores),
        optimizer,
        launch,
        checkpoints,
        mlflow=(uri, run_id),
    )
    return Timed(*(of_steps(uri, run_id, name) for name in ("samples_per_second", "data_wait")))


def of_steps(uri: str, run_id: str, name: str) -> float:
    """Return the median of a measure over the steps, but for those in which caches fill."""
    history = Registry(uri).client.get_metric_history(run_id, name)
    return median(metric.value for metric in history if metric.step >= WARM_UP)


def show_ratios(run: RunConfig, rounds: list[dict[int, Timed]]) -> None:
    """Print medians, and the ratio."""
    units = task_units(TASKS.values(), run.train, task_costs(run))
    print(f"\n{run.preset}, median of {len(rounds)} rounds")
    print(f"{'workers':>8}{'samples/s':>11}{'data wait':>11}{'efficiency of the plan':>24}")
    for workers in rounds[0]:
        speed = median(one[workers].samples_per_second for one in rounds)
        waiting = median(one[workers].waiting for one in rounds)
        print(f"{workers:8}{speed:11.1f}{waiting:11.1%}{forecast(units, workers).efficiency:24.1%}")
    few, *more = rounds[0]
    for many in more:
        ratios = [one[many].samples_per_second / one[few].samples_per_second for one in rounds]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{many} workers beside {few}: {median(ratios):.2f} times the throughput (rounds: {each})")


if __name__ == "__main__":
    main()
