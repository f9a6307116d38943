import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from m3fm.config.model import Scale
from m3fm.ct import transforms
from m3fm.ct.store import open_volume, write_volume

sizes = st.integers(1, 40)
shapes = st.tuples(sizes, sizes, sizes)
spacings = st.tuples(*[st.floats(0.3, 8)] * 3)


def whole(voxels):
    d, h, w = voxels.shape
    return (0, d, 0, h, 0, w)


def test_window_takes_its_ends_to_one():
    hu = np.array([[[-1300, 150, -2000, 3000, -575]]], np.int16)
    scaled = transforms.window(hu, (-1300.0, 150.0))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.ravel(), [-1, 1, -1, 1, 0], atol=1e-6)
    assert hu[0, 0, 2] == -2000  # the input is left alone


@settings(max_examples=80)
@given(before=shapes, target=shapes, spacing=spacings)
def test_fit_keeps_the_physical_extent_or_the_voxel_size(before, target, spacing):
    fitted, size = transforms.crop_and_resize(
        np.zeros(before, np.int16), whole(np.zeros(before)), spacing, target
    )
    assert fitted.shape == target
    assert fitted.dtype == np.float32
    for length, new, old_mm, new_mm in zip(before, target, spacing, size, strict=True):
        if length > new:
            assert new_mm * new == pytest.approx(old_mm * length)
        else:
            assert new_mm == old_mm


