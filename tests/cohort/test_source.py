from types import SimpleNamespace

import pytest

from m3fm.cohort.source import files_below, open_source
from m3fm.errors import InputError


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="'midrc'; there are nlst, dicom"):
        open_source("midrc", tmp_path)


@pytest.mark.parametrize("kind", ["nlst", "dicom"])
def test_a_folder_that_is_not_there(tmp_path, kind):
    with pytest.raises(InputError, match="nowhere"):
        open_source(kind, tmp_path / "nowhere")


def test_a_folder_of_dicom_has_images_and_no_records(tmp_path):
    for name in ("b/2.dcm", "b/1.dcm", "a/3", "4.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source("dicom", tmp_path)
    assert source.test_only
    assert source.exams() == []
    assert source.site(SimpleNamespace(patient_id="1")) == "external"
    assert [path.relative_to(tmp_path).as_posix() for path in source.image_paths()] == [
        "4.txt",
        "a/3",
        "b/1.dcm",
        "b/2.dcm",
    ]
    first = source.digest()
    assert open_source("dicom", tmp_path).digest() == first
    (tmp_path / "b/1.dcm").write_text("longer than before")
    assert source.digest() != first


def test_files_below_a_folder_are_found_in_a_fixed_order(tmp_path):
    for name in ("z", "y/b", "y/a", "x/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in files_below(tmp_path)] == ["z", "c", "a", "b"]
