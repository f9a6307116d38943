import pickle
import warnings
from pathlib import Path

import dicom_series as series
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from m3fm.core.errors import InputError
from m3fm.ct import dicom
from m3fm.ct.geometry import Rejected
from m3fm.ct.headers import to_header
from m3fm.ct.pixels import read_hu
from m3fm.ct.tags import read_tags

HU = series.volume()


def simpleitk(files):
    """HU of files in the order of their positions, each read by SimpleITK on its own."""
    images = [sitk.ReadImage(str(file)) for file in files]
    images.sort(key=lambda image: image.GetOrigin()[2])
    return np.concatenate([sitk.GetArrayFromImage(image) for image in images])


def rejected(files, **options):
    with pytest.raises(Rejected) as caught:
        dicom.read_series(files, **options)
    for secret in (series.PATIENT, series.DATE, str(Path(files[0]).parent)):
        assert secret not in str(caught.value)
    return caught.value


def test_a_sound_series_is_read_in_canonical_orientation(tmp_path):
    files = series.write(tmp_path / "s", series.datasets(HU))
    read = dicom.read_series(files[::-1])
    assert read.voxels.dtype == np.int16
    np.testing.assert_array_equal(read.voxels, HU)
    np.testing.assert_array_equal(read.voxels, simpleitk(files))
    np.testing.assert_allclose(read.voxel_size, series.SPACING, rtol=1e-12)
    np.testing.assert_allclose(read.origin_mm, series.ORIGIN)
    assert (read.patient_id, read.study_date, read.timepoint) == (series.PATIENT, series.DATE, "T1")
    assert (read.manufacturer, read.model, read.kernel, read.thickness_mm) == ("ACME", "Ring 9", "B30f", 5.0)
    assert (read.instance_first, read.instance_last) == (10, 1)
    first = pydicom.dcmread(files[0])
    assert (read.series_uid, read.study_uid) == (first.SeriesInstanceUID, first.StudyInstanceUID)


def test_instance_numbers_do_not_order_the_slices(tmp_path):
    slices = list(series.datasets(HU))
    for number, tags in enumerate(slices):
        tags.InstanceNumber = (number * 3) % 10
    read = dicom.read_series(series.write(tmp_path, slices))
    np.testing.assert_array_equal(read.voxels, HU)
    assert (read.instance_first, read.instance_last) == (0, 0), "they locate no slice either"


@pytest.mark.parametrize("wrong", [None, "missing", 2**40, "the same"])
@pytest.mark.parametrize("end", [0, -1])
def test_instance_numbers_that_locate_no_slice_are_none(tmp_path, end, wrong):
    slices = list(series.datasets(HU))
    if wrong == "missing":
        del slices[end].InstanceNumber
    elif wrong == "the same":
        slices[end].InstanceNumber = slices[-1 - end].InstanceNumber
    else:
        slices[end].add_new("InstanceNumber", "IS", wrong if wrong is None else str(wrong))
    read = dicom.read_series(series.write(tmp_path, slices))
    np.testing.assert_array_equal(read.voxels, HU)
    assert (read.instance_first, read.instance_last) == (0, 0)


def test_a_decoder_that_panics_is_an_unreadable_slice(tmp_path):
    """The RLE decoder is written in Rust, and its panic is not an Exception."""
    slices = list(series.datasets(HU))
    slices[3].compress(RLELossless)
    content = bytearray(slices[3].PixelData)
    two_segments_of_which_the_first_begins_at_64 = bytes([2, 0, 0, 0, 64, 0, 0, 0])
    content[content.index(two_segments_of_which_the_first_begins_at_64) + 64] = 129
    slices[3].PixelData = bytes(content)
    assert rejected(series.write(tmp_path, slices)).reason == "unreadable"


