"""Three CT series that nobody here simulated; skipped where the files are not beside the repository."""

import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from m3fm.config.sections import CurateConfig
from m3fm.ct import dicom
from m3fm.ct.geometry import Rejected
from m3fm.ct.regions import find_regions
from m3fm.ct.store import open_volume
from m3fm.ct.volume import read_nifti, write_nifti
from m3fm.dataset.examine import WORK, examine, read_record
from m3fm.privacy.pseudonyms import Salt

DATA = Path(__file__).parents[2].parent / "shared" / "data"
A0001, A0002, CIP = "chest_ct_A0001_B_64sl", "chest_ct_A0002_B40f_30sl", "cip_ct64_dicom_79sl"


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The files of a series, unpacked once."""
    unpacked = {}

    def get(name):
        archive = DATA / f"{name}.tar.gz"
        if not archive.is_file():
            pytest.skip(f"{archive.name} is not there")
        if name not in unpacked:
            directory = tmp_path_factory.mktemp(name)
            with tarfile.open(archive) as tar:
                tar.extractall(directory, filter="data")
            (unpacked[name],) = dicom.index([directory]).values()
        return unpacked[name]

    return get


def simpleitk(files):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(files[0].parent)))
    return reader.Execute()


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        (A0001, (5.0, 0.841796875, 0.841796875)),
        (A0002, (8.0, 0.646484375, 0.646484375)),
        (CIP, (3.98734, 4.171872, 4.171872)),
    ],
)
def test_hu_and_geometry_are_simpleitk_s(files, name, spacing):
    image = simpleitk(files(name))
    series = dicom.read_series(files(name))
    np.testing.assert_array_equal(series.voxels, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(series.voxel_size, spacing, atol=1e-4)
    np.testing.assert_allclose(series.voxel_size, image.GetSpacing()[::-1], rtol=1e-9)
    np.testing.assert_allclose(series.origin_mm, image.GetOrigin())


def test_too_few_slices_for_the_paper(files):
    with pytest.raises(Rejected) as caught:
        dicom.read_series(files(A0002), min_slices=64)
    assert (caught.value.reason, caught.value.detail) == ("too_few_slices", "30 of at least 64")


def test_a_nifti_copy_gives_the_same_numbers(files, tmp_path):
    series = dicom.read_series(files(A0001), min_slices=64)
    write_nifti(series, tmp_path / "copy.nii")
    copy = read_nifti(tmp_path / "copy.nii")
    np.testing.assert_array_equal(copy.voxels, series.voxels)
    np.testing.assert_array_equal(np.float32(copy.voxel_size), np.float32(series.voxel_size))


def test_boxes_of_a_patient_with_a_tumour(files):
    """Found by eye in the slices: the lungs' edges, and the heart from its apex to the pulmonary trunk."""
    series = dicom.read_series(files(A0001), min_slices=64)
    started = time.perf_counter()
    found = find_regions(series.voxels, series.voxel_size)
    assert time.perf_counter() - started < 10
    seen = {
        "left_lung": (6, 55, 172, 410, 270, 416),
        "right_lung": (4, 55, 160, 407, 90, 284),
        "heart": (12, 36, 170, 310, 230, 355),
    }
    for name, box in seen.items():
        outside = (np.array(found[name]) - box) * np.tile([-1, 1], 3)
        assert outside.min() >= 0, (name, outside)
        assert outside[:2].max() <= 6, (name, outside)
        assert outside[2:].max() <= 20, (name, outside)


def test_lung_boxes_are_those_of_a_label_map(files):
    labels = DATA / "lm-64.nrrd"
    series = dicom.read_series(files(CIP), min_slices=64)
    if not labels.is_file():
        pytest.skip(f"{labels.name} is not there")
    # The low byte is the region of the lung: 9 to 11 thirds of the left one, 12 to 14 of the right one.
    region = sitk.GetArrayFromImage(sitk.ReadImage(str(labels))) & 0xFF
    found = find_regions(series.voxels, series.voxel_size)
    for name, thirds in {"left_lung": (9, 11), "right_lung": (12, 14), "both_lungs": (9, 14)}.items():
        places = np.nonzero((region >= thirds[0]) & (region <= thirds[1]))
        box = np.array([edge for axis in places for edge in (axis.min(), axis.max() + 1)])
        outside = (np.array(found[name]) - box) * np.tile([-1, 1], 3)
        assert np.abs(outside).max() <= 2, (name, outside)


@pytest.mark.parametrize("name", [A0001, A0002, CIP])
def test_the_record_of_each_in_a_dataset(files, tmp_path, name):
    (tmp_path / WORK / "seen").mkdir(parents=True)
    (tmp_path / "volumes").mkdir()
    chosen = files(name)
    status = examine("x", "1.2.3", chosen, (), {}, tmp_path, CurateConfig(), Salt("m3fm"))
    record = read_record(tmp_path, "x")
    found = [record[column] for column in ("status", "reason", "slices", "gaps", "duplicates", "copies")]
    assert (
        found
        == {
            A0001: ["kept", "", 64, 0, 0, 0],
            A0002: ["rejected", "too_few_slices", 30, 0, 0, 0],
            CIP: ["kept", "", 79, 0, 0, 0],
        }[name]
    )
    assert record["status"] == status
    spacing = {A0001: (5.0, 0.842, 0.842), A0002: (8.0, 0.646, 0.646), CIP: (3.987, 4.172, 4.172)}[name]
    assert [record[f"voxel_{axis}"] for axis in "zyx"] == pytest.approx(spacing, abs=1e-3)
    assert (record["tilt_degrees"], record["oblique_degrees"]) == pytest.approx((0, 0), abs=1e-3)
    if status == "kept":
        assert record["air_hu"] == pytest.approx(-1000, abs=60)
        stored = open_volume(tmp_path / record["volume"])
        np.testing.assert_array_equal(stored, sitk.GetArrayFromImage(simpleitk(chosen)))
