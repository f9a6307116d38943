"""The command line. Bad input ends with one line and exit code 2; any other failure ends with exit code 1."""

import sys

from m3fm.cli import run, cohort, dataset, prepare, training, release, plan, use  # isort: skip  # noqa: F401 (their commands, in this order)
from m3fm.cli.app import app
from m3fm.core.errors import InputError


def main() -> None:
    """Run `m3fm`."""
    try:
        app()
    except InputError as error:
        print(f"m3fm: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "m3fm").startswith("m3fm"):
            raise
        print(f'm3fm: this needs {error.name}: pip install "m3fm[train,pipelines]"', file=sys.stderr)
        sys.exit(2)
