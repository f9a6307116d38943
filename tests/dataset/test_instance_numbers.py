"""A kept series without InstanceNumbers, and a nodule with a slice: left out by name, never a wrong slice."""

from pathlib import Path

import numpy as np
import pytest
from written_dataset import WrittenExam, exams_of_all_splits, labels_of_all_tasks, write_dataset

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.core.artifacts import read_manifest
from m3fm.dataset.instance_numbers import unfound_nodules
from m3fm.dataset.mqa import Mqa
from m3fm.dataset.validate import validate

NODULE_TASKS = [name for name, task in TASKS.items() if task.scale == "nodule"]
NODULE = {"number": 1, "lobe": "LUL", "slice_number": 9, "long_mm": 7.0, "short_mm": 5.0}


def exam(first: int, last: int) -> WrittenExam:
    return WrittenExam(
        split="train",
        nodules=[NODULE],
        labels=labels_of_all_tasks(NODULE),
        series={"instance_first": first, "instance_last": last},
    )


@pytest.mark.parametrize(("first", "last"), [(0, 0), (7, 7)], ids=["missing", "all the same"])
def test_a_nodule_that_cannot_be_found_is_neither_learned_nor_tested_on(tmp_path: Path, first, last):
    dataset = write_dataset(tmp_path / "dataset", [exam(first, last), exam(1, 24)])
    mqa = Mqa(dataset, ("train",), preset("tiny").model.scales)
    for task in NODULE_TASKS:
        assert len(mqa.rows[task]) == 1
        mqa.training_sample(task, np.random.default_rng(0), preset("tiny").train)
    assert len(mqa.rows["emphysema"]) == 2
    assert unfound_nodules(dataset) == 1


def test_validation_counts_them(tmp_path: Path):
    dataset = write_dataset(tmp_path / "dataset", [*exams_of_all_splits(), exam(0, 0)])
    validate(dataset, tmp_path / "validation")
    (warning,) = (w for w in read_manifest(tmp_path / "validation")["warnings"] if "InstanceNumber" in w)
    assert warning.startswith("1 nodules have a slice number")
