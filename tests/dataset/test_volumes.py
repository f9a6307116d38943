"""A volume that is not what the dataset's table says is found before anything is made of it."""

import os
import shutil

import pytest

from m3fm.core.artifacts import Reference, check_volumes, read_manifest
from m3fm.core.errors import InputError
from m3fm.dataset.mqa import check_trainable


@pytest.fixture
def dataset(curated, tmp_path):
    return shutil.copytree(curated, tmp_path / "dataset")


def a_volume(dataset):
    return sorted((dataset / "volumes").iterdir())[0]


@pytest.mark.parametrize("checked_before", [True, False])
def test_one_changed_voxel_is_found(dataset, checked_before):
    if checked_before:
        check_volumes(dataset)
    with a_volume(dataset).open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(InputError, match="was changed after it was written"):
        Reference.to(dataset).resolve()


def test_a_missing_volume_is_found(dataset):
    a_volume(dataset).unlink()
    with pytest.raises(InputError, match="is missing"):
        Reference.to(dataset).resolve()


def test_what_has_not_changed_is_not_read_again(dataset):
    """Shown by a change that keeps size and time, as no program makes it by accident."""
    check_volumes(dataset)
    path = a_volume(dataset)
    stat = path.stat()
    path.write_bytes(b"0" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    check_volumes(dataset)
    dataset.with_name(".dataset.volumes.json").unlink()
    with pytest.raises(InputError, match="was changed"):
        check_volumes(dataset)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": []}'])
def test_a_damaged_manifest_is_bad_input(dataset, content):
    (dataset / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        read_manifest(dataset)


def test_a_dataset_without_training_patients_is_not_learnt_from(dataset):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(dataset / "series.parquet")
    everything = pa.array(["train"] * len(table))
    column = table.schema.get_field_index("split")
    pq.write_table(table.set_column(column, "split", everything), dataset / "series.parquet")
    check_trainable(dataset)
    pq.write_table(
        table.set_column(column, "split", pa.array(["test"] * len(table))), dataset / "series.parquet"
    )
    with pytest.raises(InputError, match="nothing to learn from"):
        check_trainable(dataset)
