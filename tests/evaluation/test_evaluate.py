import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from m3fm.clinical.tasks import SCREENING, TASKS, YEARS
from m3fm.config.sections import EvaluateConfig
from m3fm.core.artifacts import Reference, check_files
from m3fm.core.errors import InputError
from m3fm.evaluation.evaluate import evaluate, headline, summarise

CONFIG = EvaluateConfig(resamples=100)
Make = Callable[..., pd.DataFrame]


def _hazard(rows: list[tuple[str, str, str, float, int | None, int]]) -> pd.DataFrame:
    """Rows of (exam, patient, side, score of every year, index of the event's year, last known index)."""
    return pd.DataFrame.from_records(
        [
            {
                "exam": exam,
                "patient": patient,
                "task": "lung_cancer_risk",
                "side": side,
                "nodule": -1,
                "question": "?",
                "probabilities": [score] * YEARS,
                "label": [float(event is not None and year >= event) for year in range(YEARS)],
                "mask": [float(year <= last) for year in range(YEARS)],
                "split": "test",
                "model": "m",
            }
            for exam, patient, side, score, event, last in rows
        ]
    )


def _rows(table: pd.DataFrame, task: str) -> pd.DataFrame:
    return table[table["task"] == task].set_index("answer")


def test_every_task_has_one_headline_row(predictions: Make):
    table = summarise(predictions(patients=12, leave_out=("covid19",)), CONFIG)
    rows = headline(table)
    assert list(rows.index) == list(TASKS)
    assert list(rows.columns) == ["task", "patients", "AUC", "low", "high"]
    assert len(SCREENING) == 17
    assert np.isnan(rows.loc["covid19", "AUC"])
    assert _rows(table, "covid19")["note"].item() == "no predictions"
    known = rows.drop(index="covid19")
    assert (known["patients"] == 12).all()
    assert (known["low"] <= known["AUC"]).all()
    assert (known["AUC"] <= known["high"]).all()
    assert rows.loc["clinical_number", "task"] == "Retrieval: number (exact match)"


def test_a_yes_or_no_task_is_the_area_of_yes(predictions: Make):
    given = predictions(patients=20)
    rows = given[given["task"] == "emphysema"]
    expected = roc_auc_score([label[0] for label in rows["label"]], [p[1] for p in rows["probabilities"]])
    row = _rows(summarise(given, CONFIG), "emphysema").loc["yes"]
    assert row["auc"] == pytest.approx(expected, abs=1e-14)
    assert row["positives"] == sum(label[0] for label in rows["label"])
    assert (row["patients"], row["samples"]) == (20, 40)


def test_a_choice_is_each_answer_against_the_rest_and_their_mean(predictions: Make):
    given = predictions(patients=30)
    rows = given[given["task"] == "nodule_location"]
    labels = np.array([label[0] for label in rows["label"]])
    scores = np.array(rows["probabilities"].tolist())
    found = _rows(summarise(given, CONFIG), "nodule_location")
    expected = [roc_auc_score(labels == answer, scores[:, answer]) for answer in range(5)]
    assert list(found.index) == ["RUL", "RML", "RLL", "LUL", "LLL", "average"]
    np.testing.assert_allclose(found["auc"], [*expected, np.mean(expected)], atol=1e-14)
    width = found["high"] - found["low"]
    assert width["average"] < width.drop("average").min()  # a mean of five is known better than one of them


def test_an_answer_without_positives_is_named_and_left_out_of_the_average(predictions: Make):
    given = predictions(patients=30)
    given = given[~((given["task"] == "lung_rads") & given["label"].map(lambda label: label[0] == 3))]
    found = _rows(summarise(given, CONFIG), "lung_rads")
    assert found.loc["4", "note"] == "no positive sample"
    assert np.isnan(found.loc["4", "auc"])
    assert found.loc["average", "auc"] == pytest.approx(found.loc[["1", "2", "3"], "auc"].mean())
    assert found.loc["average", "note"].startswith("without 4")


def test_few_patients_of_a_class_are_remarked(predictions: Make):
    given = predictions(patients=30)
    drop = (given["task"] == "emphysema") & given["label"].map(lambda label: label[0] == 1)
    kept = given[~(drop & (given["patient"] != given.loc[drop, "patient"].iloc[0]))]
    note = _rows(summarise(kept, CONFIG), "emphysema").loc["yes", "note"]
    assert note == "rough interval: only 1 positive patient"


