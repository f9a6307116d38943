"""What pretraining loads: random crops at random scales, whose voxel sizes are those that they have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from written_dataset import WrittenExam, write_dataset

from m3fm.config.presets import preset
from m3fm.training.objective import Pretraining

RUN = preset("tiny")
SHAPE, VOXEL_MM = (70, 90, 100), (2.0, 0.8, 0.9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A volume whose HU rise with slices and, once, along columns; one of the test set, which is all 3000."""
    z, _, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ramp = np.broadcast_to(z + 20 * (x >= SHAPE[2] // 2), SHAPE).astype(np.int16)
    exams = [
        WrittenExam(split="train", voxels=ramp, voxel_size=VOXEL_MM),
        WrittenExam(split="test", voxels=np.full(SHAPE, 3000, np.int16), voxel_size=VOXEL_MM),
    ]
    return write_dataset(tmp_path_factory.mktemp("dataset"), exams)


def pretraining(dataset: Path, **changes) -> Pretraining:
    wide = {name: s.model_copy(update={"hu_window": (-100.0, 100.0)}) for name, s in RUN.model.scales.items()}
    model = RUN.model.model_copy(update={"scales": wide})
    config = RUN.pretrain.model_copy(update={"hu_shift": 0.0, **changes})
    return Pretraining(dataset, RUN.model_copy(update={"model": model, "pretrain": config}))


def test_voxel_sizes_follow_the_random_factors_and_the_test_set_is_never_seen(dataset):
    objective = pretraining(dataset, scale_range=((0.5, 2.0), (0.6, 1.4), (0.6, 1.4)))
    factors, scales = [], set()
    for step in range(3):
        for unit in objective.units(step):
            scales.add(unit.name)
            batch = objective.load(step, unit)
            shape = objective.scales[unit.name].shape
            assert batch["images"].shape[1:] == (1, *shape)
            assert batch["images"].max() < 0.99, "HU of the training volume are below 90, of 100"
            for image, size in zip(batch["images"], batch["voxel_size"].tolist(), strict=True):
                extent = np.multiply(size, shape) / VOXEL_MM  # voxels of the crop
                assert (extent <= np.add(SHAPE, 1e-3)).all()
                factors.append(np.divide(shape, extent))
                # The ramp of HU along slices gives the voxel size away.
                middle = image[0, :, shape[1] // 2, shape[2] // 2].double() * 100
                slope = (middle[-3] - middle[2]) / (len(middle) - 5)
                assert slope * VOXEL_MM[0] == pytest.approx(size[0], rel=0.1)
    assert scales == set(RUN.model.scales), "every scale is drawn"
    assert np.ptp(np.array(factors), axis=0).min() > 0.2


def test_a_batch_is_a_function_of_step_and_unit(dataset):
    objective = pretraining(dataset, rotation_degrees=10.0)
    unit = objective.units(0)[0]
    first, again = objective.load(0, unit), pretraining(dataset, rotation_degrees=10.0).load(0, unit)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["noise"], objective.load(1, unit)["noise"])


def test_window_and_rotation_are_perturbed(dataset):
    unit = pretraining(dataset).units(0)[0]
    plain = pretraining(dataset).load(0, unit)["images"]
    for changes in ({"hu_shift": 40.0}, {"rotation_degrees": 10.0}):
        changed = pretraining(dataset, **changes).load(0, unit)["images"]
        assert changed.shape == plain.shape
        assert not torch.equal(changed, plain)


def test_slices_of_the_loss_are_some_and_not_always_the_same(dataset):
    objective = pretraining(dataset, loss_token_slices=1)
    seen = {
        tuple(objective.load(step, u)["slices"].tolist()) for step in range(4) for u in objective.units(step)
    }
    assert all(len(slices) == 1 for slices in seen)
    assert len(seen) > 1
