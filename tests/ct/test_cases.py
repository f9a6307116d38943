"""Inputs that failed once, each of a kind that others of it stand for; skipped where they are not there."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from m3fm.core.files import files_below
from m3fm.ct.geometry import Rejected
from m3fm.ct.read import read_ct

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
KEPT = ""
EXPECTED = {
    "d01b_no_preamble_top15": KEPT,
    "d04_mono1_standard": KEPT,
    "d05_two_patients_one_series": "mixed",
    "d08a_step4_then_4.8": "inconsistent",
    "e01_symlinked_folder": KEPT,
    "e27_zero_byte_top12": "incomplete",
    "f01_4d_singleton.nii.gz": KEPT,
    "f04_shear_8deg_sform.nii.gz": "tilted",
}


def case(name: str, folder: Path) -> Path:
    """Unpack a case; its link, which was to a folder of another machine, leads to the folder beside it."""
    packed = CASES / (name if name.endswith(".nii.gz") else f"{name}.tar.gz")
    if not packed.is_file():
        pytest.skip(f"{packed} is not there")
    if name.endswith(".nii.gz"):
        return packed
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="tar" if "link" not in name else "fully_trusted")
    for link in filter(Path.is_symlink, (folder / name).iterdir()):
        link.unlink()
        (folder / name / "_real").rename(folder / "elsewhere")
        link.symlink_to(folder / "elsewhere")
    return folder / name


@pytest.mark.parametrize("name", EXPECTED)
def test_a_case_is_read_or_refused_by_name(tmp_path, name):
    path, reason = case(name, tmp_path), KEPT
    try:
        voxels = read_ct(path).voxels
    except Rejected as rejected:
        reason = rejected.reason
    assert reason == EXPECTED[name]
    if not reason and path.is_dir() and name != "d04_mono1_standard":  # whose values SimpleITK turns over
        images = [sitk.ReadImage(str(file), imageIO="GDCMImageIO") for file in files_below(path)]
        images.sort(key=lambda image: image.GetOrigin()[2])
        np.testing.assert_array_equal(voxels, np.concatenate([sitk.GetArrayFromImage(i) for i in images]))


def test_monochrome1_has_the_values_of_the_same_chest_in_monochrome2(tmp_path):
    mirrored, plain = (case(name, tmp_path) for name in ("d04_mono1_standard", "d01b_no_preamble_top15"))
    np.testing.assert_array_equal(read_ct(mirrored).voxels, read_ct(plain).voxels)
