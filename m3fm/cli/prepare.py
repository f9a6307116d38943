"""Commands that create and check a dataset."""

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
    """Turn DICOM CT and tables into a dataset. After an interruption, the same command resumes.

    Patients, exams and series are replaced by hashes that are salted with the environment variable M3FM_SALT
    (a secret of at least 16 characters, needed for real patients).
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
        Path,
        typer.Argument(help="Dataset directory (output of m3fm curate), or a Parquet table of predictions."),
    ],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Check a dataset against its contract, and exit with 2 if it fails.

    The report is index.html in OUT/data_docs. A table of predictions, from m3fm or another system, is
    checked against a contract of its own.
    """
    if dataset.is_dir():
        check_inputs(dataset=dataset)
    elif dataset.suffix != ".parquet":
        raise InputError(f"{dataset} is not a directory; pass the dataset, or a Parquet table of predictions")
    enter_state()
    from m3fm.dataset.validate import validate, validate_predictions

    (validate if dataset.is_dir() else validate_predictions)(dataset, out)
    print_output(out, as_json)
