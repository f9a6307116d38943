"""The command line's root, and what its commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import m3fm
from m3fm.cohort.source import KINDS
from m3fm.core.errors import InputError
from m3fm.core.state import State

if TYPE_CHECKING:
    from m3fm.config.sections import RunConfig

app = typer.Typer(
    name="m3fm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From chest CT and clinical tables to a registered, deployable M3FM. "
    "Research software, not a medical device.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"m3fm {m3fm.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the options of m3fm itself."""


ALL, STEPS, USE = "Run the whole chain", "Run one step", "Use a model"

PARAMS = Path("params.yaml")
KINDS_HELP = f"Kind of source: {', '.join(KINDS)} (docs/sources.md)."


def refuse_existing(context: typer.Context, out: Path | None) -> Path | None:
    """Refuse an output that exists: nothing is overwritten; a job's OUT is checked on its cluster."""
    if out is not None and not context.params.get("submit") and out.exists():
        raise InputError(f"{out} already exists; remove it, or choose another path")
    return out


Out = Annotated[
    Path,
    typer.Argument(
        callback=refuse_existing,
        help="Output directory; must not exist, and appears only when it is complete.",
    ),
]
Params = Annotated[
    Path | None,
    typer.Option(
        help="Configuration file of the run. Default: ./params.yaml if it exists, otherwise the preset tiny."
    ),
]
Dataset = Annotated[Path, typer.Argument(help="Dataset directory (output of m3fm curate).")]
Checkpoint = Annotated[Path, typer.Argument(help="Checkpoint directory (output of m3fm train).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StateDirectory = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="Directory for all outputs and caches. "
        "Default: $M3FM_STATE, otherwise .m3fm in the current directory.",
    ),
]


def load_config(params: Path | None) -> "RunConfig":
    """Load the given configuration, otherwise ./params.yaml if it exists, otherwise the preset tiny."""
    from m3fm.config.presets import load, preset

    if params is None and not PARAMS.is_file():
        return preset("tiny")
    return load(params or PARAMS)


def enter_state(directory: Path | None = None) -> State:
    """Prepare the state directory; heavy libraries are imported after this, and write there."""
    state = State.default() if directory is None else State(directory)
    state.enter()
    return state


MADE_BY = {
    "dataset": ("curate", "dataset.json", "series.parquet"),
    "pretrained": ("pretrain", "checkpoint.json", "model.safetensors"),
    "checkpoint": ("train", "checkpoint.json", "tokenizer.json"),
    "evaluation": ("evaluate", "evaluation.json", "predictions.parquet"),
    "bundle": ("export", "bundle.json", "answer.onnx"),
}
"""Command that writes each kind of directory, and two files that identify it."""


def check_inputs(**directories: Path | None) -> None:
    """Refuse directories that are damaged or not of the kind that the keyword names."""
    from m3fm.core.artifacts import Reference

    for kind, directory in directories.items():
        if directory is None:
            continue
        if not directory.is_dir():
            raise InputError(f"{directory} is not a directory; pass one that an earlier step wrote")
        command, *files = MADE_BY[kind]
        if not all((directory / name).is_file() for name in files):
            raise InputError(f"{directory} is not a finished `m3fm {command}` output; pass one")
        Reference.to(directory).resolve()
