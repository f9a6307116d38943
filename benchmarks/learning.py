"""Learning on a simulated cohort: trained against untrained, and with pretraining against without.

    python benchmarks/learning.py [--patients N] [--pretrain-steps N] [--steps N] [--out DIRECTORY]

Simulates and curates a cohort, pretrains, and trains twice: from the pretrained encoder, and from scratch.
Writes validation losses by step (curves.png, curves.json) and prints test AUCs beside those of the untrained
model, with intervals of the difference that resample patients. A task (or answer) counts where at least 30
test patients are positive. Started again, it resumes. Half an hour on two idle cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from m3fm.clinical.tasks import TASKS, Task
from m3fm.cohort.source import open_source
from m3fm.config.presets import preset
from m3fm.config.sections import OptimizerConfig, RunConfig
from m3fm.dataset.curate import curate
from m3fm.evaluation.auc import ExactMatch, Ranking, Statistic, bootstrap, interval, observed, seeded
from m3fm.evaluation.decisions import checked, decisions, exact, patient_indices, patient_level
from m3fm.evaluation.predict import predict
from m3fm.simulate import simulate
from m3fm.training.launch import Place
from m3fm.training.loop import StepMetrics, read_history, score
from m3fm.training.multitask import train
from m3fm.training.pretrain import pretrain

POSITIVE_PATIENTS = 30
TRAININGS = ("pretrained", "from scratch")


def main() -> None:
    """Run everything, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--patients", type=int, default=420)
    parser.add_argument("--pretrain-steps", type=int, default=1600)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("learning"))
    chosen = parser.parse_args()
    run = configured(chosen.patients, chosen.pretrain_steps, chosen.steps)
    out = chosen.out
    make_all(out, run)
    curves = {name: validated(read_history(out / name)) for name in TRAININGS}
    draw(curves, out / "curves.png")
    (out / "curves.json").write_text(json.dumps(curves, indent=2) + "\n")
    print_steps_saved(curves)
    print(f"\n{compared(out, run)}")


def configured(patients: int, pretrain_steps: int, steps: int) -> RunConfig:
    """Return the tiny preset with a larger cohort and more steps."""
    run = preset("tiny")
    pretraining = run.pretrain.optimizer.model_copy(update={"steps": pretrain_steps})
    training = run.train.optimizer.model_copy(update={"steps": steps, "checkpoint_every": 20})
    return run.model_copy(
        update={
            "simulate": run.simulate.model_copy(update={"patients": patients}),
            "pretrain": run.pretrain.model_copy(update={"optimizer": pretraining}),
            "train": run.train.model_copy(update={"optimizer": training}),
        }
    )


def make_all(out: Path, run: RunConfig) -> None:
    """Make the cohort, the dataset and all models that do not exist yet."""
    untrained = OptimizerConfig(steps=1, warmup=0, lr=1e-12)
    untrained_run = run.model_copy(update={"train": run.train.model_copy(update={"optimizer": untrained})})
    dataset, place = out / "dataset", Place()
    if not (out / "cohort").exists():
        simulate(out / "cohort", run.simulate)
    if not dataset.exists():
        curate(
            open_source("nlst", out / "cohort", run.curate.labels), dataset, run.curate, run.launch.workers
        )
    if not (out / "encoder").exists():
        pretrain(dataset, out / "encoder", run, place)
    for name, start, config in (
        ("untrained", None, untrained_run),
        ("pretrained", out / "encoder", run),
        ("from scratch", None, run),
    ):
        if not (out / name).exists():
            train(dataset, start, out / name, config, place)
        table = out / f"{name}.parquet"
        if not table.exists():
            predict(out / name, dataset, "test").to_parquet(table)


def validated(history: list[StepMetrics]) -> list[tuple[int, float]]:
    """Return steps and mean validation losses."""
    scores = [(int(row["step"]) + 1, score(row)) for row in history]
    return [(step, loss) for step, loss in scores if loss is not None]


def print_steps_saved(curves: dict[str, list[tuple[int, float]]]) -> None:
    """Print how many steps pretraining saves on the way to the losses that training from scratch reaches."""
    print("\n| validation loss | from scratch, steps | pretrained, steps |\n|---:|---:|---:|")
    for fraction in (0.25, 0.5, 0.75, 1.0):
        losses = [loss for _, loss in curves["from scratch"]]
        goal = losses[0] - fraction * (losses[0] - min(losses))
        steps = {
            name: next((step for step, loss in curve if loss <= goal), None) for name, curve in curves.items()
        }
        print(f"| {goal:.3f} | {steps['from scratch']} | {steps['pretrained'] or 'not reached'} |")


def draw(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Plot the validation losses."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, curve), style in zip(curves.items(), ("-", "--")):
        axes.plot(*zip(*curve), style, label=name)
    axes.set(xlabel="optimiser step of multitask training", ylabel="mean validation loss of the tasks")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def compared(out: Path, run: RunConfig) -> str:
    """Format a table of the trained and the untrained model on the same test patients."""
    trained, untrained = (
        checked(pd.read_parquet(out / f"{name}.parquet")) for name in ("pretrained", "untrained")
    )
    lines = [
        "| task | answer | patients (positive) | untrained | trained | difference, 95 % interval | better |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for task in TASKS.values():
        tables = [patient_level(task, rows[rows["task"] == task.name]) for rows in (trained, untrained)]
        for answer, positive, pair in measured(task, *tables):
            if positive < POSITIVE_PATIENTS:
                continue
            patients = tables[0]["patient"].nunique()
            after, before = (observed(one, patients) for one in pair)
            values = bootstrap(pair, patients, run.evaluate.resamples, seeded(run.evaluate.seed, task.name))
            low, high, _ = interval(values[:, 0] - values[:, 1], run.evaluate.level)
            numbers = f"{before:.3f} | {after:.3f} | {after - before:+.3f} ({low:+.3f} to {high:+.3f})"
            verdict = "yes" if low > 0 else "higher, not significantly" if after > before else "no"
            lines.append(f"| {task.name} | {answer} | {patients} ({positive}) | {numbers} | {verdict} |")
    return "\n".join(lines)


def measured(
    task: Task, trained: pd.DataFrame, untrained: pd.DataFrame
) -> list[tuple[str, int, tuple[Statistic, Statistic]]]:
    """Return each answer's name, number of positive patients, and the statistics of both models."""
    if task.loss == "digits":
        right, wrong = (ExactMatch(exact(rows), patient_indices(rows)) for rows in (trained, untrained))
        return [("exact", len(trained), (right, wrong))]
    found: list[tuple[str, int, tuple[Statistic, Statistic]]] = []
    for after, before in zip(decisions(task, trained), decisions(task, untrained)):
        if after.obstacle:
            continue
        positive = len(np.unique(after.patient[after.positive]))
        first, second = (Ranking.of(one.positive, one.score, one.patient) for one in (after, before))
        found.append((after.answer, positive, (first, second)))
    return found


if __name__ == "__main__":
    main()
