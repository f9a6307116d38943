"""Commands for single steps: from directory to directory, by the same functions as the pipeline's."""

import json
from pathlib import Path
from typing import Annotated

import typer

from m3fm.cli.app import KINDS_HELP, STEPS, AsJson, Out, Params, StateDirectory, app, configured, entered
from m3fm.cli.show import made, results
from m3fm.errors import InputError

Dataset = Annotated[Path, typer.Argument(help="Directory that m3fm curate wrote.")]
Checkpoint = Annotated[Path, typer.Argument(help="Directory that m3fm train wrote.")]


@app.command(rich_help_panel=STEPS)
def simulate(out: Out, params: Params = None, as_json: AsJson = False) -> None:
    """Write a simulated screening cohort: DICOM CT, and tables in NLST's format."""
    run = configured(params)
    entered()
    from m3fm.simulate import simulate

    simulate(out, run.simulate, run.launch.workers)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def curate(
    source: Annotated[Path, typer.Argument(help="Directory with tables and images, or with images only.")],
    out: Out,
    kind: Annotated[str, typer.Option(help=KINDS_HELP)] = "nlst",
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Turn DICOM CT and tables into a dataset. Interrupted, the same command goes on where it was."""
    run = configured(params)
    entered()
    from m3fm.cohort.source import open_source
    from m3fm.dataset.curate import curate

    curate(open_source(kind, source, run.curate.labels), out, run.curate, run.launch.workers)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def validate(dataset: Dataset, out: Out, as_json: AsJson = False) -> None:
    """Check a dataset against its contract; exit code 2 where it breaks it. Pages are in OUT/data_docs."""
    _existing(dataset)
    entered()
    from m3fm.dataset.validate import validate

    validate(dataset, out)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def pretrain(dataset: Dataset, out: Out, params: Params = None, as_json: AsJson = False) -> None:
    """Pretrain the image encoder on a dataset's volumes. Interrupted, the same command goes on."""
    run = configured(params)
    _existing(dataset)
    entered()
    from m3fm.training.pretrain import pretrain

    pretrain(dataset, out, run)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def train(
    dataset: Dataset,
    out: Out,
    pretrained: Annotated[
        Path | None, typer.Option(help="Directory that m3fm pretrain wrote; without, from scratch.")
    ] = None,
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Train the model on all tasks. Interrupted, the same command goes on where it was."""
    run = configured(params)
    _existing(dataset, *([pretrained] if pretrained else []))
    entered()
    from m3fm.training.multitask import train

    train(dataset, pretrained, out, run)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def evaluate(
    checkpoint: Checkpoint,
    dataset: Dataset,
    out: Out,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Measure a checkpoint: AUC with intervals by task, and OUT/report.html."""
    run = configured(params)
    _existing(checkpoint, dataset)
    entered()
    from m3fm import steps

    steps.measure(checkpoint, dataset, split, out, run.evaluate)
    results(out, as_json)


@app.command(rich_help_panel=STEPS)
def export(
    checkpoint: Checkpoint,
    dataset: Dataset,
    evaluation: Annotated[Path, typer.Argument(help="Directory that m3fm evaluate wrote.")],
    out: Out,
    dataset_version: Annotated[
        str, typer.Option(help="The dataset's version in DVC, md5:HASH.dir (see dvc.lock).")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint's ONNX bundle, once its answers are found to be the checkpoint's."""
    _existing(checkpoint, dataset, evaluation)
    entered()
    from m3fm.artifacts import Reference, source_digest
    from m3fm.deploy.export import export

    lineage = {
        "code": source_digest(),
        "dataset": Reference.to(dataset).digest,
        "dvc_digest": dataset_version,
    }
    export(checkpoint, out, lineage, dataset, evaluation)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def register(
    bundle: Annotated[Path, typer.Argument(help="Directory that m3fm export wrote.")],
    evaluation: Annotated[Path, typer.Argument(help="Directory that m3fm evaluate wrote.")],
    checkpoint: Checkpoint,
    pretrained: Annotated[Path | None, typer.Option(help="Directory that m3fm pretrain wrote.")] = None,
    params: Params = None,
    state: StateDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Register a bundle in MLflow with its lineage; the same bundle twice is one version."""
    run = configured(params)
    histories = {"train": checkpoint, **({} if pretrained is None else {"pretrain": pretrained})}
    _existing(bundle, evaluation, *histories.values())
    root = entered(state).root
    from m3fm import steps
    from m3fm.deploy.bundle import read
    from m3fm.registry import Registry

    version = Registry.of(root).register(
        bundle,
        evaluation,
        {
            "git_commit": steps.commit(),
            "dvc_digest": read(bundle).lineage["dvc_digest"],
            "config_digest": run.digest(),
            "pipeline_run": "m3fm register",
        },
        run.registered_model,
        {name: path / "history.jsonl" for name, path in histories.items()},
        run.model_dump(mode="json"),
    )
    name = f"models:/{version.name}/{version.version}"
    typer.echo(json.dumps({"model": name, "run": version.run_id}) if as_json else name)


def _existing(*directories: Path) -> None:
    """Refuse what is no output of an earlier step, or is damaged."""
    from m3fm.artifacts import Reference

    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"{directory} is no directory: give one that an earlier step wrote")
        Reference.to(directory).resolve()
