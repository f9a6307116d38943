"""Commands for people who use a model: pull it, ask it, and see what is installed."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from m3fm.cli.app import USE, AsJson, Out, StateDirectory, app, enter_state
from m3fm.core.errors import InputError
from m3fm.core.state import State


class Device(StrEnum):
    """Devices that a bundle runs on; auto uses the GPU if it works."""

    cpu = "cpu"
    gpu = "gpu"
    auto = "auto"


@app.command(rich_help_panel=USE)
def pull(
    model: Annotated[
        str, typer.Argument(help="Model to pull: NAME (newest version), NAME/VERSION or NAME@ALIAS.")
    ],
    out: Out,
    state: StateDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Download a registered bundle, and verify each of its files."""
    home = enter_state(state)
    from m3fm.deploy.pull import pull_to

    pulled = pull_to(model, out, home)
    name = f"models:/{pulled.name}/{pulled.version}"
    found = {"model": name, "run": pulled.run_id, "bundle": str(out)}
    typer.echo(json.dumps(found) if as_json else f"{name} is in {out}")


def _print_example(wanted: bool) -> None:
    if wanted:
        from m3fm.core.files import to_json
        from m3fm.deploy.inputs import example

        typer.echo(to_json(example()), nl=False)
        raise typer.Exit


Example = Annotated[
    bool,
    typer.Option(
        "--example",
        is_eager=True,
        callback=_print_example,
        help="Print a template file that both --clinical and --nodules accept, and exit.",
    ),
]


@app.command(rich_help_panel=USE)
def predict(
    bundle: Annotated[Path, typer.Option(help="Bundle directory (output of m3fm pull or export).")],
    ct: Annotated[Path | None, typer.Option(help="Folder of one DICOM series, or a NIfTI file.")] = None,
    clinical: Annotated[
        Path | None, typer.Option(help="JSON file of clinical elements (docs/inputs.md).")
    ] = None,
    nodules: Annotated[
        Path | None, typer.Option(help="JSON file of a nodule report (docs/inputs.md).")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Task to answer; may be repeated. Default: all.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="A question in your own words.")] = None,
    segmentation: Annotated[
        list[Path] | None,
        typer.Option(
            help="DICOM SEG or NIfTI label map of the CT, for a model trained on segmentations; "
            "may be repeated."
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to run on.")] = Device.cpu,
    example: Example = False,
    as_json: AsJson = False,
) -> None:
    """Predict for one patient. Needs ONNX Runtime (the extra "cpu" or "gpu"), not torch."""
    if question is not None and task:
        raise InputError(
            "--task and --question cannot be combined, because a question selects its own task;"
            " pass one of them"
        )
    from m3fm.deploy.answer import Answers, to_table
    from m3fm.deploy.predictor import load

    model = load(bundle, device.value)
    if ct is None and clinical is None and nodules is None:
        raise InputError("there is nothing to predict from; pass --ct, --clinical or --nodules")
    segmentations = segmentation or ()
    if question is not None:
        answer = model.ask(question, ct, clinical, nodules, segmentations=segmentations)
        answers = Answers({answer.task: answer})
    else:
        answers = model.predict(ct, clinical, nodules, task or None, segmentations=segmentations)
    if as_json:
        found = {
            "notice": model.bundle.notice,
            "bundle": model.digest,
            "provider": model.graphs.provider,
            "answers": {name: answer.to_dict() for name, answer in answers.items()},
        }
        typer.echo(json.dumps(found))
        return
    from rich.console import Console

    Console().print(to_table(answers, model.bundle.notice))


@app.command(rich_help_panel=USE)
def info(as_json: AsJson = False) -> None:
    """Show installed packages, the state directory, the tasks, and the sizes of the models."""
    found = _info()
    if as_json:
        typer.echo(json.dumps(found))
        return
    from rich.console import Console
    from rich.table import Table

    for key in ("version", "state", "runtime"):
        typer.echo(f"{key:<10}{found[key]}")
    packages = ", ".join(
        f"{name} {version or '(not installed)'}" for name, version in found["packages"].items()
    )
    typer.echo(f"{'packages':<10}{packages}\n")
    table = Table("task", "answers", "scale", "labels from")
    table.columns[0].no_wrap = True
    for name, task in found["tasks"].items():
        table.add_row(name, ", ".join(task["answers"]), task["scale"] or "text only", task["source"])
    Console().print(table)
    if found["parameters"] is None:
        typer.echo("\nparameters of the models: not counted, because torch is not installed")
        return
    sizes = Table("millions of parameters", *found["parameters"])
    for part in next(iter(found["parameters"].values())):
        counts = (found["parameters"][size][part] for size in found["parameters"])
        sizes.add_row(part, *(f"{count / 1e6:.2f}" for count in counts))
    Console().print(sizes)


def _info() -> dict[str, Any]:
    from dataclasses import asdict
    from importlib.metadata import PackageNotFoundError, version

    import m3fm
    from m3fm.clinical.tasks import TASKS
    from m3fm.deploy.runtime import check_installation

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    try:
        check_installation()
        runtime = "ONNX Runtime is ready"
    except InputError as problem:
        runtime = str(problem)
    packages = (
        "onnxruntime",
        "onnxruntime-gpu",
        "torch",
        "ray",
        "kfp",
        "dvc",
        "mlflow",
        "great-expectations",
    )
    return {
        "version": m3fm.__version__,
        "state": str(State.default().root),
        "runtime": runtime,
        "packages": {name: installed(name) for name in packages},
        "tasks": {name: asdict(task) for name, task in TASKS.items()},
        "parameters": _parameters() if installed("torch") else None,
    }


def _parameters() -> dict[str, dict[str, int]]:
    """Count the parameters of each part of the models, by size."""
    from m3fm.config.presets import SIZES, preset
    from m3fm.model.size import parameter_counts

    return {size: parameter_counts(preset(size).model) for size in SIZES}
