import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from m3fm.ct.geometry import Rejected
from m3fm.ct.lungs import coarsen, find_lungs
from m3fm.ct.regions import find_regions

COARSE, FINE = (4.5, 4.25, 4.25), (3.0, 1.4, 1.6)


def ball(grid, centre, radii):
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1


class Chest:
    """Ellipsoids in mm: z up from the bases of the lungs, y to the back, x to the left of the middle."""

    def __init__(self, voxel_size, off_middle=12.0, noise=30.0, seed=0):
        self.voxel_size = voxel_size
        counts = np.round(np.array([306, 300, 380]) / voxel_size).astype(int)
        axes = [np.arange(n) * s for n, s in zip(counts, voxel_size, strict=True)]
        starts = (-30, -140, -190 - off_middle)
        z, y, x = self.grid = np.meshgrid(
            *(a + s for a, s in zip(axes, starts, strict=True)), indexing="ij", sparse=True
        )
        everywhere = np.zeros(counts, bool)
        self.body = ((y / 105) ** 2 + (x / 155) ** 2 < 1) | everywhere
        self.heart = ball(self.grid, (85, -25, 15), (48, 42, 55))
        middle = (np.abs(x) < 22) | everywhere
        solid = self.heart | middle
        self.left = ball(self.grid, (100, 0, 72), (125, 82, 62)) & (x > 0) & (z > 0) & ~solid
        self.right = ball(self.grid, (100, 0, -72), (125, 82, 62)) & (x < 0) & (z > 0) & ~solid
        liver = ball(self.grid, (0, -10, -72), (50, 75, 60))
        self.right &= ~liver
        self.hu = np.full(counts, -1000.0)
        self.hu[self.body] = 45
        self.hu[self.left | self.right] = -850
        self.hu[(np.hypot(x, y + 5) < 9) & (z > 130) | everywhere] = -1000
        self.hu[(np.hypot(x, y - 75) < 16) & self.body] = 300
        # A hollow table, not wide enough to leave the picture.
        table = (y > 115) & (y < 145) & (np.abs(x) < 175) & ~self.body
        hollow = (y > 119) & (y < 141) & (np.abs(x) < 170) & ~self.body
        self.hu[table & ~hollow] = 0
        self.hu[hollow] = -960
        self.hu += np.random.default_rng(seed).normal(0, noise, counts)

    def regions(self):
        return find_regions(self.hu.clip(-1024, 3000).astype(np.int16), self.voxel_size)


def bounds(mask):
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return np.array([edge for part in found for edge in (part.start, part.stop)])


def outside_mm(box, mask, voxel_size):
    """How far each face of a box is outside a mask's, in mm; negative where it cuts the mask."""
    return (np.array(box) - bounds(mask)) * np.tile([-1, 1], 3) * np.repeat(voxel_size, 2)


def assert_tight(box, mask, voxel_size, at_most=10.0):
    distance = outside_mm(box, mask, voxel_size)
    assert distance.min() >= 0, distance
    assert distance.max() <= at_most, distance


def assert_inside(box, mask, fraction):
    z0, z1, y0, y1, x0, x1 = box
    assert mask[z0:z1, y0:y1, x0:x1].sum() >= fraction * mask.sum()


@pytest.mark.parametrize("voxel_size", [COARSE, FINE])
@pytest.mark.parametrize("off_middle", [-12.0, 0.0, 12.0])
def test_boxes_hold_the_lungs_tightly_and_the_heart(voxel_size, off_middle):
    chest = Chest(voxel_size, off_middle)
    found = chest.regions()
    assert list(found) == ["left_lung", "right_lung", "both_lungs", "heart"]
    assert_tight(found["left_lung"], chest.left, voxel_size)
    assert_tight(found["right_lung"], chest.right, voxel_size)
    assert_tight(found["both_lungs"], chest.left | chest.right, voxel_size)
    assert_inside(found["heart"], chest.heart, 0.98)
    assert outside_mm(found["heart"], chest.heart, voxel_size).max() < 60
    for start, stop, size in zip(
        *(np.array(box) for box in (found["both_lungs"][::2], found["both_lungs"][1::2], chest.hu.shape)),
        strict=True,
    ):
        assert 0 <= start < stop <= size


def test_left_is_the_side_of_the_heart():
    chest = Chest(COARSE)
    found = chest.regions()
    assert sum(found["left_lung"][4:]) > sum(found["right_lung"][4:])
    mirrored = Chest(COARSE)
    mirrored.hu = mirrored.hu[:, :, ::-1]
    assert mirrored.regions()["right_lung"][4] < mirrored.regions()["left_lung"][4]


