"""Commands that make and check a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from m3fm.cli.app import KINDS_HELP, STEPS, AsJson, Out, Params, app, check_inputs, enter_state, load_config
from m3fm.cli.show import print_output
from m3fm.core.errors import InputError


@app.command(rich_help_panel=STEPS)
def simulate(out: Out, params: Params = None, as_json: AsJson = False) -> None:
    """Write a simulated screening cohort: DICOM CT, and tables in NLST's format."""
    run = load_config(params)
    enter_state()
    from m3fm.simulate import simulate

    simulate(out, run.simulate, run.launch.workers)
    print_output(out, as_json)


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
    run = load_config(params)
    enter_state()
    from m3fm.cohort.source import open_source
    from m3fm.dataset.curate import curate
    from m3fm.privacy.pseudonyms import check_source

    opened = open_source(kind, source, run.curate.labels)
    check_source(kind, source)
    curate(opened, out, run.curate, run.launch.workers)
    print_output(out, as_json)


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
        check_inputs(dataset=dataset)
    elif dataset.suffix != ".parquet":
        raise InputError(f"{dataset} is not a directory; pass the dataset, or predictions in parquet")
    enter_state()
    from m3fm.dataset.validate import validate, validate_predictions

    (validate if dataset.is_dir() else validate_predictions)(dataset, out)
    print_output(out, as_json)
