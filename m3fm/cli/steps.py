"""Commands for single steps: from directory to directory, by the same functions as the pipeline's."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from m3fm.cli.app import KINDS_HELP, STEPS, AsJson, Out, Params, StateDirectory, app, configured, entered
from m3fm.cli.show import finetuned, made, results
from m3fm.environment import State
from m3fm.errors import InputError

if TYPE_CHECKING:
    from m3fm.config import RunConfig
    from m3fm.training.launch import Place


class Split(StrEnum):
    """Parts of a dataset, by patient."""

    test = "test"
    val = "val"
    train = "train"


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
    """Turn DICOM CT and tables into a dataset. Interrupted, the same command goes on where it was.

    Patients, exams and series become hashes under the secret in the environment variable M3FM_SALT, which
    real patients need: at least 16 characters.
    """
    run = configured(params)
    entered()
    from m3fm.cohort.source import open_source
    from m3fm.dataset.curate import curate
    from m3fm.salt import check_source

    opened = open_source(kind, source, run.curate.labels)
    check_source(kind, source)
    curate(opened, out, run.curate, run.launch.workers)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def validate(
    dataset: Annotated[
        Path, typer.Argument(help="Directory that m3fm curate wrote, or a table of predictions in parquet.")
    ],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Check a dataset against its contract; exit code 2 where it breaks it. Pages are in OUT/data_docs.

    A table of predictions, of m3fm or any other system, is checked against its own contract.
    """
    if dataset.is_dir():
        _existing(dataset=dataset)
    elif dataset.suffix != ".parquet":
        raise InputError(f"{dataset} is no directory: give the dataset, or predictions in parquet")
    entered()
    from m3fm.dataset.validate import validate, validate_predictions

    (validate if dataset.is_dir() else validate_predictions)(dataset, out)
    made(out, as_json)


