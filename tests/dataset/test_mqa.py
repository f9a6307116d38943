"""The MQA index: columns that give the same rows as the tables, one at a time."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.config.presets import TINY_SCALES
from m3fm.dataset.mqa import Mqa
from m3fm.dataset.rows import LabelledRow

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def mqa(curated) -> Mqa:
    return Mqa(curated, SPLITS, TINY_SCALES)


def table(curated, name: str) -> pd.DataFrame:
    return pd.read_parquet(curated / f"{name}.parquet")


def test_rows_are_those_of_the_table(curated, mqa):
    labels, series = table(curated, "labels"), table(curated, "series")
    imaged = set(series.loc[series["status"] == "kept", "exam"])
    for name, task in TASKS.items():
        rows = labels[labels["task"] == name]
        rows = rows if task.scale is None else rows[rows["exam"].isin(imaged)]
        expected = [
            LabelledRow(r.exam, r.patient, r.side, r.nodule, r.slice_number, tuple(r.label), tuple(r.mask))
            for r in rows.itertuples()
        ]
        found = mqa.rows[name]
        assert list(found) == expected
        assert found[:2] == expected[:2]
        assert found[1:] == expected[1:]
        assert not expected or found[-1] == expected[-1]
        with pytest.raises(IndexError):
            found[len(expected)]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_its_own_patients_only(curated, split):
    mqa = Mqa(curated, (split,), TINY_SCALES)
    splits = table(curated, "splits").set_index("patient")["split"]
    patients = {row.patient for rows in mqa.rows.values() for row in rows}
    assert patients == {
        p for p in splits.index[splits == split] if p in set(table(curated, "labels").patient)
    }


def test_every_class_is_drawn_as_often(mqa):
    rng = np.random.default_rng(0)
    rows = mqa.rows["lung_cancer_risk"]
    drawn = Counter(max(mqa.draw("lung_cancer_risk", rng).label) for _ in range(400))
    assert len({max(row.label) for row in rows}) == 2
    assert min(drawn.values()) > 160, "although events are rare"


def test_clinical_data_and_nodules_are_those_of_the_tables(curated, mqa):
    exams, nodules = table(curated, "exams"), table(curated, "nodules")
    for exam in exams.itertuples():
        expected = {n: getattr(exam, n) for n in ELEMENTS if not pd.isna(getattr(exam, n))}
        assert mqa.elements(exam.exam) == expected
        found = mqa.nodules(exam.exam)
        assert [n.number for n in found] == sorted(nodules.loc[nodules["exam"] == exam.exam, "number"])
    assert mqa.elements("unheard of") == {}
    assert mqa.nodules("unheard of") == []


def test_evaluation_looks_at_the_preferred_series(curated, mqa):
    series = table(curated, "series")
    preferred = series[series["preferred"]].set_index("exam")["series"]
    for exam, name in preferred.items():
        assert mqa._series.row(exam)["series"] == name
        assert mqa._series.count(exam) == ((series["exam"] == exam) & (series["status"] == "kept")).sum()


def test_samples_have_the_shape_of_their_scale(mqa):
    labelled = [task for task in SCREENING if mqa.rows[task]]
    assert len(labelled) == 13, "the source has no label of the others"
    for task in labelled:
        sample, again = (mqa.sample(task, mqa.rows[task][0], 0) for _ in range(2))
        scale = TASKS[task].scale
        assert (sample.image is None) == (scale is None)
        assert sample.text == again.text
        if scale is not None:
            assert sample.image.shape == TINY_SCALES[scale].shape
            assert (sample.image == again.image).all()
