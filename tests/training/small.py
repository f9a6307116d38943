"""A dataset of three patients on whom nothing had to be simulated: a volume of noise, and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3fm.clinical.elements import ELEMENTS
from m3fm.ct import store
from m3fm.dataset.mqa import NODULE

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
    """Write the tables and the volume that `Mqa` reads."""
    (root / "volumes").mkdir(parents=True)
    voxels = np.random.default_rng(0).normal(-400, 300, (40, 48, 48)).astype(np.int16)
    store.write_volume(root / "volumes/v.npy", voxels)
    keys = [{"exam": f"e{n}", "patient": f"p{n}", "split": split} for n in range(len(AGES))]
    geometry = {"slices": 40, "voxel_z": 2.5, "voxel_y": 4.0, "voxel_x": 4.0}
    numbers = {"instance_first": 1, "instance_last": 40}
    boxes = {
        "left_lung": [4, 36, 10, 40, 26, 44],
        "right_lung": [4, 36, 10, 40, 4, 22],
        "both_lungs": [4, 36, 10, 40, 4, 44],
        "heart": [8, 24, 14, 34, 16, 32],
    }
    kept = {"status": "kept", "preferred": True, "volume": "volumes/v.npy", **geometry, **numbers, **boxes}
    series: list[dict[str, Any]] = [{**key, "series": f"s{key['exam']}", **kept} for key in keys]
    pd.DataFrame(series).to_parquet(root / "series.parquet")
    unknown: dict[str, Any] = dict.fromkeys(ELEMENTS)
    exams = [{**key, **unknown, "age": age} for key, age in zip(keys, AGES)]
    pd.DataFrame(exams).astype({"age": float}).to_parquet(root / "exams.parquet")
    nodules = [{**key, **dict.fromkeys(NODULE), "number": 1, "slice_number": 9} for key in keys]
    pd.DataFrame(nodules).to_parquet(root / "nodules.parquet")
    nowhere = {"side": "", "nodule": -1, "slice_number": -1}
    labels = [
        {**key, **nowhere, "task": task, "label": label, "mask": mask}
        for task, rows in LABELS.items()
        for key, (label, mask) in zip(keys, rows)
    ]
    pd.DataFrame(labels).to_parquet(root / "labels.parquet")
    return root