Address = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of a running Ray cluster whose nodes have these paths. Default: Ray here."),
]
Submit = Annotated[
    str | None,
    typer.Option(
        help="http://HOST:PORT of a Ray cluster's dashboard: run there as a job, and follow it. "
        "DATASET, OUT and other paths are those of the cluster."
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Path or URI (s3://BUCKET/FOLDER) of checkpoints while training goes on. Default: beside OUT."
    ),
]


@app.command(rich_help_panel=STEPS)
def pretrain(
    dataset: Dataset,
    out: Out,
    params: Params = None,
    address: Address = None,
    submit: Submit = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Pretrain the image encoder on a dataset's volumes. Interrupted, the same command goes on.

    Steps are logged to the MLflow at $MLFLOW_TRACKING_URI, if that is set.
    """
    run = configured(params)
    if submit is not None:
        _submitted(submit, "pretrain", [dataset, out], {"--storage": storage}, address, run)
    _existing(dataset=dataset)
    place = _place(entered(), storage, address)
    from m3fm.training.pretrain import pretrain

    pretrain(dataset, out, run, place)
    made(out, as_json)


@app.command(rich_help_panel=STEPS)
def train(
    dataset: Dataset,
    out: Out,
    pretrained: Annotated[
        Path | None, typer.Option(help="Directory that m3fm pretrain wrote; without, from scratch.")
    ] = None,
    params: Params = None,
    address: Address = None,
    submit: Submit = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Train the model on all tasks. Interrupted, the same command goes on where it was.

    Steps are logged to the MLflow at $MLFLOW_TRACKING_URI, if that is set.
    """
    run = configured(params)
    if submit is not None:
        options = {"--pretrained": pretrained, "--storage": storage}
        _submitted(submit, "train", [dataset, out], options, address, run)
    _existing(dataset=dataset, pretrained=pretrained)
    place = _place(entered(), storage, address)
    from m3fm.training.multitask import train

    train(dataset, pretrained, out, run, place)
    made(out, as_json)


def _place(state: State, storage: str | None, address: str | None) -> "Place":
    """Where training keeps and logs what it does; Ray is told which cluster by its own variable."""
    from m3fm.registry import Registry
    from m3fm.training.launch import Place

    if address is not None:
        os.environ["RAY_ADDRESS"] = address
    mlflow = Registry.of(state.root).uri if os.environ.get("MLFLOW_TRACKING_URI") else None
    return Place(storage, mlflow)


def _submitted(
    dashboard: str,
    command: str,
    paths: list[Path],
    options: dict[str, Path | str | None],
    address: str | None,
    run: "RunConfig",
) -> NoReturn:
    """Run the same command as a job on a Ray cluster, and end as it does."""
    if address is not None:
        raise InputError("--submit and --address are two ways to a cluster: give one of them")
    given = {name: str(value) for name, value in options.items() if value is not None}
    for path in (*map(str, paths), *given.values()):
        if "://" not in path and not path.startswith("/"):
            raise InputError(f"{path} is a path of the cluster, where a job has no directory: give it whole")
        if "://" in path and "@" in path:
            raise InputError(
                "a job's command is for all to see: no keys in --storage, set them as AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY on the nodes"
            )
    entered()
    from m3fm.training.submit import submit

    words = [*map(str, paths), *(part for pair in given.items() for part in pair)]
    raise typer.Exit(submit(dashboard, command, words, run))


@app.command(rich_help_panel=STEPS)
def finetune(
    dataset: Dataset,
    task: Annotated[Path, typer.Argument(help="YAML file that describes the task (docs/transfer.md).")],
    out: Out,
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Directory that m3fm train or m3fm pretrain wrote; without, all from scratch."),
    ] = None,
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune on a new task, in cross-validation beside a reference. Interrupted, the same command goes on.

    Prints the table that is in OUT/report.html, too; predictions of every row are in OUT/predictions.
    """
    run = configured(params)
    _existing(dataset=dataset, pretrained=pretrained)
    entered()
    from m3fm.transfer.finetune import finetune

    finetune(dataset, task, out, run, pretrained)
    finetuned(out, as_json)


@app.command(rich_help_panel=STEPS)
def evaluate(
    checkpoint: Checkpoint,
    dataset: Dataset,
    out: Out,
    split: Annotated[Split, typer.Option(help="Whose exams are predicted.")] = Split.test,
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Measure a checkpoint: AUC with intervals by task, and OUT/report.html."""
    run = configured(params)
    _existing(checkpoint=checkpoint, dataset=dataset)
    entered()
    from m3fm import steps

    steps.measure(checkpoint, dataset, split.value, out, run.evaluate)
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
    _existing(checkpoint=checkpoint, dataset=dataset, evaluation=evaluation)
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
    _existing(bundle=bundle, evaluation=evaluation, checkpoint=checkpoint, pretrained=pretrained)
    _of_one_model(bundle, evaluation, checkpoint)
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


MADE_BY = {
    "dataset": ("curate", "dataset.json", "series.parquet"),
    "pretrained": ("pretrain", "checkpoint.json", "model.safetensors"),
    "checkpoint": ("train", "checkpoint.json", "tokenizer.json"),
    "evaluation": ("evaluate", "evaluation.json", "predictions.parquet"),
    "bundle": ("export", "bundle.json", "answer.onnx"),
}
"""By what a directory is, the command that writes it, and two files by which it is known."""


def _existing(**directories: Path | None) -> None:
    """Refuse what is not what its name here says, or is damaged."""
    from m3fm.artifacts import Reference

    for kind, directory in directories.items():
        if directory is None:
            continue
        if not directory.is_dir():
            raise InputError(f"{directory} is no directory: give one that an earlier step wrote")
        command, *files = MADE_BY[kind]
        if not all((directory / name).is_file() for name in files):
            raise InputError(f"{directory} is no finished output of m3fm {command}: give one")
        Reference.to(directory).resolve()


def _of_one_model(bundle: Path, evaluation: Path, checkpoint: Path) -> None:
    """Refuse an evaluation or a checkpoint that is another model's than the bundle's."""
    from m3fm.artifacts import Reference
    from m3fm.deploy.bundle import read

    lineage = read(bundle).lineage
    for name, directory in (("evaluation", evaluation), ("checkpoint", checkpoint)):
        if lineage.get(name) != Reference.to(directory).digest:
            raise InputError(f"{directory} is not the {name} that {bundle} was made with: give that one")
