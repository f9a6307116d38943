"""Versions are DVC's own, cost no second copy, and stay within their repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from m3fm.core.errors import InputError
from m3fm.dataset.version import version

pytestmark = pytest.mark.integration


@pytest.fixture
def dataset(tmp_path) -> Path:
    dataset = tmp_path / "state" / "store" / "curate" / "0123"
    (dataset / "volumes").mkdir(parents=True)
    (dataset / "series.parquet").write_bytes(b"rows")
    (dataset / "volumes" / "a.npy").write_bytes(bytes(1000))
    (dataset / "volumes" / "b.npy").write_bytes(bytes(2000))
    return dataset


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home directory, and nothing of DVC in the environment."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("DVC_", "XDG_"))]:
        monkeypatch.delenv(name)
    return home


def test_version_is_what_dvc_add_gives(dataset, home, tmp_path):
    given = version(dataset, tmp_path / "state")
    scratch = tmp_path / "scratch"
    shutil.copytree(dataset, scratch / "data")
    settings = {"DVC_SITE_CACHE_DIR": str(scratch / "cache"), "DVC_NO_ANALYTICS": "1", "HOME": str(home)}
    for command in (["init", "--no-scm", "-q"], ["add", "-q", "data"]):
        subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=scratch, check=True, env={**os.environ, **settings}
        )
    assert given.startswith("md5:")
    assert given.endswith(".dir")
    assert f"md5: {given.removeprefix('md5:')}" in (scratch / "data.dvc").read_text()


def test_same_data_same_version_other_data_another(dataset, home, tmp_path):
    first = version(dataset, tmp_path / "state")
    assert version(dataset, tmp_path / "state") == first
    shutil.copytree(dataset, dataset.with_name("4567"))
    assert version(dataset.with_name("4567"), tmp_path / "state") == first
    (dataset / "series.parquet").unlink()
    (dataset / "series.parquet").write_bytes(b"other rows")
    assert version(dataset, tmp_path / "state") != first


def test_files_are_linked_not_copied_and_protected(dataset, home, tmp_path):
    version(dataset, tmp_path / "state")
    for path in dataset.rglob("*.*"):
        assert path.stat().st_nlink == 2
        assert not path.stat().st_mode & 0o222


def test_deleted_dataset_comes_back(dataset, home, tmp_path):
    version(dataset, tmp_path / "state")
    shutil.rmtree(dataset)
    settings = {"DVC_SITE_CACHE_DIR": str(tmp_path / "cache"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", "checkout", "-q", f"{dataset}.dvc"]
    subprocess.run(command, cwd=tmp_path / "state", check=True, env={**os.environ, **settings})
    assert (dataset / "series.parquet").read_bytes() == b"rows"


def test_nothing_is_written_or_set_outside_the_repository(dataset, home, tmp_path):
    before = dict(os.environ)
    version(dataset, tmp_path / "state")
    assert dict(os.environ) == before
    assert list(home.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"state", "home"}
    assert {path.name for path in (tmp_path / "state").iterdir()} == {".dvc", ".dvcignore", "store"}
    assert {path.name for path in dataset.parent.iterdir()} == {"0123", "0123.dvc"}


def test_start_that_was_interrupted_is_made_up_for(dataset, home, tmp_path):
    (tmp_path / "state" / ".dvc" / "tmp").mkdir(parents=True)
    assert version(dataset, tmp_path / "state").endswith(".dir")


def test_dataset_elsewhere_is_refused(dataset, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="is not in"):
        version(dataset, tmp_path / "other")