@pytest.mark.parametrize(
    ("numbers", "ends"),
    [
        ([None] * 10, (0, 0)),
        ([1] * 10, (0, 0)),
        ([1, 2, 3, 4, 6, 5, 7, 8, 9, 10], (0, 0)),
        ([1, 6, 2, 7, 3, 8, 4, 9, 5, 10], (0, 0)),
        ([1, 2, 3, 4, None, 6, 7, 8, 9, 10], (0, 0)),
        ([1, 2, 3, 4, 5, 16, 17, 18, 19, 20], (0, 0)),
        (["1", "2.0", " 3 ", *range(4, 11)], (1, 10)),
        (range(10, 110, 10), (10, 100)),
    ],
    ids=["none", "all the same", "swapped", "interleaved", "one missing", "a leap", "as text", "by tens"],
)
def test_instance_numbers_locate_slices_where_they_rise_or_fall_evenly(tmp_path, numbers, ends):
    slices = list(series.datasets(HU))
    for tags, number in zip(slices, numbers, strict=True):
        del tags.InstanceNumber
        if number is not None:
            tags.add_new("InstanceNumber", "IS", number)
    files = series.write(tmp_path, slices)
    for order in (files, files[::-1]):
        read = dicom.read_series(order)
        assert (read.instance_first, read.instance_last) == ends
        np.testing.assert_array_equal(read.voxels, HU)


def test_every_header_is_read_once(tmp_path, monkeypatch):
    files, read = series.write(tmp_path, series.datasets(HU)), []
    monkeypatch.setattr("m3fm.ct.headers.read_tags", lambda file: (read.append(file), read_tags(file))[1])
    monkeypatch.setattr("pydicom.dcmread", None)
    surveyed = dicom.survey(files, inspect := [].append)
    assert dicom.read_volume(surveyed, 2).instance_first == 10
    assert read == files
    assert len(inspect.__self__) == len(files)


def test_missing_descriptions_are_empty_not_an_error(tmp_path):
    slices = list(series.datasets(HU))
    for tags in slices:
        for name in ("InstanceNumber", "SliceThickness", "ConvolutionKernel", "ClinicalTrialTimePointID"):
            tags[name].value = None
        del tags.ManufacturerModelName
    read = dicom.read_series(series.write(tmp_path, slices))
    assert (read.instance_first, read.thickness_mm, read.kernel, read.model) == (0, 0.0, "", "")


