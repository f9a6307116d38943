"""What a user hands over is read, or refused with what, where and what to do."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from m3fm.core.errors import InputError
from m3fm.ct.read import read_ct
from m3fm.ct.volume import Series, write_nifti
from m3fm.deploy.inputs import read_elements, read_nodules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"agee": 61}, "no element is called 'agee'; there are age, gender"),
        ({"age": "61"}, "age is '61', expected a number from 18 to 110"),
        ({"age": True}, "age is True, expected a number"),
        ({"gender": "male"}, "gender is 'male', expected one of Male, Female"),
        ({"copd": 200}, "copd is 200, expected true, false, or the age at it"),
        ({"family_mother": 1}, "family_mother is 1, expected true or false"),
        ([1], "must hold a JSON object"),
    ],
)
def test_clinical_data_are_checked(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "clinical.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_elements(path)


def test_null_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "clinical.json"
    path.write_text('{"age": 61, "gender": null, "copd": true, "stroke": -1, "family_mother": false}')
    assert read_elements(path) == {"age": 61, "copd": True, "stroke": -1, "family_mother": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"lobe": "RXL"}], "nodule 1: lobe is 'RXL', expected one of RUL, RML, RLL, LUL, LLL"),
        ([{}, {"long_mm": "7"}], "nodule 2: long_mm is '7', expected a number"),
        ([{"diameter": 7}], "no field is called 'diameter'; there are number, lobe"),
        ([{"new": "yes"}], "new is 'yes', expected true or false"),
        ({"lobe": "RUL"}, "must hold a JSON list"),
    ],
)
def test_a_nodule_report_is_checked(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "nodules.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_nodules(path)


def test_nodules_are_numbered_where_they_are_not(tmp_path: Path) -> None:
    path = tmp_path / "nodules.json"
    path.write_text('[{"lobe": "RUL", "long_mm": 7}, {"margin": null}]')
    assert [(nodule.number, nodule.lobe) for nodule in read_nodules(path)] == [(1, "RUL"), (2, None)]


def test_text_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clinical.json"
    path.write_text("age: 61")
    with pytest.raises(InputError, match=r"clinical\.json cannot be read as JSON"):
        read_elements(path)


def write_dicom(path: Path, uid: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags = pydicom.Dataset()
    tags.file_meta = meta
    tags.SOPClassUID, tags.SOPInstanceUID, tags.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid, uid
    path.parent.mkdir(parents=True, exist_ok=True)
    tags.save_as(path, enforce_file_format=True)


def test_a_folder_must_hold_one_series(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_ct(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no DICOM image"):
        read_ct(tmp_path)
    write_dicom(tmp_path / "a/1.dcm", "1.2.3")
    write_dicom(tmp_path / "b/1.dcm", "1.2.4")
    write_dicom(tmp_path / "b/2.dcm", "1.2.4")
    with pytest.raises(InputError, match=r"2 series, .* 1\.2\.3 \(1 slices\), 1\.2\.4 \(2 slices\)"):
        read_ct(tmp_path)
    with pytest.raises(InputError, match="does not hold series 9"):
        read_ct(tmp_path, "9")


def test_nifti_is_read_as_it_was_written(series: Series, tmp_path: Path) -> None:
    write_nifti(series, tmp_path / "ct.nii.gz")
    found = read_ct(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(found.voxels, series.voxels)
    assert found.voxel_size == pytest.approx(series.voxel_size)
