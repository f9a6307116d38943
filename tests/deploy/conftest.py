"""A small M3FM with random weights, its bundle, and a phantom that is a series and a dataset."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from deploy_samples import ELEMENTS, NODULE, labels, write_checkpoint
from written_dataset import WrittenExam, write_dataset

from m3fm.ct.regions import find_regions
from m3fm.ct.volume import Series
from m3fm.deploy.export import export


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """A model this small is slower on several threads, and far slower where they share a busy core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), 0)


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    export(checkpoint, out, {"dataset": "md5:0123.dir"}, dataset)
    return out


@pytest.fixture(scope="session")
def series() -> Series:
    """A body with two lungs and a heart between them."""
    z, y, x = np.ogrid[-1:1:72j, -1:1:80j, -1:1:80j]
    rng = np.random.default_rng(0)
    voxels = np.full((72, 80, 80), -1000.0)
    voxels[np.broadcast_to((x / 0.9) ** 2 + (y / 0.65) ** 2 < 1, voxels.shape)] = 20.0
    for centre in (-0.42, 0.42):
        voxels[((x - centre) / 0.33) ** 2 + (y / 0.48) ** 2 + (z / 0.85) ** 2 < 1] = -860.0
    voxels[(x / 0.25) ** 2 + ((y + 0.15) / 0.3) ** 2 + ((z + 0.2) / 0.4) ** 2 < 1] = 40.0
    voxels[((x - 0.42) / 0.03) ** 2 + ((y + 0.1) / 0.03) ** 2 + ((z - 0.2) / 0.03) ** 2 < 1] = 50.0
    noisy = voxels + rng.normal(0, 15, voxels.shape)
    return Series(
        voxels=noisy.astype(np.int16),
        voxel_size=(4.5, 4.25, 4.25),
        origin_mm=(0.0, 0.0, 0.0),
        instance_first=72,
        instance_last=1,
    )


@pytest.fixture(scope="session")
def dataset(series: Series, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as a dataset of one test exam that has a label of every task."""
    exam = WrittenExam(
        voxels=series.voxels,
        voxel_size=series.voxel_size,
        boxes=find_regions(series.voxels, series.voxel_size),
        elements=ELEMENTS,
        nodules=[{**NODULE, "margin": "smooth", "attenuation": "solid"}],
        labels=labels({}),
        series={"instance_first": series.instance_first, "instance_last": series.instance_last},
    )
    return write_dataset(tmp_path_factory.mktemp("dataset"), [exam])