ORIENTATIONS = {
    "both flipped": ([-1, 0, 0, 0, -1, 0], lambda plane: plane[::-1, ::-1]),
    "rows flipped": ([1, 0, 0, 0, -1, 0], lambda plane: plane[::-1]),
    "columns flipped": ([-1, 0, 0, 0, 1, 0], lambda plane: plane[:, ::-1]),
    "transposed": ([0, 1, 0, 1, 0, 0], lambda plane: plane.T),
    "turned": ([0, -1, 0, 1, 0, 0], lambda plane: plane.T[:, ::-1]),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_flipped_and_transposed_axial_slices_become_canonical(tmp_path, name):
    orientation, turn = ORIENTATIONS[name]
    slices = list(series.datasets(HU))
    _, rows, columns = HU.shape
    indices = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    corner = indices.transpose(2, 0, 1)
    row, column = turn(corner[0])[0, 0], turn(corner[1])[0, 0]
    for tags in slices:
        x, y, z = tags.ImagePositionPatient
        tags.ImagePositionPatient = [
            x + column * series.SPACING[2],
            y + row * series.SPACING[1],
            z,
        ]
        tags.ImageOrientationPatient = orientation
        if orientation[0] == 0:
            tags.PixelSpacing = [series.SPACING[2], series.SPACING[1]]
        series.store(tags, turn(series.stored(tags)))
    read = dicom.read_series(series.write(tmp_path, slices))
    np.testing.assert_array_equal(read.voxels, HU)
    np.testing.assert_allclose(read.voxel_size, series.SPACING)
    np.testing.assert_allclose(read.origin_mm, series.ORIGIN)


def test_rescale_is_that_of_each_slice_and_fractions_are_rounded(tmp_path):
    slices = list(series.datasets(HU))
    for number, tags in enumerate(slices):
        slope = 0.5 + 0.1 * number
        tags.RescaleSlope, tags.RescaleIntercept = f"{slope:.1f}", "-1100.5"
        series.store(tags, np.rint((HU[number] + 1100.5) / slope).astype(int))
    files = series.write(tmp_path, slices)
    read = dicom.read_series(files)
    assert np.abs(read.voxels - HU).max() <= 1
    np.testing.assert_array_equal(read.voxels, np.rint(simpleitk(files)))


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_monochrome1_says_how_to_display_not_what_is_stored(tmp_path, syntax):
    slices = list(series.datasets(HU))
    for number, tags in enumerate(slices):
        tags.PhotometricInterpretation = "MONOCHROME1" if number % 2 else "MONOCHROME2"
        if syntax:
            tags.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(dicom.read_series(series.write(tmp_path, slices)).voxels, HU)


@pytest.mark.parametrize("declared", [-2000, 63536])
def test_signed_padding_becomes_the_lowest_air(tmp_path, declared):
    slices = list(series.datasets(HU))
    for number, tags in enumerate(slices):
        tags.PixelRepresentation, tags.RescaleIntercept = 1, 0
        tags.BitsStored, tags.HighBit = 16, 15
        padded = HU[number].astype(int)
        padded[0] = -2000
        series.store(tags, padded)
        tags.add_new("PixelPaddingValue", "SS" if declared < 0 else "US", declared)
    voxels = dicom.read_series(series.write(tmp_path, slices)).voxels
    assert (voxels[:, 0] == -1024).all()
    np.testing.assert_array_equal(voxels[:, 1:], HU[:, 1:])


def test_a_range_of_padding_values(tmp_path):
    slices = list(series.datasets(HU))
    for tags in slices:
        values = series.stored(tags) + 100
        values[0, ::2], values[0, 1::2] = 3, 9
        tags.RescaleIntercept = -1124
        tags.PixelPaddingValue, tags.PixelPaddingRangeLimit = 2, 10
        series.store(tags, values)
    voxels = dicom.read_series(series.write(tmp_path, slices)).voxels
    assert (voxels[:, 0] == -1024).all()
    np.testing.assert_array_equal(voxels[:, 1:], HU[:, 1:])


def test_padding_with_a_tissue_value_makes_no_holes(tmp_path):
    slices = list(series.datasets(HU))
    for tags in slices:
        tags.PixelPaddingValue = 1064  # 40 HU
    np.testing.assert_array_equal(dicom.read_series(series.write(tmp_path, slices)).voxels, HU)


def test_signed_twelve_bits_without_sign_extension(tmp_path):
    slices = list(series.datasets(HU))
    for number, tags in enumerate(slices):
        tags.PixelRepresentation, tags.RescaleIntercept = 1, 0
        series.store(tags, HU[number].astype(int) & 0xFFF)
    files = series.write(tmp_path, slices)
    np.testing.assert_array_equal(dicom.read_series(files).voxels, HU)
    np.testing.assert_array_equal(simpleitk(files), HU)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 13, 15, 16])
