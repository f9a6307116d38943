"""A dataset of three patients on whom nothing had to be simulated: a volume of noise, and labels."""

from pathlib import Path

import numpy as np
from written_dataset import WrittenExam, write_dataset

LABELS: dict[str, list[tuple[list[float], list[float]]]] = {
    "emphysema": [([0.0], [1.0]), ([1.0], [1.0]), ([1.0], [1.0])],
    "cvd_mortality": [
        ([0.0] * 6, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        ([0.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0] * 6),
        ([0.0] * 6, [1.0] * 6),
    ],
    "lung_rads": [([0.0], [1.0]), ([2.0], [1.0]), ([3.0], [1.0])],
}
"""Label and mask of each patient's exam, by task."""
AGES = (55.0, 61.0, 70.0)


def write_small(root: Path, split: str = "train") -> Path:
    """Write the dataset, all of it in one split."""
    voxels = np.random.default_rng(0).normal(-400, 300, (40, 48, 48)).astype(np.int16)
    boxes = {
        "left_lung": [4, 36, 10, 40, 26, 44],
        "right_lung": [4, 36, 10, 40, 4, 22],
        "both_lungs": [4, 36, 10, 40, 4, 44],
        "heart": [8, 24, 14, 34, 16, 32],
    }
    exams = [
        WrittenExam(
            exam=f"e{number}",
            patient=f"p{number}",
            split=split,
            elements={"age": age},
            nodules=[{"slice_number": 9}],
            labels=[
                {"task": task, "label": rows[number][0], "mask": rows[number][1]}
                for task, rows in LABELS.items()
            ],
            voxels=voxels,
            boxes=boxes,
        )
        for number, age in enumerate(AGES)
    ]
    return write_dataset(root, exams)