def test_a_patients_risk_is_that_of_the_worse_lung():
    given = _hazard(
        [
            ("a", "pa", "left", 0.9, 0, 0),
            ("a", "pa", "right", 0.1, 0, 0),
            ("b", "pb", "left", 0.3, None, 5),
            ("b", "pb", "right", 0.5, None, 5),
            ("c", "pc", "left", 0.2, 0, 0),
            ("c", "pc", "right", 0.6, 0, 0),
        ]
    )
    row = _rows(summarise(given, CONFIG), "lung_cancer_risk").loc["1 year"]
    assert (row["samples"], row["positives"]) == (3, 2)
    assert row["auc"] == 1.0


def test_negatives_of_a_year_are_those_followed_through_it():
    given = _hazard(
        [
            ("a", "pa", "", 0.8, 2, 2),  # event in the third year
            ("b", "pb", "", 0.9, None, 1),  # lost after the second
            ("c", "pc", "", 0.1, None, 5),
        ]
    )
    found = _rows(summarise(given, CONFIG), "lung_cancer_risk")
    assert list(found["samples"]) == [3, 3, 2, 2, 2, 2, 3]
    assert list(found["positives"].iloc[:6]) == [0, 0, 1, 1, 1, 1]
    assert found.loc["1 year", "note"] == "no positive sample"
    assert found.loc["3 years", "auc"] == 1.0  # the lost patient's higher score does not count


def test_three_digits_are_right_together_or_not_at_all(predictions: Make):
    given = predictions(patients=20)
    rows = given[given["task"] == "clinical_number"]
    right = [
        np.argmax(np.reshape(shown, (3, 10)), axis=1).tolist() == label
        for shown, label in zip(rows["probabilities"], rows["label"])
    ]
    row = _rows(summarise(given, CONFIG), "clinical_number").loc["exact"]
    assert row["metric"] == "exact match"
    assert row["auc"] == pytest.approx(np.mean(right))
    assert 0 < row["low"] < row["auc"] < row["high"] < 1


def test_the_order_of_rows_and_other_tasks_change_nothing(predictions: Make):
    given = predictions(patients=15)
    table = summarise(given, CONFIG)
    pd.testing.assert_frame_equal(summarise(given.sample(frac=1, random_state=3), CONFIG), table)
    alone = summarise(given[given["task"] == "nodule_margin"], CONFIG)
    pd.testing.assert_frame_equal(_rows(alone, "nodule_margin"), _rows(table, "nodule_margin"))


def test_the_directory_is_whole_sealed_and_the_same_twice(predictions: Make, tmp_path: Path):
    given = predictions(patients=12, leave_out=("covid19",))
    context = {"dataset": {"version": "md5:1.dir"}, "counts": {"test": {"patients": 12}}}
    for name in ("one", "two"):
        evaluate(given, tmp_path / name, CONFIG, context)
        check_files(tmp_path / name)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"evaluation.json", "metrics.parquet", "predictions.parquet", "report.html"}
    assert Reference.to(tmp_path / "one").digest == Reference.to(tmp_path / "two").digest
    manifest = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    covid = next(row for row in manifest["table"] if row["task"] == "covid19")
    assert covid["auc"] is None
    assert manifest["context"] == context
    assert manifest["model"] == "ab" * 32
    assert headline(pd.read_parquet(tmp_path / "one" / "metrics.parquet")).shape == (19, 5)


def _without(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.drop(columns=column)


def _two_models(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(model=["a", *["b"] * (len(rows) - 1)])


def _twice(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows.head(1)])


def _unknown(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(task="astrology")


def _short(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(probabilities=[[0.5]] * len(rows))


def _not_a_number(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(probabilities=[[np.nan] * len(values) for values in rows["probabilities"]])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("mask"), "lack the column mask"),
        (_two_models, "more than one model"),
        (_twice, "have 1 rows twice"),
        (_unknown, "astrology"),
        (_short, "needs 2 numbers in probabilities"),
        (_not_a_number, "not a finite number"),
        (lambda rows: rows.head(0), "no rows"),
    ],
)
def test_unusable_predictions_are_refused(
    spoil: Callable[[pd.DataFrame], pd.DataFrame], message: str, predictions: Make, tmp_path: Path
):
    with pytest.raises(InputError, match=message):
        evaluate(spoil(predictions(patients=4)), tmp_path / "out", CONFIG, {})
    assert not (tmp_path / "out").exists()
