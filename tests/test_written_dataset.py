"""The dataset that tests write is one that the product accepts."""

import pytest
from written_dataset import WrittenExam, write_dataset

from m3fm.clinical.tasks import SCREENING
from m3fm.core.artifacts import check_files, read_manifest
from m3fm.dataset.tables import SPLITS
from m3fm.dataset.validate import validate


def test_the_default_dataset_is_valid(tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    check_files(dataset)
    validate(dataset, tmp_path / "validation")
    assert read_manifest(tmp_path / "validation")["success"]
    labels = read_manifest(dataset)["counts"]["labels"]
    assert all(labels[task][split] for task in SCREENING for split in SPLITS)


def test_the_same_exams_make_the_same_dataset(tmp_path):
    manifests = [read_manifest(write_dataset(tmp_path / name)) for name in ("first", "second")]
    assert manifests[0] == manifests[1]


def test_a_column_that_no_table_has_is_refused(tmp_path):
    with pytest.raises(AssertionError, match=r"series\.parquet has no column voxel_w"):
        write_dataset(tmp_path, [WrittenExam(series={"voxel_w": 1.0})])
