"""The gate between data and training: Great Expectations checks, and each failure is reported in one line.

`validation.json` records the outcome and `data_docs` shows it; both are written after a refusal, too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq

from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.core import telemetry
from m3fm.core.artifacts import Reference, read_manifest, seal, written_whole
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest
from m3fm.dataset import measures
from m3fm.dataset.columns import HAZARDS, classes
from m3fm.dataset.instance_numbers import unfound_nodules
from m3fm.dataset.prediction_table import known_tasks
from m3fm.dataset.tables import SPLITS

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

ROWS_NAMED = 3
"""Number of faulty rows that a failure names."""

Results = dict[str, "ExpectationSuiteValidationResult"]


def validate(dataset: Path, out: Path) -> None:
    """Check a curated dataset, and write the outcome and its pages to `out`.

    Raises InputError that names suite, expectation, column and faulty rows.
    """
    subject = {"dataset": Reference.to(dataset).digest}
    _gate(dataset, out, subject, lambda context: _run(context, dataset), lambda: _warnings(dataset))


def validate_predictions(table: Path, out: Path) -> None:
    """Check a table of predictions, whichever system made it, and write the outcome and its pages to `out`.

    Raises InputError that names suite, expectation, column and faulty rows.
    """
    from m3fm.dataset import predictions

    def run(context: Any) -> Results:
        tasks = known_tasks(table)
        measured = predictions.measured(table, tasks)
        return {"predictions": run_suite(context, "predictions", predictions.suite(tasks), measured)}

    if not table.is_file():
        raise InputError(f"{table} is not a file; pass a table of predictions in parquet")
    _gate(table, out, {"predictions": file_digest(table)}, run, list)


def _gate(
    checked: Path,
    out: Path,
    subject: dict[str, str],
    run: Callable[[Any], Results],
    warnings: Callable[[], list[str]],
) -> None:
    """Run suites in a new context, write the outcome and its pages, and refuse data that fails."""
    with written_whole(out) as partial:
        context = open_context(partial / "data_docs")
        results = run(context)
        failures = [failure for name, result in results.items() for failure in _failures(name, result)]
        manifest = {
            "success": not failures,
            **subject,
            "suites": {name: _statistics(result) for name, result in results.items()},
            "failures": failures,
            "warnings": [] if failures else warnings(),
        }
        # The pages contain the time of day, so they are built after sealing: sealed, they would give every
        # validation another digest. Nor are they in the dataset, whose version must depend on its data alone.
        seal(partial, "validation.json", manifest)
        context.build_data_docs()
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise InputError(f"{checked} is refused: {failures[0]}{more}; see {out / 'data_docs' / 'index.html'}")


def open_context(pages: Path) -> Any:
    """Return a Great Expectations context in memory, which writes only its pages."""
    telemetry.switch_off()
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    site = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(pages.resolve()),
        },
    }
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            data_docs_sites={"data_docs": site},
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


def _run(context: Any, dataset: Path) -> Results:
    """Run the suite of the columns and, where it passes, all others."""
    from m3fm.dataset.expectations import column_suite, suites

    results = {"columns": run_suite(context, "columns", column_suite(), measures.columns(dataset))}
    if results["columns"].success:
        tables = measures.measured(dataset)
        for name, expectations in suites(read_manifest(dataset)["counts"]["series_seen"]).items():
            results[name] = run_suite(context, name, expectations, tables[name])
    return results


def run_suite(
    context: Any, name: str, expectations: list[Any], table: pd.DataFrame
) -> "ExpectationSuiteValidationResult":
    """Check one table against its suite; `name` names both, and must be new to the context."""
    import great_expectations as gx

    from m3fm.dataset.expectations import ROW_NAMES

    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=name, data=batch, suite=suite)
    )
    return definition.run(
        batch_parameters={"dataframe": table},
        # Rows are named but values are not shown, because a faulty value may identify a patient.
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": list(ROW_NAMES[name]),
            "exclude_unexpected_values": True,
        },
    )


def _statistics(result: "ExpectationSuiteValidationResult") -> dict[str, int]:
    return {
        "expectations": result.statistics["evaluated_expectations"],
        "met": result.statistics["successful_expectations"],
    }


def _failures(suite: str, result: "ExpectationSuiteValidationResult") -> list[str]:
    return [_failure(suite, single) for single in result.results if not single.success]


def _failure(suite: str, result: "ExpectationValidationResult") -> str:
    """Return one line: suite, expectation, columns, number of faulty rows, and the names of the first."""
    from m3fm.dataset.expectations import ROW_NAMES

    config = result.expectation_config
    names = [config.kwargs.get(key) for key in ("column", "column_A", "column_B")]
    columns = [name for name in names if name] + config.kwargs.get("column_list", [])
    where = f"{suite}: {config.type}" + (f" of {', '.join(columns)}" if columns else "")
    if result.exception_info.get("exception_message"):
        return f"{where} could not be checked: {result.exception_info['exception_message'].splitlines()[0]}"
    index = result.result.get("unexpected_index_list")
    if not index:
        return f"{where} fails: found {result.result.get('observed_value')}"
    rows = [" ".join(map(str, row)) for row in zip(*(index[0][column] for column in ROW_NAMES[suite]))]
    named = ", ".join(rows[:ROWS_NAMED]) + (", ..." if len(rows) > ROWS_NAMED else "")
    return f"{where} fails in {len(rows)} row{'s' * (len(rows) > 1)}: {named}"


def _warnings(dataset: Path) -> list[str]:
    """List what is allowed but worth knowing: splits and tasks with too little to train or test on."""
    splits = pd.read_parquet(dataset / "splits.parquet")["split"]
    found = [f"no patient is in {split}" for split in SPLITS if split not in set(splits)]
    status = pq.read_table(dataset / "series.parquet", columns=["status"])["status"]
    if "kept" not in status.to_pylist():
        found.insert(0, "no series is kept: no volume to train or test on")
    if unfound := unfound_nodules(dataset):
        found.append(
            f"{unfound} nodules have a slice number, and no kept series of their exam has InstanceNumbers"
            " that rise or fall evenly: they are not learned from or tested on"
        )
    found += _unlinked(dataset)
    labels = pq.read_table(dataset / "labels.parquet", columns=["task", "split", "label"])
    rows = pd.DataFrame({name: labels[name].to_pandas() for name in ("task", "split")})
    occurring = rows.assign(label=classes(labels)).groupby(["task", "split"])["label"].nunique()
    for task in SCREENING:
        for split in ("train", "test"):
            number = occurring.get((task, split), 0)
            expected = 2 if task in HAZARDS else len(TASKS[task].answers)
            if number < expected:
                found.append(f"{task}: {number} of {expected} answers occur in {split}")
    return found


def _unlinked(dataset: Path) -> list[str]:
    """List what of the source's tables and images links to nothing, and tables without rows."""
    found = []
    for table in measures.unlinked(dataset).itertuples():
        if table.rows:
            found.append(
                f"table {table.table}: {table.rows} rows ({table.fraction:.2%}) link to no other table"
            )
        if table.empty:
            found.append(f"table {table.table} has no rows: what it would tell is unknown")
    counts = read_manifest(dataset)["counts"]
    for name, what in (
        ("series_without_exam", "series belong to no exam of the tables: they have no labels"),
        ("studies_of_other_patients", "studies are of other patients in the tables: they have no labels"),
    ):
        if counts.get(name):
            found.append(f"{counts[name]} {what}")
    return found
