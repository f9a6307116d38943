import itertools
from pathlib import Path

import dicom_series as series
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from m3fm.core.errors import InputError
from m3fm.ct import dicom
from m3fm.ct.geometry import Rejected, canonical
from m3fm.ct.plausible import check_hu, measure_hu
from m3fm.ct.store import open_volume, write_volume
from m3fm.ct.volume import Series, read_nifti, write_nifti

HU = series.volume()
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def lps_affine(spacing=series.SPACING, origin=series.ORIGIN):
    """From indices [slice, row, column] to LPS mm."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing
    affine[:3, 3] = origin
    affine[3, 3] = 1
    return affine


def reordered(voxels, affine, axes, flips):
    """The same volume in space, stored with its axes in another order and some of them reversed."""
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = voxels.shape[old] - 1 if flip else 0
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    return voxels.transpose(axes)[steps], affine @ to_old


@settings(max_examples=60)
@given(
    axes=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    degrees=st.floats(-9, 9),
)
def test_canonical_undoes_every_order_and_direction_of_the_axes(axes, flips, degrees):
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ lps_affine()
    voxels, size, origin = canonical(*reordered(HU, affine, axes, flips))
    np.testing.assert_array_equal(voxels, HU)
    assert voxels.flags.c_contiguous
    np.testing.assert_allclose(size, series.SPACING)
    np.testing.assert_allclose(origin, affine[:3, 3], atol=1e-9)


def test_canonical_refuses_what_is_too_oblique():
    angle = np.radians(30)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    with pytest.raises(Rejected, match="30 degrees"):
        canonical(HU, turn @ lps_affine())


def test_nifti_round_trip_keeps_voxels_and_geometry(tmp_path):
    path = tmp_path / "ct.nii.gz"
    write_nifti(Series(voxels=HU, voxel_size=series.SPACING, origin_mm=series.ORIGIN, patient_id="DOE"), path)
    read = read_nifti(path)
    np.testing.assert_array_equal(read.voxels, HU)
    np.testing.assert_allclose(read.voxel_size, series.SPACING, rtol=1e-7)
    np.testing.assert_allclose(read.origin_mm, series.ORIGIN, rtol=1e-6)
    assert b"DOE" not in nibabel.load(path).header.binaryblock
    assert read.patient_id == ""


def test_nifti_is_what_simpleitk_reads_and_writes(tmp_path):
    files = series.write(tmp_path / "s", series.datasets(HU))
    ours, theirs = tmp_path / "ours.nii.gz", tmp_path / "theirs.nii.gz"
    read = dicom.read_series(files)
    write_nifti(read, ours)
    image = sitk.ReadImage(str(ours))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), read.voxels)
    np.testing.assert_allclose(image.GetSpacing(), read.voxel_size[::-1], rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), read.origin_mm, rtol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-6)

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(files[0].parent)))
    image = reader.Execute()
    sitk.WriteImage(image, str(theirs))
    again = read_nifti(theirs)
    np.testing.assert_array_equal(again.voxels, read.voxels)
    np.testing.assert_array_equal(np.float32(again.voxel_size), np.float32(read.voxel_size))
    np.testing.assert_allclose(again.origin_mm, read.origin_mm, rtol=1e-6)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_nifti_in_any_orientation_is_the_same_volume(tmp_path, flips, axes):
    """Mirrored affines included, by sform or qform: left is left as in the DICOM that SimpleITK reads."""
    stored, affine = reordered(HU, lps_affine(), axes, flips)
    for form in ("sform", "qform", "both"):
        image = nibabel.Nifti1Image(stored, RAS @ affine)
        image.set_sform(RAS @ affine, code=0 if form == "qform" else 1)
        image.set_qform(RAS @ affine, code=0 if form == "sform" else 1)
        nibabel.save(image, tmp_path / "x.nii")
        read = read_nifti(tmp_path / "x.nii")
        np.testing.assert_array_equal(read.voxels, HU)
        np.testing.assert_allclose(read.voxel_size, series.SPACING, rtol=1e-6)
        np.testing.assert_allclose(read.origin_mm, series.ORIGIN, rtol=1e-6)
    theirs = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "x.nii")), "LPS")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), read.voxels)
    np.testing.assert_allclose(theirs.GetOrigin(), read.origin_mm, rtol=1e-5)


def nifti(stored=None, affine=None, kind=nibabel.Nifti1Image):
    """A sound image [x, y, z], or another with its affine."""
    affine = RAS @ lps_affine()[:, [2, 1, 0, 3]] if affine is None else affine
    return kind(HU.transpose(2, 1, 0) if stored is None else stored, affine)


def reason(image, path):
    nibabel.save(image, path)
    with pytest.raises(Rejected) as caught:
        read_nifti(path)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("more", [(1,), (1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_dimensions_of_length_one_do_not_count(tmp_path, more, kind):
    nibabel.save(
        nifti(HU.transpose(2, 1, 0).reshape(*HU.shape[::-1], *more), kind=kind), tmp_path / "x.nii.gz"
    )
    np.testing.assert_array_equal(read_nifti(tmp_path / "x.nii.gz").voxels, HU)


@pytest.mark.parametrize("shape", [(48, 40, 1, 10), (48, 40, 5, 2), (48, 40, 5, 1, 2)])
def test_nifti_of_several_volumes_is_refused(tmp_path, shape):
    assert reason(nifti(HU.transpose(2, 1, 0).reshape(shape)), tmp_path / "x.nii")[0] == "multi_frame"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda form: form, None),
        (lambda form: form + np.eye(4)[:, [3, 0, 1, 2]] * 1e-4, None),
        (lambda form: np.diag([-1.0, 1, 1, 1]) @ form, "bad_tags"),
        (lambda form: form @ np.diag([1, 1, 1.1, 1]), "bad_tags"),
        (lambda form: form + np.outer([1, 0, 0, 0], [0, 0, 0, 5.0]), "bad_tags"),
    ],
    ids=["equal", "rounded", "mirrored", "other spacing", "shifted"],
)
def test_nifti_sform_and_qform_must_agree(tmp_path, change, expected):
    image = nifti()
    image.set_qform(change(image.affine), code=1)
    image.set_sform(image.affine, code=1)
    if expected is None:
        nibabel.save(image, tmp_path / "x.nii")
        np.testing.assert_array_equal(read_nifti(tmp_path / "x.nii").voxels, HU)
    else:
        found, detail = reason(image, tmp_path / "x.nii")
        assert found == expected
        assert "sform and qform" in detail


def test_a_nifti_form_without_a_code_does_not_count(tmp_path):
    image = nifti()
    image.set_sform(image.affine, code=1)
    image.set_qform(np.diag([-1.0, 1, 1, 1]) @ image.affine, code=0)
    nibabel.save(image, tmp_path / "x.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "x.nii").voxels, HU)


@pytest.mark.parametrize("degrees", [0.5, 1.5, 8, 30])
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3), 2)))
def test_a_sheared_nifti_is_tilted(tmp_path, degrees, axes):
    affine = RAS @ lps_affine()[:, [2, 1, 0, 3]]
    along, onto = axes
    affine[onto, along] = np.tan(np.radians(degrees)) * affine[along, along]
    if degrees < 1:
        nibabel.save(nifti(affine=affine), tmp_path / "x.nii")
        np.testing.assert_array_equal(read_nifti(tmp_path / "x.nii").voxels, HU)
    else:
        assert reason(nifti(affine=affine), tmp_path / "x.nii")[0] == "tilted"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nifti_background_that_is_not_finite_is_padding(tmp_path, value):
    stored = HU.transpose(2, 1, 0).astype(np.float32)
    y, x = np.meshgrid(np.arange(40) - 19.5, np.arange(48) - 23.5)
    outside = np.hypot(x / 24, y / 20) > 1
    stored[outside] = value
    nibabel.save(nifti(stored), tmp_path / "x.nii")
    voxels = read_nifti(tmp_path / "x.nii").voxels
    assert (voxels[:, outside.T] == -1024).all()
    np.testing.assert_array_equal(voxels[:, ~outside.T], HU[:, ~outside.T])


@pytest.mark.parametrize(
    ("place", "detail"),
    [
        ((20, 20, 5), "1 values inside"),
        ((slice(10, 14), slice(10, 14), slice(3, 6)), "48 values inside"),
        ((slice(None), slice(None), 0), "1 slices have no finite value"),
    ],
    ids=["one", "some", "a slice"],
)
def test_nifti_values_inside_that_are_not_finite_are_refused(tmp_path, place, detail):
    stored = HU.transpose(2, 1, 0).astype(np.float32)
    stored[0, :5] = np.nan  # background
    stored[place] = np.nan
    found, said = reason(nifti(stored), tmp_path / "x.nii")
    assert found == "implausible_hu"
    assert detail in said


def test_nifti_of_either_byte_order_and_with_a_scale_is_read(tmp_path):
    stored = HU.transpose(2, 1, 0)
    for dtype, slope, intercept in [(">i2", 1, 0), ("<i2", 2, -1024), (">i2", 0.5, 0), ("<u2", 1, -1100)]:
        image = nifti(((stored - float(intercept)) / slope).round().astype(dtype))
        image.header.set_data_dtype(dtype)
        image.header.set_slope_inter(slope, intercept)
        raw = image.dataobj
        header = image.header.as_byteswapped(dtype[0])
        header["vox_offset"] = 352
        header["scl_slope"], header["scl_inter"] = slope, intercept
        header["magic"] = b"n+1"
        (tmp_path / "x.nii").write_bytes(header.binaryblock + bytes(4) + raw.tobytes(order="F"))
        read = read_nifti(tmp_path / "x.nii").voxels
        assert np.abs(read - HU.astype(int)).max() <= slope / 2
        theirs = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "x.nii")), "LPS"))
        np.testing.assert_array_equal(read, np.rint(theirs))


@pytest.mark.parametrize("damage", ["cut by a byte", "cut in the middle", "a byte changed"])
def test_a_damaged_gzip_is_unreadable(tmp_path, damage):
    path = tmp_path / "x.nii.gz"
    nibabel.save(nifti(), path)
    content = bytearray(path.read_bytes())
    if damage == "a byte changed":
        content[-6] ^= 255  # of the checksum: what was unpacked is not what was packed
    path.write_bytes(content[:-1] if "byte" in damage and "cut" in damage else content)
    if damage == "cut in the middle":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Rejected, match="unreadable"):
        read_nifti(path)


def test_nifti_of_floats_is_rounded_and_scaled_integers_are_scaled(tmp_path):
    stored, affine = reordered(HU, lps_affine(), (2, 1, 0), (False,) * 3)
    nibabel.save(nibabel.Nifti1Image(stored.astype(np.float32) + 0.2, RAS @ affine), tmp_path / "f.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "f.nii").voxels, HU)
    image = nibabel.Nifti1Image(stored.astype(np.float32) * 2 - 8, RAS @ affine)
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(2, -8)
    nibabel.save(image, tmp_path / "s.nii")
    assert nibabel.load(tmp_path / "s.nii").dataobj.slope == 2
    with pytest.raises(Rejected, match="implausible_hu"):
        read_nifti(tmp_path / "s.nii")


def bad_nifti(kind, path: Path):
    affine = RAS @ lps_affine()[:, [2, 1, 0, 3]]
    stored = HU.transpose(2, 1, 0)
    match kind:
        case "4d":
            stored = np.stack([stored, stored], -1)
        case "2d":
            stored = stored[:, :, 0]
        case "one slice":
            stored = stored[:, :, :1]
        case "colour":
            stored = np.zeros(stored.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
        case "complex":
            stored = stored.astype(np.complex64)
        case "NaN":
            stored = stored.astype(np.float32)
            stored[3, 3, 3] = np.nan
        case "infinite":
            stored = stored.astype(np.float32)
            stored[3, 3, 3] = np.inf
        case "labels":
            stored = (stored > 0).astype(np.uint8)
        case "metres":
            affine = affine / 1000
        case "oblique":
            affine = [[0.8, 0.6, 0, 0], [-0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] @ affine
    image = nibabel.Nifti1Image(stored, affine)
    if kind == "unoriented":
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    if kind in ("affine NaN", "affine zero"):
        image.set_qform(None, 0)
        image.header["srow_x"] = np.nan if kind == "affine NaN" else 0
        image = nibabel.Nifti1Image(stored, None, image.header)
    nibabel.save(image, path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    if kind == "garbage":
        path.write_bytes(b"no image at all")
    if kind == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("4d", "multi_frame"),
        ("2d", "too_few_slices"),
        ("one slice", "too_few_slices"),
        ("colour", "derived"),
        ("complex", "derived"),
        ("NaN", "implausible_hu"),
        ("infinite", "implausible_hu"),
        ("labels", "implausible_hu"),
        ("metres", "bad_tags"),
        ("affine NaN", "bad_tags"),
        ("affine zero", "bad_tags"),
        ("oblique", "not_axial"),
        ("unoriented", "missing_tags"),
        ("cut", "unreadable"),
        ("garbage", "unreadable"),
        ("empty", "unreadable"),
    ],
)
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_bad_nifti_is_refused_with_its_reason(tmp_path, kind, reason, suffix):
    path = tmp_path / f"bad.{suffix}"
    bad_nifti(kind, path)
    with pytest.raises(Rejected) as caught:
        read_nifti(path)
    assert caught.value.reason == reason
    assert str(tmp_path) not in str(caught.value)


def test_hu_need_air_and_tissue():
    check_hu(measure_hu(HU))
    for wrong in (HU + 1024, HU - 1024, np.full_like(HU, -1000), np.zeros_like(HU)):
        with pytest.raises(Rejected, match="implausible_hu"):
            check_hu(measure_hu(wrong))


def test_the_store_gives_back_what_it_took(tmp_path):
    path = tmp_path / "v.npy"
    write_volume(path, HU[:, ::-1])
    volume = open_volume(path)
    assert isinstance(volume, np.memmap)
    np.testing.assert_array_equal(volume, HU[:, ::-1])
    with pytest.raises(ValueError, match="read-only"):
        volume[0, 0, 0] = 1
    assert [file.name for file in tmp_path.iterdir()] == ["v.npy"]


def test_the_store_gives_the_same_bytes_for_the_same_voxels(tmp_path):
    write_volume(tmp_path / "a.npy", HU)
    write_volume(tmp_path / "b.npy", HU.transpose(2, 1, 0).copy().transpose(2, 1, 0))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_damaged_volume_is_bad_input(tmp_path):
    path = tmp_path / "v.npy"
    with pytest.raises(InputError, match="missing or damaged"):
        open_volume(path)
    write_volume(path, HU)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="missing or damaged"):
        open_volume(path)
    np.save(path, HU.astype(np.float32))
    with pytest.raises(InputError, match="not hold a volume of HU"):
        open_volume(path)