@settings(max_examples=80)
@given(before=shapes, target=shapes, value=st.integers(-1024, 3000))
def test_fit_keeps_a_constant_and_pads_evenly_with_air(before, target, value):
    voxels = np.full(before, value, np.int16)
    fitted, _ = transforms.crop_and_resize(voxels, whole(voxels), (1.0, 1.0, 1.0), target)
    inside = np.zeros(target, bool)
    starts = [(new - min(length, new)) // 2 for length, new in zip(before, target, strict=True)]
    inside[tuple(slice(s, s + min(n, t)) for s, n, t in zip(starts, before, target, strict=True))] = True
    np.testing.assert_allclose(fitted[inside], value, rtol=1e-5)
    assert (fitted[~inside] == -1000).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shrinking_moves_nothing(axis):
    """The centre of mass of a blob stays at the same mm, measured from the edge of the box."""
    shape = [21, 24, 27]
    voxels = np.zeros(shape, np.int16)
    voxels[8:12, 10:14, 15:19] = 1000
    target = list(shape)
    target[axis] = 11
    fitted, size = transforms.crop_and_resize(voxels, whole(voxels), (2.0, 1.5, 0.5), tuple(target))
    old = (np.array(ndimage.center_of_mass(voxels)) + 0.5) * (2.0, 1.5, 0.5)
    new = (np.array(ndimage.center_of_mass(fitted)) + 0.5) * size
    np.testing.assert_allclose(new, old, atol=0.02)


def test_shrinking_to_half_averages_neighbours():
    """By hand: at half the size a triangle two voxels wide weighs 1/8, 3/8, 3/8, 1/8."""
    voxels = np.zeros((1, 1, 8), np.int16)
    voxels[0, 0] = [0, 0, 800, 0, 0, 0, 0, 0]
    fitted, _ = transforms.crop_and_resize(voxels, whole(voxels), (1.0, 1.0, 1.0), (1, 1, 4))
    np.testing.assert_allclose(fitted.ravel(), [800 / 7, 300, 0, 0], rtol=1e-5)


def test_shrinking_does_not_alias():
    """A checkerboard far too fine for the new grid becomes grey, not a new pattern."""
    voxels = (np.indices((4, 96, 96)).sum(0) % 2 * 1000).astype(np.int16)
    fitted, _ = transforms.crop_and_resize(voxels, whole(voxels), (1.0, 1.0, 1.0), (4, 30, 30))
    assert np.abs(fitted - 500).max() < 30


@settings(max_examples=60)
@given(before=shapes, target=shapes, spacing=spacings, value=st.integers(-1024, 3000))
def test_resize_keeps_the_physical_extent_and_a_constant(before, target, spacing, value):
    resized, size = transforms.resize(np.full(before, value, np.int16), spacing, target)
    assert resized.shape == target
    np.testing.assert_allclose(np.multiply(size, target), np.multiply(spacing, before))
    np.testing.assert_allclose(resized, value, rtol=1e-5)


def test_resize_interpolates_linearly_when_it_enlarges():
    """By hand: new centres at -0.25, 0.25, 0.75, 1.25 old voxels; beyond the ends, the ends."""
    resized, size = transforms.resize(np.array([[[0, 400]]], np.int16), (1.0, 1.0, 1.0), (1, 1, 4))
    np.testing.assert_allclose(resized.ravel(), [0, 100, 300, 400], atol=1e-3)
    assert size == (1.0, 1.0, 0.5)


@settings(max_examples=60)
@given(box_size=shapes, target=shapes)
def test_filled_is_where_fit_pads_nothing(box_size, target):
    d, h, w = box_size
    box = (1, 1 + d, 2, 2 + h, 0, w)
    fitted, _ = transforms.crop_and_resize(
        np.full((d + 2, h + 2, w), 9, np.int16), box, (1.0, 1.0, 1.0), target
    )
    np.testing.assert_array_equal(transforms.crop_mask(box, target), fitted > -500)


def test_fit_of_a_memory_map_reads_only_the_box(tmp_path):
    path = tmp_path / "large.npy"
    large = np.lib.format.open_memmap(path, "w+", np.int16, (1000, 500, 500))  # a sparse 500 MB
    large[700:710, 300:320, 300:320] = 7
    del large
    volume = open_volume(path)
    tracemalloc.start()
    fitted, _ = transforms.crop_and_resize(
        volume, (700, 710, 300, 320, 300, 320), (1.0, 1.0, 1.0), (10, 20, 20)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (fitted == 7).all()
    assert not isinstance(fitted, np.memmap)
    assert peak < 1_000_000


def test_preprocessing_is_the_window_of_the_resized_crop(tmp_path):
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1024, 1000, (20, 40, 30)).astype(np.int16)
    scale = Scale(shape=(8, 16, 48), patch=(8, 8, 8), hu_window=(-1150.0, 350.0))
    box = (1, 18, 2, 40, 3, 29)
    write_volume(tmp_path / "v.npy", voxels)
    image = transforms.preprocess(open_volume(tmp_path / "v.npy"), box, (3.0, 0.8, 0.7), scale, masked=True)
    values, size = image.values, image.voxel_size
    np.testing.assert_array_equal(image.mask, transforms.crop_mask(box, scale.shape))
    assert values.shape == scale.shape
    assert values.dtype == size.dtype == np.float32
    np.testing.assert_allclose(size, [3 * 17 / 8, 0.8 * 38 / 16, 0.7], rtol=1e-6)
    hu, _ = transforms.crop_and_resize(voxels, box, (3.0, 0.8, 0.7), scale.shape)
    np.testing.assert_array_equal(values, transforms.window(hu, scale.hu_window))
    assert (values[:, :, :11] == transforms.window(np.array([-1000]), scale.hu_window)).all()


@settings(max_examples=100)
@given(start=st.integers(0, 50), length=st.integers(1, 60), at=st.integers(0, 130))
def test_nodule_window_holds_the_nodule_and_stays_in_the_lung(start, length, at):
    box = (start, start + length, 3, 9, 5, 7)
    window = transforms.nodule_window(box, at)
    assert window[2:] == box[2:]
    assert window[0] <= at < window[1]
    if box[0] <= at < box[1]:
        assert window[1] - window[0] == min(16, length)
        assert box[0] <= window[0] < window[1] <= box[1]
        if box[0] + 8 <= at <= box[1] - 8:
            assert window[0] == at - 8


def test_rotation_turns_each_slice_around_its_middle():
    voxels = np.zeros((2, 9, 9), np.float32)
    voxels[1, 4, 7] = 5
    turned = transforms.rotate(voxels, 90)
    assert turned.shape == voxels.shape
    assert turned.dtype == np.float32
    assert turned[0].max() == 0
    assert {tuple(place) for place in np.argwhere(turned > 2.5).tolist()} <= {(1, 1, 4), (1, 7, 4)}
    assert turned.max() == pytest.approx(5, abs=1e-4)
    np.testing.assert_array_equal(transforms.rotate(np.full((2, 9, 9), -1000, np.float32), 33), -1000)


def test_importing_the_package_pulls_in_nothing_heavy():
    code = (
        "import sys, m3fm.ct.dicom, m3fm.ct.volume, m3fm.ct.store, m3fm.ct.regions, m3fm.ct.transforms;"
        "print([name for name in ('torch', 'pandas', 'pyarrow', 'ray', 'SimpleITK') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