@pytest.mark.parametrize("rescale", [(1, -1024), (1, -8192), (2, 24), (-1, 0), (1, 0.5), (0.37, -1000.25)])
def test_every_stored_value_becomes_what_the_standard_makes_of_it(
    tmp_path, photometric, signed, bits, rescale
):
    """All values of 16 bits, those included that have bits beyond BitsStored."""
    (tags,) = series.datasets(HU[:1])
    tags.BitsStored, tags.HighBit, tags.PixelRepresentation = bits, bits - 1, int(signed)
    tags.PhotometricInterpretation = photometric
    tags.RescaleSlope, tags.RescaleIntercept = rescale
    series.store(tags, np.arange(1 << 16).reshape(256, 256))
    (file,) = series.write(tmp_path, [tags])
    out = np.empty((256, 256), np.int16)
    read_hu(file, to_header(read_tags(file), file, "").pixels, out, "")

    values = np.arange(1 << 16).reshape(256, 256) % (1 << bits)
    if signed:
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    expected = np.rint(values * float(rescale[0]) + float(rescale[1]))
    np.testing.assert_array_equal(out, expected.clip(-32768, 32767))
    if photometric == "MONOCHROME2":
        np.testing.assert_array_equal(expected, np.rint(simpleitk([file])[0]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("high_bit", [11, 13, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_are_not_of_the_value_do_not_count(tmp_path, signed, high_bit, syntax):
    """An overlay, or noise, above and below the 12 bits that end at HighBit."""
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="pyjpegls, the encoder, is not installed")
    slices = list(series.datasets(HU))
    rng = np.random.default_rng(0)
    for number, tags in enumerate(slices):
        tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 15, int(signed)
        tags.RescaleIntercept = 0 if signed else -1024
        values = (HU[number].astype(int) - int(tags.RescaleIntercept)) & 0xFFF
        below = high_bit - 11
        others = rng.integers(0, 1 << 16, values.shape) & ~(0xFFF << below)
        series.store(tags, values << below | others)
        if syntax != ExplicitVRLittleEndian:
            tags.compress(syntax, generate_instance_uid=False)
        tags.BitsStored, tags.HighBit = 12, high_bit
    files = series.write(tmp_path, slices)
    np.testing.assert_array_equal(dicom.read_series(files).voxels, HU)
    if high_bit == 11 and syntax != JPEG2000Lossless:  # what else SimpleITK does not clear
        np.testing.assert_array_equal(simpleitk(files), HU)


def test_a_high_bit_that_cannot_be_is_refused(tmp_path):
    for high_bit in (10, 16):
        slices = list(series.datasets(HU))
        for tags in slices:
            tags.HighBit = high_bit
        assert rejected(series.write(tmp_path / str(high_bit), slices)).reason == "bad_tags"


def test_a_missing_high_bit_is_the_highest_stored(tmp_path):
    slices = list(series.datasets(HU))
    for tags in slices:
        del tags.HighBit
    np.testing.assert_array_equal(dicom.read_series(series.write(tmp_path, slices)).voxels, HU)


@pytest.mark.parametrize(("bits", "slope", "intercept"), [(8, 8, -1024), (32, 1, -1024), (32, 0.5, -1024)])
def test_eight_and_thirty_two_bits(tmp_path, bits, slope, intercept):
    slices = list(series.datasets(HU))
    for number, tags in enumerate(slices):
        tags.BitsAllocated, tags.BitsStored, tags.HighBit = bits, bits, bits - 1
        tags.RescaleSlope, tags.RescaleIntercept = slope, intercept
        values = np.rint((HU[number].astype(int) - intercept) / slope)
        tags.PixelData = values.astype(f"<u{bits // 8}").tobytes()
        tags["PixelData"].VR = "OB" if bits == 8 else "OW"
    read = dicom.read_series(series.write(tmp_path, slices))
    assert np.abs(read.voxels - HU.astype(int)).max() <= slope / 2


def test_unsigned_sixteen_bits_beyond_int16_are_clipped_not_wrapped(tmp_path):
    slices = list(series.datasets(HU))
    for tags in slices:
        tags.BitsStored, tags.HighBit = 16, 15
        values = series.stored(tags)
        values[5, 5] = 65535
        series.store(tags, values)
    assert (dicom.read_series(series.write(tmp_path, slices)).voxels[:, 5, 5] == 32767).all()


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=["rle", "jpeg2000", "jpeg-ls"]
)
def test_compressed_slices(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="pyjpegls, the encoder, is not installed")
    slices = list(series.datasets(HU))
    for tags in slices:
        tags.compress(syntax)
    files = series.write(tmp_path, slices)
    np.testing.assert_array_equal(dicom.read_series(files).voxels, HU)


def test_lossless_jpeg_written_by_another_library(tmp_path):
    for file in series.write(tmp_path / "plain", series.datasets(HU)):
        image = sitk.ReadImage(str(file))
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / file.name))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.KeepOriginalImageUIDOn()
        writer.Execute(image)
        tags = pydicom.dcmread(tmp_path / file.name)
        assert tags.RescaleType == "US", "SimpleITK's word for any CT"
        del tags.RescaleType
        tags.save_as(tmp_path / file.name)
    files = sorted(tmp_path.glob("*.dcm"))
    assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    np.testing.assert_array_equal(dicom.read_series(files).voxels, HU)


