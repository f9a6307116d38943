"""Commands for the whole chain: the pipeline on this machine, or on a cluster."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3fm.cli.app import ALL, KINDS_HELP, AsJson, Params, StateDirectory, app, enter_state, load_config
from m3fm.core import telemetry
from m3fm.core.errors import InputError
from m3fm.core.state import State

if TYPE_CHECKING:
    from m3fm.config.sections import RunConfig
    from m3fm_kfp.pipelines.runner import Finished


class Pipeline(StrEnum):
    """The pipelines that can be run."""

    screening = "screening"


class Backend(StrEnum):
    """Places where a pipeline can run."""

    local = "local"
    kfp = "kfp"


@app.command(rich_help_panel=ALL)
def demo(params: Params = None, state: StateDirectory = None) -> None:
    """Run the screening pipeline on simulated patients, and show the results (takes minutes)."""
    finished = _local(load_config(params), enter_state(state), None, "nlst")
    _summary(finished)
    _places(finished, enter_state(state))


@app.command(rich_help_panel=ALL)
def run(
    pipeline: Annotated[Pipeline, typer.Argument(help="Pipeline to run.")],
    params: Params = None,
    state: StateDirectory = None,
    source: Annotated[
        Path | None, typer.Option(help="Source directory of exams. Default: simulate exams.")
    ] = None,
    kind: Annotated[str, typer.Option(help=KINDS_HELP)] = "nlst",
    backend: Annotated[
        Backend, typer.Option(help="local: this machine; kfp: the cluster at --host.")
    ] = Backend.local,
    host: Annotated[str, typer.Option(help="URL of the Kubeflow Pipelines API.")] = "",
    compile_to: Annotated[
        Path | None,
        typer.Option("--compile", help="Write the pipeline's IR YAML to this file, and run nothing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a Kubeflow pipeline. Steps whose inputs, code and settings have not changed are reused."""
    if compile_to is not None:
        from m3fm_kfp.pipelines.compile import compile_to as write

        write("screening" if source is None else "screening_of", compile_to)
        return
    if backend is Backend.local:
        finished = _local(load_config(params), enter_state(state), source, kind, quiet=as_json)
        if as_json:
            steps = [vars(step) for step in finished.steps]
            typer.echo(json.dumps({"outputs": finished.outputs, "steps": steps, "log": str(finished.log)}))
        else:
            _summary(finished)
            for name, value in finished.outputs.items():
                typer.echo(f"{name:<16}{value}")
        return
    if not host:
        raise InputError("--backend kfp needs the URL of the Kubeflow Pipelines API; pass --host URL")
    enter_state()
    from m3fm_kfp.pipelines import runner
    from m3fm_kfp.pipelines.screening.pipeline import MOUNT

    values = runner.arguments(load_config(params), State(state or Path(MOUNT)))
    if source is not None:
        values |= {"source": runner.source_reference(source, kind), "kind": kind}
    typer.echo(runner.run_cluster("screening" if source is None else "screening_of", values, host))


def _local(
    config: "RunConfig", state: State, source: Path | None, kind: str, quiet: bool = False
) -> "Finished":
    from m3fm_kfp.pipelines import runner

    values = runner.arguments(config, state)
    if source is not None:
        values |= {"source": runner.source_reference(source, kind), "kind": kind}
    name = "screening" if source is None else "screening_of"
    try:
        return runner.run_local(name, values, state, sys.stderr if quiet else sys.stdout)
    except runner.StepFailed as failed:
        typer.echo(f"m3fm: {failed}", err=True)
        raise typer.Exit(2 if failed.kind == "input" else 1) from failed


def _summary(finished: "Finished") -> None:
    """Print which steps ran, which were reused, and how long it took."""
    reused = [step.name for step in finished.steps if step.reused]
    ran = [f"{step.name} {step.seconds:.0f} s" for step in finished.steps if not step.reused]
    typer.echo(f"\nreused: {', '.join(reused) or 'nothing'}\nran: {', '.join(ran) or 'nothing'}")
    typer.echo(f"{finished.seconds:.0f} s in total; log: {finished.log}\n")


def _places(finished: "Finished", state: State) -> None:
    from m3fm.cli.show import results
    from m3fm.core.artifacts import Reference

    made = ("evaluation", "dataset", "checkpoint", "bundle")
    paths = {name: Reference.parse(finished.outputs[name]).path for name in made}
    results(paths["evaluation"])
    database = state.root / "mlflow" / "mlflow.db"
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    quiet = f"MLFLOW_DISABLE_TELEMETRY={telemetry.OFF['MLFLOW_DISABLE_TELEMETRY']}"
    lines = {
        "report": paths["evaluation"] / "report.html",
        "dataset": f"{paths['dataset']} ({finished.outputs['dataset_version']})",
        "checkpoint": paths["checkpoint"],
        "ONNX bundle": paths["bundle"],
        "MLflow database": database,
        "model": finished.outputs["model"],
        "MLflow UI": f"{quiet} {mlflow} ui --backend-store-uri {shlex.quote(f'sqlite:///{database}')}",
    }
    for name, value in lines.items():
        typer.echo(f"{name:<16}{value}")
    typer.echo("\nSimulated patients; research software, not a medical device.")
