"""The command line's root, and what its commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3fm.cohort.source import KINDS
from m3fm.environment import State
from m3fm.errors import InputError

if TYPE_CHECKING:
    from m3fm.config import RunConfig

app = typer.Typer(
    name="m3fm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From chest CT and clinical tables to a registered, deployable M3FM. "
    "Research software, not a medical device.",
)
ALL, STEPS, USE = "Run the whole chain", "Run one step", "Use a model"

PARAMS = Path("params.yaml")
KINDS_HELP = f"Kind of source: {', '.join(KINDS)} (docs/sources.md)."


def absent(out: Path | None) -> Path | None:
    """Nothing that a user has is ever written over."""
    if out is not None and out.exists():
        raise InputError(f"{out} is there already: remove it, or name another")
    return out


Out = Annotated[
    Path, typer.Argument(callback=absent, help="Directory to write; it appears when it is complete.")
]
Params = Annotated[
    Path | None,
    typer.Option(help="The run's configuration. Default: params.yaml here, else the preset tiny."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StateDirectory = Annotated[
    Path | None,
    typer.Option(
        "--state", help="Directory for everything that is made. Default: $M3FM_STATE, else .m3fm here."
    ),
]


def configured(params: Path | None) -> "RunConfig":
    """The configuration that a command was given, or the one that is there."""
    from m3fm.presets import load, preset

    if params is None and not PARAMS.is_file():
        return preset("tiny")
    return load(params or PARAMS)


def entered(directory: Path | None = None) -> State:
    """The state directory, ready for use; heavy libraries are imported after this, and write there."""
    state = State.default() if directory is None else State(directory)
    state.enter()
    return state