def test_the_configured_number_of_slices_is_asked_for(tmp_path):
    files = series.write(tmp_path / "s", series.datasets(HU))
    assert dicom.read_series(files, min_slices=10).voxels.shape[0] == 10
    error = rejected(files, min_slices=11)
    assert (error.reason, error.detail) == ("too_few_slices", "10 of at least 11")
    assert rejected_empty() == "too_few_slices"


def rejected_empty():
    with pytest.raises(Rejected) as caught:
        dicom.read_series([])
    return caught.value.reason


def test_a_file_cut_in_its_pixels_is_named_by_its_slice(tmp_path):
    files = series.write(tmp_path / "s", series.datasets(HU))
    victim = next(file for file in files if file.stem.endswith("-6"))
    victim.write_bytes(victim.read_bytes()[:-10])
    error = rejected(files)
    assert error.reason == "unreadable"
    assert error.detail.startswith("slice 6 of 10")


def test_geometry_is_checked_before_any_pixel_is_read(tmp_path):
    slices = list(series.datasets(HU))
    for tags in slices:
        tags.PixelData = b"\0\0"
    del slices[4]
    assert rejected(series.write(tmp_path / "s", slices)).reason == "gap"


def test_a_little_oblique_is_still_axial(tmp_path):
    slices = list(series.datasets(HU))
    angle = np.radians(6)
    for number, tags in enumerate(slices):
        tags.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(angle), 9), round(np.sin(angle), 9)]
        tags.ImagePositionPatient = [0, -np.sin(angle) * 2.5 * number, np.cos(angle) * 2.5 * number]
    read = dicom.read_series(series.write(tmp_path, slices))
    np.testing.assert_array_equal(read.voxels, HU)
    np.testing.assert_allclose(read.voxel_size, series.SPACING)


def test_positions_rounded_to_a_tenth_of_a_mm_are_even(tmp_path):
    slices = list(series.datasets(HU, spacing=(0.625, 0.7, 0.7)))
    for tags in slices:
        tags.ImagePositionPatient = [round(float(place), 1) for place in tags.ImagePositionPatient]
    read = dicom.read_series(series.write(tmp_path, slices))
    assert read.voxel_size[0] == pytest.approx(0.625, abs=0.02)


def test_index_finds_series_in_any_tree(tmp_path, caplog):
    one = series.write(tmp_path / "a" / "b", series.datasets(HU[:3], series_uid="1.2.3"))
    two = series.write(tmp_path / "a" / "b" / "c", series.datasets(HU[:2], series_uid="1.2.4"))
    (tmp_path / "a" / "notes.txt").write_text("no DICOM")
    (tmp_path / "a" / "empty.dcm").touch()
    (tmp_path / "a" / "cut.dcm").write_bytes(one[0].read_bytes()[:500])
    with caplog.at_level("INFO", logger="m3fm.ct.headers"):
        found = dicom.index([tmp_path / "a", one[0].parent / "missing"])
    assert found == {"1.2.3": one, "1.2.4": two, "": [tmp_path / "a" / "cut.dcm"]}
    assert caplog.messages == ["Ignored 2 files that are not DICOM images"]
    assert dicom.index(two) == {"1.2.4": two}


def test_reasons_are_closed_and_survive_a_worker_process():
    error = pickle.loads(pickle.dumps(Rejected("gap", "after slice 3")))
    assert (error.reason, error.detail) == ("gap", "after slice 3")
    assert isinstance(error, InputError)
    assert str(error).startswith("gap: ")
    with pytest.raises(KeyError):
        Rejected("bad mood")


def test_reading_a_sound_series_warns_of_nothing(tmp_path):
    files = series.write(tmp_path, series.datasets(HU))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dicom.read_series(files)