def test_noise_of_low_dose_is_no_air():
    chest = Chest(FINE, noise=150.0)
    found = chest.regions()
    assert_tight(found["both_lungs"], chest.left | chest.right, FINE, at_most=15)
    assert_inside(found["heart"], chest.heart, 0.95)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_effusion_does_not_shrink_the_box(side):
    chest = Chest(COARSE)
    lung = getattr(chest, side)
    chest.hu[lung & (chest.grid[0] < 110)] = 15
    found = chest.regions()
    assert_inside(found[f"{side}_lung"], lung, 0.95)  # the right lung ends higher, on the liver
    assert_inside(found["heart"], chest.heart, 0.9)


def test_a_layer_of_fluid_in_the_back_does_not_shrink_the_box():
    chest = Chest(COARSE)
    chest.hu[chest.left & (chest.grid[1] > 20)] = 15
    assert_inside(chest.regions()["left_lung"], chest.left, 0.98)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_lung_without_any_air_is_where_the_other_one_mirrored_is(side):
    chest = Chest(COARSE)
    lung = getattr(chest, side)
    chest.hu[lung] = 30
    found = chest.regions()
    assert_inside(found[f"{side}_lung"], lung, 0.95)
    assert_inside(found["heart"], chest.heart, 0.85)


def test_lungs_that_touch_are_parted_where_they_touch():
    chest = Chest(COARSE, off_middle=0.0)
    z, y, x = chest.grid
    chest.hu[(np.abs(x) < 40) & (np.abs(y + 60) < 14) & (np.abs(z - 150) < 40)] = -850
    found = chest.regions()
    assert outside_mm(found["left_lung"], chest.left, COARSE)[4] < 35
    assert outside_mm(found["right_lung"], chest.right, COARSE)[5] < 35
    coarse = coarsen(chest.hu.astype(np.int16), COARSE)
    left, right, _ = find_lungs(coarse)
    assert (left & chest.left).sum() > 0.97 * chest.left.sum()
    assert (right & chest.right).sum() > 0.97 * chest.right.sum()


def test_lungs_that_are_one_are_cut_in_the_middle():
    chest = Chest(COARSE)
    z, y, x = chest.grid
    chest.hu[(np.abs(x) < 40) & (np.abs(y) < 60) & (z > 20) & (z < 200)] = -850
    coarse = coarsen(chest.hu.astype(np.int16), COARSE)
    left, right, _ = find_lungs(coarse)
    assert (left & chest.left).sum() > 0.97 * chest.left.sum()
    assert (right & chest.right).sum() > 0.97 * chest.right.sum()


def test_gas_in_the_stomach_is_no_lung():
    chest = Chest(COARSE)
    gas, stomach = (ball(chest.grid, (-5, -10, 70), (30 + wall, 40 + wall, 32 + wall)) for wall in (0, 9))
    chest.hu[stomach], chest.hu[gas] = 40, -1000
    chest.left &= ~stomach
    left, right, _ = find_lungs(coarsen(chest.hu.clip(-1024, 3000).astype(np.int16), COARSE))
    assert not ((left | right) & gas).any()
    assert_tight(chest.regions()["left_lung"], chest.left, COARSE)


@pytest.mark.parametrize("empty", [-1000, 40], ids=["air", "water"])
def test_without_lungs_there_is_a_reason(empty):
    with pytest.raises(Rejected) as caught:
        find_regions(np.full((64, 80, 80), empty, np.int16), COARSE)
    assert caught.value.reason == "no_lungs"


edge = st.tuples(st.integers(0, 40), st.integers(0, 40))
block = st.tuples(edge, edge, edge, st.sampled_from([-1000, -850, 40]))


@settings(max_examples=60)
@given(
    shape=st.tuples(*[st.integers(2, 40)] * 3),
    voxel_size=st.tuples(*[st.sampled_from([0.1, 0.7, 2.5, 10.0])] * 3),
    blocks=st.lists(block, max_size=8),
)
def test_whatever_is_in_a_volume_there_are_boxes_or_a_reason(shape, voxel_size, blocks):
    hu = np.full(shape, -1000, np.int16)
    for *edges, value in blocks:
        hu[tuple(slice(min(pair), max(pair)) for pair in edges)] = value
    with contextlib.suppress(Rejected):
        for box in find_regions(hu, voxel_size).values():
            for start, stop, size in zip(box[::2], box[1::2], shape, strict=True):
                assert 0 <= start < stop <= size


def test_an_abdomen_has_no_lungs():
    chest = Chest(COARSE)
    with pytest.raises(Rejected) as caught:
        find_regions(chest.hu[:8].clip(-1024, 3000).astype(np.int16), COARSE)
    assert caught.value.reason == "no_lungs"


def test_a_chest_without_a_heart_has_a_reason():
    chest = Chest(COARSE, off_middle=0.0)
    z, _, x = chest.grid
    inside = ball(chest.grid, (100, 0, 0), (125, 80, 130)) & (z > 0) & (np.abs(x) > 5)
    chest.hu[inside] = -850
    with pytest.raises(Rejected) as caught:
        chest.regions()
    assert caught.value.reason == "no_heart"
