"""Commands that train: on this machine, on a running Ray cluster, or as a job on one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from m3fm.cli.app import STEPS, AsJson, Dataset, Out, Params, app, check_inputs, enter_state, load_config
from m3fm.cli.show import finetuned, print_output
from m3fm.core.errors import InputError
from m3fm.core.state import State

if TYPE_CHECKING:
    from m3fm.config.sections import RunConfig
    from m3fm.training.launch import Place

Address = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of a running Ray cluster whose nodes see the same paths. "
        "Default: start Ray on this machine."
    ),
]
Submit = Annotated[
    str | None,
    typer.Option(
        is_eager=True,
        help="URL of a Ray cluster's dashboard, http://HOST:PORT: run there as a job, and follow its output. "
        "DATASET, OUT and other paths are paths on the cluster.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Path or URI (s3://BUCKET/FOLDER) for checkpoints during training. Default: next to OUT."
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
    """Pretrain the image encoder on a dataset's volumes. After an interruption, the same command resumes.

    Steps are logged to MLflow if $MLFLOW_TRACKING_URI is set.
    """
    run = load_config(params)
    if submit is not None:
        _submitted(submit, "pretrain", [dataset, out], {"--storage": storage}, address, run, as_json)
    check_inputs(dataset=dataset)
    place = _place(enter_state(), storage, address)
    from m3fm.training.pretrain import pretrain

    pretrain(dataset, out, run, place)
    print_output(out, as_json)


@app.command(rich_help_panel=STEPS)
def train(
    dataset: Dataset,
    out: Out,
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Output of m3fm pretrain to start from. Default: train from scratch."),
    ] = None,
    params: Params = None,
    address: Address = None,
    submit: Submit = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Train the model on all tasks. After an interruption, the same command resumes.

    Steps are logged to MLflow if $MLFLOW_TRACKING_URI is set.
    """
    run = load_config(params)
    if submit is not None:
        options = {"--pretrained": pretrained, "--storage": storage}
        _submitted(submit, "train", [dataset, out], options, address, run, as_json)
    check_inputs(dataset=dataset, pretrained=pretrained)
    place = _place(enter_state(), storage, address)
    from m3fm.training.multitask import train

    train(dataset, pretrained, out, run, place)
    print_output(out, as_json)


def _place(state: State, storage: str | None, address: str | None) -> "Place":
    """Return where a training keeps checkpoints and logs steps; set RAY_ADDRESS for a given cluster."""
    from m3fm.tracking.registry import Registry
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
    as_json: bool,
) -> NoReturn:
    """Run the same command as a job on a Ray cluster, and exit with its exit code."""
    if address is not None:
        raise InputError("--submit and --address cannot be combined; pass one of them")
    given = {name: str(value) for name, value in options.items() if value is not None}
    for path in (*map(str, paths), *given.values()):
        if "://" not in path and not path.startswith("/"):
            raise InputError(
                f"{path} is relative, but a job on the cluster has no working directory;"
                " pass an absolute path"
            )
        if "://" in path and "@" in path:
            raise InputError(
                "--storage contains keys, but everyone can read a job's command; set AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY on the nodes instead"
            )
    enter_state()
    from m3fm.training.submit import submit

    words = [*map(str, paths), *(part for pair in given.items() for part in pair)]
    words += ["--json"] if as_json else []
    raise typer.Exit(submit(dashboard, command, words, run))


@app.command(rich_help_panel=STEPS)
def finetune(
    dataset: Dataset,
    task: Annotated[Path, typer.Argument(help="YAML file that describes the task (docs/transfer.md).")],
    out: Out,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            help="Output of m3fm train or m3fm pretrain to start from. Default: train from scratch."
        ),
    ] = None,
    params: Params = None,
    address: Address = None,
    submit: Submit = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune on a new task in cross-validation, and compare with a reference model.

    After an interruption, the same command resumes. Prints the table of OUT/report.html, and writes each
    row's predictions to OUT/predictions. AUCs are logged to MLflow if $MLFLOW_TRACKING_URI is set.
    """
    run = load_config(params)
    if submit is not None:
        _submitted(
            submit, "finetune", [dataset, task, out], {"--pretrained": pretrained}, address, run, as_json
        )
    check_inputs(dataset=dataset, pretrained=pretrained)
    place = _place(enter_state(), None, address)
    from m3fm.transfer.finetune import finetune

    finetune(dataset, task, out, run, pretrained, place.mlflow)
    finetuned(out, as_json)
