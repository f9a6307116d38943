"""Runs a pipeline: with Kubeflow's own local runner, or on a cluster. The pipeline is the same."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from kfp import local

from m3fm.config.sections import RunConfig
from m3fm.core.artifacts import Reference
from m3fm.core.errors import InputError
from m3fm.core.files import read_json
from m3fm.core.state import State
from m3fm.pipeline.steps import CHAIN, commit
from m3fm.privacy.pseudonyms import with_salt
from m3fm_kfp.pipelines.compile import PIPELINES
from m3fm_kfp.pipelines.screen import Screen, StepRun


class StepFailed(Exception):
    """A step of a run failed: which one, why, and whether its input was to blame ("input") or m3fm is."""

    def __init__(self, step: str, reason: str, kind: str, log: Path) -> None:
        super().__init__(f"{step} failed: {reason} (log: {log})")
        self.step, self.reason, self.kind, self.log = step, reason, kind, log


@dataclass(frozen=True)
class Finished:
    """A run that came to its end: the outputs of the pipeline by name, and how each step went."""

    outputs: dict[str, str]
    steps: list[StepRun]
    seconds: float
    log: Path


def arguments(run: RunConfig, state: State) -> dict[str, str]:
    """Return what every pipeline is given; what a step's result depends on, the step finds out itself."""
    return {
        "config": with_salt(run).model_dump_json(),
        "commit": commit(),
        "state": str(state.root),
    }


def run_local(name: str, values: dict[str, str], state: State, out: TextIO | None = None) -> Finished:
    """Run a pipeline on this machine; lines of its steps go to `out`, everything else to a log.

    Raises StepFailed, and InputError when another run uses the state directory.
    """
    state.enter()
    with state.locked(), _prepared(state) as log_path, log_path.open("w") as log:
        began = time.monotonic()
        with Screen(steps_of(name), out or sys.stdout, log) as screen:
            try:
                with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
                    outputs = PIPELINES[name](**values).outputs
            except RuntimeError as error:
                raise _failure(state, screen, log_path) from error
            state.failure.unlink(missing_ok=True)
        steps = [screen.runs[step] for step in screen.steps]
        return Finished(dict(outputs), steps, time.monotonic() - began, log_path)


def run_cluster(name: str, values: dict[str, str], host: str) -> str:
    """Submit a pipeline to the Kubeflow Pipelines at `host`; gives the run's address."""
    from kfp import Client

    client = Client(host=host)
    run = client.create_run_from_pipeline_func(PIPELINES[name], arguments=values, enable_caching=False)
    return f"{host.rstrip('/')}/#/runs/details/{run.run_id}"


def steps_of(name: str) -> list[str]:
    """List the steps of a pipeline, in the order of the chain."""
    tasks = PIPELINES[name].pipeline_spec.root.dag.tasks
    return [step for step in CHAIN if step in tasks]


@contextlib.contextmanager
def _prepared(state: State) -> Iterator[Path]:
    """Set up Kubeflow's local runner inside the state directory; gives the path of the run's log."""
    scratch, logs = state.root / "tmp" / "run", state.root / "logs"
    for folder in (scratch, logs):
        folder.mkdir(parents=True, exist_ok=True)
    state.failure.unlink(missing_ok=True)
    # The runner leaves the source of every component that it ran in the directory for temporary files.
    before = {name: os.environ.get(name) for name in ("TMPDIR", "PYTHONUNBUFFERED")}
    os.environ.update(TMPDIR=str(scratch), PYTHONUNBUFFERED="1")
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(state.root / "kfp" / "outputs"),
        workspace_root=str(scratch / "workspace"),
    )
    try:
        yield logs / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}.log"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _failure(state: State, screen: Screen, log: Path) -> StepFailed:
    if not state.failure.is_file():
        return StepFailed(screen.current, "it was killed, or ran out of memory", "internal", log)
    failure: dict[str, Any] = read_json(state.failure)
    return StepFailed(failure["step"], failure["reason"], failure["kind"], log)


def source_reference(path: Path, kind: str) -> str:
    """Make the reference to a source of exams that m3fm did not write, by the source's own digest."""
    from m3fm.cohort.source import open_source

    if not path.is_dir():
        raise InputError(f"{path} is not a directory; pass the one that holds the source")
    return str(Reference(path.absolute(), open_source(kind, path).digest()))
