import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from m3fm.evaluation import auc
from m3fm.evaluation.auc import ExactMatch, Ranking, bootstrap, interval, observed, seeded


def _sample(
    samples: int, patients: int, seed: int, levels: int = 1000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, scores (few `levels` make many ties) and patients."""
    rng = np.random.default_rng(seed)
    patient = np.concatenate([np.arange(patients), rng.integers(patients, size=samples - patients)])
    positive = rng.random(samples) < 0.4
    score = np.round((rng.normal(size=samples) + positive) * levels) / levels
    return positive, score, patient


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-2, 2)), min_size=2, max_size=60).filter(
        lambda pairs: 0 < sum(positive for positive, _ in pairs) < len(pairs)
    )
)
def test_the_area_equals_scikit_learns_with_any_ties(pairs: list[tuple[bool, int]]):
    positive, score = np.array([p for p, _ in pairs]), np.array([s / 3 for _, s in pairs])
    patient = np.arange(len(pairs))
    found = observed(Ranking.of(positive, score, patient), len(pairs))
    assert found == pytest.approx(roc_auc_score(positive, score), abs=1e-14)


def test_a_resample_is_the_area_of_the_drawn_patients_samples():
    positive, score, patient = _sample(120, 30, seed=1, levels=2)
    rng = np.random.default_rng(9)
    counts = np.array([np.bincount(rng.integers(30, size=30), minlength=30) for _ in range(50)])
    found = Ranking.of(positive, score, patient).values(counts.astype(float))
    for count, value in zip(counts, found):
        drawn = np.repeat(np.arange(120), count[patient])
        assert value == pytest.approx(roc_auc_score(positive[drawn], score[drawn]), abs=1e-14)


def test_the_interval_equals_that_of_a_loop_over_resampled_patients():
    positive, score, patient = _sample(90, 25, seed=2, levels=3)
    values = bootstrap([Ranking.of(positive, score, patient)], 25, 300, np.random.default_rng(5))[:, 0]
    rng = np.random.default_rng(5)
    expected = []
    for _ in range(300):
        drawn = np.concatenate([np.flatnonzero(patient == p) for p in rng.integers(25, size=25)])
        expected.append(roc_auc_score(positive[drawn], score[drawn]))
    np.testing.assert_allclose(values, expected, atol=1e-14)
    low, high, left_out = interval(values, 0.9)
    assert (low, high) == pytest.approx(tuple(np.percentile(expected, [5, 95])))
    assert left_out == 0


def test_exams_of_one_patient_widen_the_interval():
    positive, score, _ = _sample(60, 60, seed=3)
    apart = bootstrap([Ranking.of(positive, score, np.arange(60))], 60, 800, np.random.default_rng(0))
    tenfold = Ranking.of(np.tile(positive, 10), np.tile(score, 10), np.tile(np.arange(60), 10))
    together = bootstrap([tenfold], 60, 800, np.random.default_rng(0))
    np.testing.assert_allclose(together, apart, atol=1e-14)


def test_resamples_of_one_class_are_left_out_and_counted():
    positive = np.array([True, False, False, False])
    values = bootstrap(
        [Ranking.of(positive, np.array([0.9, 0.1, 0.2, 0.95]), np.arange(4))],
        4,
        500,
        np.random.default_rng(0),
    )
    drawn = np.random.default_rng(0).integers(4, size=(500, 4))
    lacking = int(((drawn == 0).sum(axis=1) % 4 == 0).sum())
    low, high, left_out = interval(values[:, 0], 0.95)
    assert left_out == lacking > 100
    assert 0 <= low < high <= 1


def test_no_positives_give_no_interval():
    values = bootstrap([Ranking.of(np.zeros(5, bool), np.arange(5.0), np.arange(5))], 5, 20, seeded(1, "x"))
    low, high, left_out = interval(values[:, 0], 0.95)
    assert np.isnan(low)
    assert np.isnan(high)
    assert left_out == 20


def test_resamples_do_not_depend_on_how_many_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch):
    ranking = Ranking.of(*_sample(80, 21, seed=4))
    at_once = bootstrap([ranking], 21, 111, seeded(7, "emphysema"))
    monkeypatch.setattr(auc, "VALUES_AT_ONCE", 80 * 7)
    np.testing.assert_array_equal(bootstrap([ranking], 21, 111, seeded(7, "emphysema")), at_once)


def test_seeds_differ_by_name_and_repeat():
    assert seeded(1, "a").integers(2**60) == seeded(1, "a").integers(2**60)
    assert seeded(1, "a").integers(2**60) != seeded(1, "b").integers(2**60)
    assert seeded(1, "a").integers(2**60) != seeded(2, "a").integers(2**60)


def test_an_exact_match_is_weighted_by_how_often_its_patients_are_drawn():
    match = ExactMatch(np.array([True, False, True]), np.array([0, 1, 1]))
    np.testing.assert_allclose(match.values(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])), [2 / 3, 1, 0.5])


def test_twenty_thousand_samples_take_seconds():
    ranking = Ranking.of(*_sample(20_000, 8_000, seed=6))
    began = time.process_time()
    bootstrap([ranking], 8_000, 200, np.random.default_rng(0))
    assert time.process_time() - began < 3
