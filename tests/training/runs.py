"""`m3fm train` in processes of its own, on a small simulated cohort: for what kills, moves or submits it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from m3fm.core.artifacts import Reference
from m3fm.tracking.registry import Registry

PARAMS = """
preset: tiny
simulate: {patients: 8, rows: 48, slices: [64, 64]}
curate: {seed: 2025}
model:
  {width: 24, depth: 1, heads: 2, task_depth: 1, head_width: 8, text: {width: 16, depth: 1, vocabulary: 400}}
train:
  {optimizer: {steps: 72, warmup: 2, checkpoint_every: 3}, batch: 1, micro_batch: 1,
   text_micro_batch: 1, retrieval_batch: 2, validation_batches: 1}
launch: {restarts: 30, placement: SPREAD}
"""
M3FM = [sys.executable, "-c", "from m3fm.cli import main; main()"]


@dataclass(frozen=True)
class Runs:
    """A directory with a dataset, and the trainings that are started in it."""

    root: Path

    def prepare(self) -> None:
        """Simulate and curate the cohort."""
        (self.root / "params.yaml").write_text(PARAMS)
        for command in (["simulate", "cohort"], ["curate", "cohort", "data"]):
            self.run(*command)
        # MLflow cannot use a database in whose making it was killed.
        Registry.of(self.root / "state")

    def environment(self, out: str) -> dict[str, str]:
        """What a training to `out` finds in its environment: an MLflow of its own."""
        return {
            **os.environ,
            "M3FM_STATE": str(self.root / "state"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.root / out}.db",
        }

    def run(self, *command: str) -> None:
        """Run a command to its good end."""
        done = subprocess.run(
            [*M3FM, *command],
            cwd=self.root,
            env=self.environment("none"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(
        self, out: str, *options: str, before: tuple[str, ...] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Start a training to `out`, its output in `out.log`."""
        if not (self.root / f"{out}.db").exists():
            shutil.copy(self.root / "state/mlflow/mlflow.db", self.root / f"{out}.db")
        with (self.root / f"{out}.log").open("a") as log:
            return subprocess.Popen(
                [*before, *M3FM, "train", str(self.root / "data"), str(self.root / out), *options],
                cwd=self.root,
                env={**self.environment(out), **variables},
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def log(self, out: str) -> str:
        """What the trainings to `out` printed."""
        return (self.root / f"{out}.log").read_text()

    def checkpoint(self, out: str) -> int:
        """The steps of the newest checkpoint of an unfinished training."""
        names = [path.parent.name for path in self.root.glob(f".{out}.training/checkpoints/*/complete.json")]
        return max((int(name.removeprefix("step-")) for name in names), default=0)

    def parameters(self, out: str) -> torch.Tensor:
        """All weights of a finished training, which must be whole."""
        Reference.to(self.root / out).resolve()
        return torch.cat([t.flatten() for t in load_file(self.root / out / "model.safetensors").values()])

    def same(self, out: str, expected: str) -> bool:
        """Whether two trainings came to the same, bit for bit: weights, and every step's losses."""
        first, second = (self.root / name / "history.jsonl" for name in (out, expected))
        return (
            torch.equal(self.parameters(out), self.parameters(expected))
            and first.read_text() == second.read_text()
        )

    def logged(self, out: str) -> Counter[tuple[str, str, int]]:
        """How often each measure of each step stands in MLflow."""
        with sqlite3.connect(self.root / f"{out}.db") as database:
            rows = database.execute("select run_uuid, key, step from metrics").fetchall()
        return Counter((run, key, step) for run, key, step in rows)
