"""Area under the ROC curve, and intervals that resample patients.

The exams of one patient resemble each other, so a resample draws patients, not samples, and every sample
counts as often as its patient was drawn. So the scores are sorted only once for all resamples: with the
negatives in order, the pairs that a positive wins are a running sum of the negatives' counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from m3fm.core.files import text_digest

VALUES_AT_ONCE = 4_000_000
"""Most counts of samples in memory at once; the arrays made from them take about 200 MB."""


class Statistic(Protocol):
    """A value measured on samples of known patients."""

    @property
    def samples(self) -> int:
        """Number of samples."""

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return a value per resample [resamples] from patient counts [resamples, patients]."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The scores of one yes-or-no decision, sorted once. Patients are given by their index."""

    negatives: np.ndarray
    """Patient of each negative, by increasing score."""
    positives: np.ndarray
    """Patient of each positive."""
    below: np.ndarray
    """For each positive, the number of negatives with a smaller score."""
    not_above: np.ndarray
    """For each positive, the number of negatives with a smaller or equal score."""

    @classmethod
    def of(cls, positive: np.ndarray, score: np.ndarray, patient: np.ndarray) -> Self:
        """Sort the scores: `positive` (bool), `score` and `patient` (index) are [samples]."""
        order = np.argsort(score[~positive], kind="stable")
        negative_scores = score[~positive][order]
        return cls(
            negatives=patient[~positive][order],
            positives=patient[positive],
            below=np.searchsorted(negative_scores, score[positive], side="left"),
            not_above=np.searchsorted(negative_scores, score[positive], side="right"),
        )

    @property
    def samples(self) -> int:
        """Number of positives and negatives."""
        return len(self.positives) + len(self.negatives)

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return the AUC of each resample [resamples] from patient counts [resamples, patients].

        A tie counts half, as in scikit-learn. NaN where one class is absent.
        """
        positives = counts[:, self.positives]
        running = np.zeros((len(counts), len(self.negatives) + 1))
        np.cumsum(counts[:, self.negatives], axis=1, out=running[:, 1:])
        beaten = running[:, self.below]
        beaten += running[:, self.not_above]
        pairs = positives.sum(axis=1) * running[:, -1]
        won = np.einsum("rp,rp->r", positives, beaten) / 2
        return np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """The fraction of samples that are answered correctly."""

    right: np.ndarray
    """bool [samples]"""
    patient: np.ndarray

    @property
    def samples(self) -> int:
        """Number of samples, right and wrong."""
        return len(self.right)

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return the fraction of right samples [resamples] from patient counts [resamples, patients]."""
        samples = counts[:, self.patient]
        return samples[:, self.right].sum(axis=1) / samples.sum(axis=1)


def seeded(seed: int, name: str) -> np.random.Generator:
    """Make a generator for this name, so that an interval does not depend on what else is evaluated."""
    return np.random.default_rng([seed, int(text_digest(name)[:16], 16)])


def bootstrap(
    statistics: Sequence[Statistic], patients: int, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return values [resamples, statistics]; each resample draws all `patients` with replacement.

    All statistics see the same resamples, so their mean per resample gives an interval of the mean.
    """
    values = np.empty((resamples, len(statistics)))
    step = max(1, VALUES_AT_ONCE // max([patients, *(statistic.samples for statistic in statistics)]))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(patients, size=(rows, patients)) + np.arange(rows)[:, None] * patients
        counts = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(float)
        for column, statistic in enumerate(statistics):
            values[start : start + rows, column] = statistic.values(counts)
    return values


def observed(statistic: Statistic, patients: int) -> float:
    """Return the statistic itself: every patient counts once."""
    return float(statistic.values(np.ones((1, patients)))[0])


def interval(values: np.ndarray, level: float) -> tuple[float, float, int]:
    """Return the percentile interval of values [resamples], and how many were NaN and left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan, len(values)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), len(values) - len(known)
