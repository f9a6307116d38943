"""The reference row: features as defined, and a model that learns from the training rows only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from transfer_samples import RUN, SALT, write_task

from m3fm.transfer import finetune
from m3fm.transfer.reference import clinical_matrix, image_features, nomogram
from m3fm.transfer.report import auc, table, verdict
from m3fm.transfer.rows import find_cases, split_folds
from m3fm.transfer.task_file import read


def test_features_match_their_names():
    voxels = np.random.default_rng(0).normal(-700, 300, (4, 5, 6)).astype(np.int16)
    found = image_features(voxels, (2.0, 0.5, 1.0))
    hu = voxels.astype(float).tolist()
    flat = [v for plane in hu for row in plane for v in row]
    assert found["hu_mean"] == pytest.approx(sum(flat) / 120, rel=1e-4)
    assert found["hu_p50"] == pytest.approx((sorted(flat)[59] + sorted(flat)[60]) / 2)
    assert found["volume_ml"] == pytest.approx(0.12)
    assert found["lung_ml"] == pytest.approx(sum(v < -200 for v in flat) / 1000)
    assert found["fraction_emphysema"] == pytest.approx(sum(v < -950 for v in flat) / 120)
    assert found["fraction_ground_glass"] == pytest.approx(sum(-700 <= v < -200 for v in flat) / 120)
    steps, inside = [], []
    for z in range(4):
        for y in range(4):
            for x in range(6):
                a, b = hu[z][y][x], hu[z][y + 1][x]
                steps.append(abs(a - b) / 0.5)
                inside += [abs(a - b) / 0.5] if a < -200 and b < -200 else []
    assert found["rough_rows"] == pytest.approx(np.mean(steps), rel=1e-4)
    assert found["rough_lung_rows"] == pytest.approx(np.mean(inside), rel=1e-4)
    assert all(np.isfinite(v) for v in image_features(np.full((1, 1, 1), 30, np.int16), (1, 1, 1)).values())


def test_clinical_variables_are_numbers_or_one_of_texts():
    rows = [{"a": "3", "b": "yes"}, {"a": "4.5", "b": "no"}, {"b": "yes", "c": "x"}, {"c": "y"}, {"c": "z"}]
    expected = [
        [3.0, 1.0, np.nan, np.nan],
        [4.5, 0.0, np.nan, np.nan],
        [np.nan, 1.0, 0.0, 0.0],
        [np.nan, np.nan, 1.0, 0.0],
        [np.nan, np.nan, 0.0, 1.0],
    ]
    np.testing.assert_array_equal(clinical_matrix(rows), expected)


def test_the_nomogram_equals_its_parts_fitted_to_the_training_rows():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 12)), rng.integers(0, 2, 60)
    x[:, 3] += 2 * y
    x[5, 3] = x[50, 7] = np.nan
    trained, tested = np.arange(40), np.arange(40, 60)
    config = RUN.finetune.model_copy(update={"reference_features": 4, "reference_c": 0.5})
    found = nomogram(config, 12).fit(x[trained], y[trained]).predict_proba(x[tested])

    median = np.nanmedian(x[trained], axis=0)
    filled = np.where(np.isnan(x), median, x)
    mean, deviation = filled[trained].mean(axis=0), filled[trained].std(axis=0)
    scaled = (filled - mean) / deviation
    chosen = np.sort(np.argsort(-f_classif(scaled[trained], y[trained])[0])[:4])
    by_hand = LogisticRegression(C=0.5, class_weight="balanced", max_iter=5000)
    by_hand.fit(scaled[np.ix_(trained, chosen)], y[trained])
    np.testing.assert_allclose(found, by_hand.predict_proba(scaled[np.ix_(tested, chosen)]), atol=1e-6)


@pytest.fixture(scope="module")
def experiment(dataset: Path, tmp_path_factory) -> finetune.Experiment:
    task = read(write_task(tmp_path_factory.mktemp("task")))
    cases = find_cases(task, dataset, SALT).cases
    return finetune.Experiment(
        dataset=dataset,
        task=task,
        cases=cases,
        folds=tuple(split_folds(task, cases, 4, 1)),
        model=RUN.model,
        tokenizer="",
        pretrained=None,
        config=RUN.finetune,
        launch=RUN.launch,
    )


def test_the_labels_of_a_folds_test_rows_are_not_used(experiment):
    _, tested = experiment.folds[1]
    other = list(experiment.cases)
    for place in tested:
        row = other[place].row
        other[place] = replace(other[place], row=replace(row, label=(1.0 - row.label[0],)))
    flipped = replace(experiment, cases=tuple(other))
    before = finetune.reference_fold(experiment, 1)
    assert finetune.reference_fold(flipped, 1) == before
    assert finetune.reference_fold(flipped, 2) != finetune.reference_fold(experiment, 2), (
        "there they are trained on"
    )
    answers = [experiment.cases[place].answer for place in tested]
    assert roc_auc_score(answers, np.array(before)[:, 1]) == 1.0, "ill lungs are denser"


def test_the_table_holds_mean_and_deviation_of_the_folds(experiment):
    rng = np.random.default_rng(3)
    scores = rng.random((len(experiment.cases), 2))
    (found,) = table(experiment.cases, experiment.folds, {"ct": scores})
    answers = np.array([case.answer for case in experiment.cases])
    each = [roc_auc_score(answers[list(t)], scores[list(t), 1]) for _, t in experiment.folds]
    assert found["folds"] == pytest.approx(each)
    assert found["auc"] == pytest.approx(sum(each) / 4)
    assert found["deviation"] == pytest.approx((sum((a - np.mean(each)) ** 2 for a in each) / 3) ** 0.5)


def test_of_more_than_two_answers_each_is_measured_against_the_rest():
    answers, scores = np.arange(30) % 3, np.random.default_rng(0).dirichlet([1, 1, 1], 30)
    expected = roc_auc_score(answers, scores, multi_class="ovr")
    assert auc(answers, scores) == pytest.approx(expected)


def result(folds: list[float]) -> dict:
    return {"title": "x", "auc": np.mean(folds), "deviation": np.std(folds, ddof=1), "folds": folds}


def test_the_verdict_can_be_yes_or_no():
    low, high = result([0.60, 0.61, 0.62]), result([0.90, 0.91, 0.92])
    assert "beats the reference row" in verdict([low, high])
    assert "0.910 against 0.610, higher in 3 of 3 folds." in verdict([low, high])
    assert "does not beat the reference row" in verdict([high, low])
    assert "does not beat" in verdict([low, low])
    near = result([0.5, 0.62, 0.75])
    assert "smaller than the spread" in verdict([low, near])
    assert "smaller than the spread" not in verdict([low, high])
