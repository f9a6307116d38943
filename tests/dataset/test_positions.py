"""Neither the height of a nodule's window nor the size of a lung's box tells whether there is a nodule."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from written_dataset import WrittenExam, write_dataset

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.dataset.mqa import Mqa

leaks = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "positions.py"))["leaks"]

SLICES, PATIENTS = 64, 160


def patient(number: int, split: str, voxel_mm: float = 2.0, height: float | None = None) -> WrittenExam:
    """Return a patient with a nodule in one lung, mostly in its upper half, and none in the other."""
    rng = np.random.default_rng([number])
    start, stop = int(rng.integers(4, 12)), int(rng.integers(46, 60))
    boxes = {side: [start, stop, 1, 7, x, x + 3] for side, x in (("left_lung", 4), ("right_lung", 1))}
    boxes |= {"both_lungs": [start, stop, 1, 7, 1, 7], "heart": [start, start + 20, 1, 7, 2, 6]}
    ill, clear = rng.permutation(["left", "right"])
    index = start + int((rng.beta(8, 3) if height is None else height) * (stop - start))
    lobe = {"left": "LUL", "right": "RUL"}[ill]
    here = {"nodule": 1, "slice_number": index + 1}
    labels = [
        {"task": "nodule_presence", "side": ill, "label": [1.0], **here},
        {"task": "nodule_presence", "side": clear, "label": [0.0]},
    ]
    return WrittenExam(
        split=split,
        nodules=[{"lobe": lobe, "slice_number": index + 1}],
        labels=labels,
        boxes=boxes,
        voxels=np.full((SLICES, 8, 8), -800, np.int16),
        voxel_size=(voxel_mm, 4.0, 4.0),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = ["train", "train", "test"]
    exams = [patient(number, splits[number % 3]) for number in range(PATIENTS)]
    return write_dataset(tmp_path_factory.mktemp("positions") / "dataset", exams)


def forget_heights(mqa: Mqa) -> None:
    """Draw absent nodules anywhere in the lung."""
    mqa._heights = {side: np.empty(0) for side in mqa._heights}


def test_the_window_does_not_tell_whether_there_is_a_nodule(dataset):
    (found,) = leaks(dataset, ["nodule_presence"])
    assert found.low <= 0.5 <= found.high, found


def test_the_attack_finds_windows_that_are_drawn_anywhere(dataset):
    (found,) = leaks(dataset, ["nodule_presence"], forget_heights)
    assert found.low > 0.55, found


def test_absent_nodules_lie_where_those_of_the_training_patients_do(dataset):
    mqa = Mqa(dataset, ("test",), preset("tiny").model.scales)
    task, rng = TASKS["nodule_presence"], np.random.default_rng(0)
    known = {side: set(np.round(heights, 9)) for side, heights in mqa._heights.items()}
    trained = sum(1 for number in range(PATIENTS) if number % 3 < 2)
    assert sum(map(len, mqa._heights.values())) == trained
    for row in mqa.rows["nodule_presence"]:
        if row.slice_number < 0:
            series, _, box = mqa.region(task, row)
            drawn = (mqa._nodule_slice(row, series, box, rng) - box[0]) / (box[1] - box[0])
            assert min(abs(drawn - height) for height in known[row.side]) < 1 / (box[1] - box[0])


@pytest.mark.parametrize(("voxel_mm", "most"), [(1.0, 7), (2.0, 4), (5.0, 2), (20.0, 0)])
def test_the_jitter_is_in_millimetres_and_keeps_the_nodule_in_its_window(tmp_path, voxel_mm, most):
    dataset = write_dataset(tmp_path / "dataset", [patient(0, "train", voxel_mm, height=0.5)])
    mqa = Mqa(dataset, ("train",), preset("tiny").model.scales)
    config = preset("tiny").train.model_copy(update={"padding_mm": 0.0})
    row = next(row for row in mqa.rows["nodule_presence"] if row.slice_number >= 0)
    task, rng = TASKS["nodule_presence"], np.random.default_rng(0)
    starts = {mqa.crop(task, row, rng, config)[2][0] for _ in range(200)}
    (middle,) = {mqa.crop(task, row, rng, None)[2][0]}
    assert {start - middle for start in starts} == set(range(-most, most + 1))
    for start in starts:
        assert start <= row.slice_number - 1 < start + 16
