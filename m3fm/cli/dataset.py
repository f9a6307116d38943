"""Commands that inspect datasets: their differences, the salt's fingerprint, and what results depend on."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from m3fm.cli.app import STEPS, AsJson, app
from m3fm.core.errors import InputError

dataset = typer.Typer(no_args_is_help=True, help="Compare datasets; print what they depend on.")
app.add_typer(dataset, name="dataset", rich_help_panel=STEPS)

SIDES = ("before", "after", "added", "removed")


@dataset.command()
def diff(
    before: Annotated[Path, typer.Argument(help="Dataset directory (output of m3fm curate).")],
    after: Annotated[Path, typer.Argument(help="Dataset directory to compare with.")],
    as_json: AsJson = False,
) -> None:
    """Show what changed between two datasets: patients, exams, series, splits, and labels by task.

    With --json, the output names every row that was added, removed or moved.
    """
    for directory in (before, after):
        if not directory.is_dir():
            raise InputError(f"{directory} is not a directory; pass one that m3fm curate wrote")
    from m3fm.dataset.diff import compare

    changes = compare(before, after)
    if as_json:
        typer.echo(json.dumps(changes))
    else:
        _show(changes)


@dataset.command()
def salt() -> None:
    """Print the fingerprint of the salt in M3FM_SALT.

    Equal salts have equal fingerprints; a fingerprint does not reveal its salt.
    """
    from m3fm.privacy.pseudonyms import Salt, check_salt

    check_salt()
    typer.echo(Salt.of_environment().fingerprint)


@dataset.command()
def depends() -> None:
    """Print, as JSON, the dependencies that DVC cannot track.

    These are the salt's fingerprint, and the code and libraries of each step.
    """
    from m3fm.config.steps import STORED
    from m3fm.core.files import to_json
    from m3fm.privacy.pseudonyms import Salt

    steps = {step.name: step.key(step.depends_on(None)) for step in STORED}
    typer.echo(to_json({"salt": Salt.of_environment().fingerprint, **steps}), nl=False)


def _show(changes: dict[str, Any]) -> None:
    """Print the numbers of added, removed and changed rows, then the changes of splits, series and labels."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"before  {changes['before']}\nafter   {changes['after']}", soft_wrap=True)
    console.print(f"source: {changes['source']}; configuration: {changes['config']}\n")
    series = changes["series"]
    if series["before"] == len(series["removed"]) and series["before"]:
        console.print("The datasets have no series in common: their sources or their salts differ.\n")

    rows = Table("", *SIDES, "changed columns (number of rows)")
    for name in ("patients", "exams", "series", "nodules"):
        found = changes[name]
        columns = ", ".join(f"{column} {count}" for column, count in found["columns"].items())
        counts = (len(found[side]) if isinstance(found[side], list) else found[side] for side in SIDES)
        rows.add_row(name, *map(str, counts), columns)
    console.print(rows)
    for what, found in (("patient", changes["patients"]), ("series", series)):
        for move, count in Counter(f"{m['before']} -> {m['after']}" for m in found["moved"]).most_common():
            console.print(f"{what}: {move}: {count}")
    if series["other_volume"]:
        console.print(f"series: kept with other voxels: {len(series['other_volume'])}")

    labels = Table("labels", *SIDES, "changed", "by class")
    for task, found in changes["labels"].items():
        labels.add_row(task, *(str(found[side]) for side in (*SIDES, "changed")), _by_class(found))
    console.print(labels)


def _by_class(found: dict[str, Any]) -> str:
    """Format changes by class, as in "yes +3 -1, no -> yes 2"."""
    parts = []
    for name, counts in found["classes"].items():
        signs = [f"{sign}{counts[side]}" for sign, side in (("+", "added"), ("-", "removed")) if counts[side]]
        parts += [" ".join([name, *signs])] if signs else []
    return ", ".join([*parts, *(f"{move} {count}" for move, count in found["moves"].items())])
