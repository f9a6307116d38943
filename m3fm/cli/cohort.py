"""The command that looks at a source's metadata before anything is curated."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m3fm.cli.app import KINDS_HELP, STEPS, AsJson, Params, app, enter_state, load_config, refuse_existing
from m3fm.core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@app.command(rich_help_panel=STEPS)
def cohort(
    kind: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help=KINDS_HELP),
    ],
    root: Annotated[
        Path | None, typer.Argument(metavar="[DIRECTORY]", help="Directory of the source.")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="For idc: index file, idc_index.parquet. Default: the one in the package idc-index-data."
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(callback=refuse_existing, help="Write the decision on every series to this CSV file."),
    ] = None,
    download: Annotated[
        Path | None, typer.Option(help="For idc: download the kept series to this directory.")
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="With --download: largest number of patients to download.")
    ] = None,
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Show which series of a source would be kept, and why the others would not, from metadata alone."""
    run = load_config(params)
    if kind != "idc" and (index or download):
        raise InputError(f"--index and --download only work with idc, not with {kind}; leave them out")
    from m3fm.cohort.idc import download as fetch
    from m3fm.cohort.idc import installed_index
    from m3fm.cohort.source import open_source

    location = index or root or (installed_index() if kind == "idc" else None)
    if location is None:
        raise InputError(f"a source directory is needed; run m3fm cohort {kind} DIRECTORY")
    rows = open_source(kind, location).listing()
    from m3fm.cohort.selection import decide, kept_series, summary

    decided = decide(rows, run.curate.min_slices)
    if decisions is not None:
        _write(decisions, rows, decided)
    found = {"source": kind, "min_slices": run.curate.min_slices, **summary(rows, decided)}
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found)
    if download is not None:
        enter_state()
        fetch(kept_series(rows, decided, patients), download)


def _write(path: Path, rows: "pa.Table", decisions: "pa.ChunkedArray") -> None:
    import pyarrow as pa
    from pyarrow import csv

    try:
        csv.write_csv(pa.table({"series": rows["series"], "decision": decisions}), path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def _show(found: dict[str, Any]) -> None:
    """Print one line per rule: what it leaves out, and what is left after it."""
    from rich.console import Console
    from rich.table import Table

    table = Table("rule", box=None, pad_edge=False)
    for heading in ("left out", "series left", "patients left"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why")
    table.columns[0].no_wrap = True
    table.add_row("", "", f"{found['series']:,}", f"{found['patients']:,}", "listed by the source")
    for rule in found["rules"]:
        numbers = (rule[key] for key in ("series", "series_left", "patients_left"))
        table.add_row(rule["rule"], *(f"{number:,}" for number in numbers), rule["why"])
    Console().print(table)
    kept = found["kept"]
    typer.echo(f"kept: {kept['series']:,} series of {kept['patients']:,} patients, {kept['exams']:,} exams")
    if kept["unclear"]:
        typer.echo(f"{kept['unclear']:,} of them are reformats or projections: headers show which are axial")
