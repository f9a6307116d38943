"""Predictions of any system: good ones pass, and every expectation has something that it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_validate import BETWEEN, EQUAL, IN_SET, NO_MATCH, UNIQUE_TOGETHER, identity

from m3fm.clinical.tasks import TASKS
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.dataset.prediction_table import COLUMNS
from m3fm.dataset.predictions import measured, suite
from m3fm.dataset.validate import open_context, run_suite, validate_predictions
from m3fm.evaluation.decisions import checked


def row(task: str, exam: str, **other) -> dict:
    loss, answers = TASKS[task].loss, len(TASKS[task].answers)
    shape = {
        "softmax": ([1 / answers] * answers, [1.0], [1.0]),
        "hazard": ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 0, 1, 1, 1, 1], [1.0, 1, 1, 0, 0, 0]),
        "digits": ([0.1] * 30, [4.0, 0, 9], [1.0] * 3),
    }[loss]
    lists = dict(zip(("probabilities", "label", "mask"), shape))
    names = {"exam": exam, "patient": f"patient of {exam}", "task": task, "side": "", "nodule": -1}
    return {**names, "question": f"{task}?", **lists, "split": "test", "model": "another system", **other}


def good() -> pd.DataFrame:
    rows = [row(task, exam) for task in TASKS for exam in ("first", "second")]
    return pd.DataFrame(rows)[list(COLUMNS)]


def written(rows: pd.DataFrame, path: Path, lists: pa.DataType | None = None) -> Path:
    kinds = {name: lists or pa.list_(pa.float64()) for name in ("probabilities", "label", "mask")}
    fields = [(name, kinds.get(name, pa.int64() if name == "nodule" else pa.string())) for name in COLUMNS]
    pq.write_table(pa.Table.from_pandas(rows, pa.schema(fields), preserve_index=False), path)
    return path


def put(column: str, value, task: str = "emphysema"):
    """A corruption: a value in a column of the first row of a task."""

    def corrupt(rows: pd.DataFrame) -> pd.DataFrame:
        values = rows[column].to_list()
        values[int(np.flatnonzero(rows["task"] == task)[0])] = value
        return rows.assign(**{column: pd.Series(values, dtype=object)})

    return corrupt


NOT_NULL = "column_values_to_not_be_null"
CORRUPTIONS = [
    (lambda rows: rows.head(0), {"table_row_count_to_be_between"}),
    (put("task", "astrology"), {f"{IN_SET} task"}),
    (lambda rows: pd.concat([rows, rows.head(1)]), {f"{UNIQUE_TOGETHER} task exam side nodule question"}),
    *((put(column, None), {f"{NOT_NULL} {column}"}) for column in ("exam", "patient", "question")),
    *(
        (put(column, secret), {f"{NO_MATCH} {column}"})
        for column in ("exam", "patient")
        for secret in ("1.2.840.113654.2.55.1", "Doe^Jane", "seen 1999-01-02")
    ),
    (put("patient", "another"), {f"{IN_SET} patients_of_exam"}),
    (put("model", "a second system"), {f"{IN_SET} models"}),
    (put("split", "val"), {f"{IN_SET} splits"}),
    (lambda rows: rows.assign(split="holdout"), {f"{IN_SET} split"}),
    (put("side", "middle"), {f"{IN_SET} side"}),
    (put("probabilities", [1.0]), {f"{EQUAL} outputs outputs_expected"}),
    (put("probabilities", [0.1] * 7, "cvd_mortality"), {f"{EQUAL} outputs outputs_expected"}),
    (put("probabilities", [0.1] * 31, "clinical_number"), {f"{EQUAL} outputs outputs_expected"}),
    (put("label", [0.0, 1.0]), {f"{EQUAL} labels labels_expected"}),
    (put("mask", [1.0] * 5, "lung_cancer_risk"), {f"{EQUAL} masks labels_expected"}),
    (put("probabilities", [float("nan"), 1.0]), {f"{IN_SET} finite"}),
    (put("probabilities", [-0.2, 1.2]), {f"{BETWEEN} lowest", f"{BETWEEN} highest"}),
    (put("probabilities", [1.2] * 6, "cvd_mortality"), {f"{BETWEEN} highest"}),
    (put("probabilities", [0.5, 0.4]), {f"{BETWEEN} total if softmax"}),
    (put("probabilities", [0.2] * 30, "clinical_number"), {f"{BETWEEN} total if digits"}),
    *((put("label", [answer]), {f"{IN_SET} answer_is_one if softmax"}) for answer in (2.0, -1.0, 0.5)),
    (put("label", [1.0, 0, 0, 0, 0, 0], "cvd_mortality"), {f"{IN_SET} label_rises if hazard"}),
    (put("mask", [0.0]), {f"{IN_SET} mask_is_prefix"}),
]


@pytest.mark.parametrize(("corrupt", "expected"), CORRUPTIONS)
def test_corruption_is_found(corrupt, expected, tmp_path):
    path = written(corrupt(good()), tmp_path / "predictions.parquet")
    chosen = [single for single in suite() if identity(single.configuration) in expected]
    result = run_suite(open_context(tmp_path), "predictions", chosen, measured(path))
    for single in result.results:
        assert not single.exception_info.get("raised_exception"), single.exception_info
    assert {identity(r.expectation_config) for r in result.results if not r.success} == expected


def test_every_expectation_has_a_corruption():
    proven = set().union(*(expected for _, expected in CORRUPTIONS))
    defined = [identity(single.configuration) for single in suite()]
    assert proven == set(defined)
    assert len(set(defined)) == len(defined), "none hides another"


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_good_predictions_pass_whoever_wrote_them(tmp_path, kind):
    path = written(good(), tmp_path / "predictions.parquet", kind)
    validate_predictions(path, tmp_path / "validation")
    assert read_manifest(tmp_path / "validation")["success"]
    assert (tmp_path / "validation" / "data_docs" / "index.html").is_file()
    checked(pd.read_parquet(path))


def test_a_refusal_names_rows_and_writes_its_pages(tmp_path):
    path = written(put("probabilities", [0.5, 0.4])(good()), tmp_path / "predictions.parquet")
    with pytest.raises(InputError, match=r"of total fails in 1 row: emphysema first  -1; see "):
        validate_predictions(path, tmp_path / "validation")
    assert not read_manifest(tmp_path / "validation")["success"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (good().drop(columns="mask"), "has no column mask"),
        (good().assign(label=1.0), "label holds double, but should hold lists of numbers"),
        (good().assign(nodule=[[1.0]] * 2 * len(TASKS)), "nodule holds list"),
    ],
)
def test_files_that_are_not_tables_of_predictions_are_refused(tmp_path, table, said):
    table.to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(InputError, match=said):
        validate_predictions(tmp_path / "predictions.parquet", tmp_path / "validation")
    (tmp_path / "predictions.parquet").write_text("no table")
    with pytest.raises(InputError, match="cannot be read"):
        validate_predictions(tmp_path / "predictions.parquet", tmp_path / "validation")
    with pytest.raises(InputError, match="is not a file"):
        validate_predictions(tmp_path / "none.parquet", tmp_path / "validation")
