import os
from pathlib import Path

import chests
import pytest

from m3fm.config import CurateConfig
from m3fm.dataset.curate import curate


@pytest.fixture(scope="session", autouse=True)
def _importable_by_ray_workers():
    """The workers of Ray unpickle the test's source, so they have to find its module."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(chests.__file__).parent), before]))
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """The root of a source of four patients and a stranger."""
    root = tmp_path_factory.mktemp("source")
    chests.write_images(root, chests.PATIENTS)
    return root


@pytest.fixture(scope="session")
def curated(images, tmp_path_factory) -> Path:
    """Its dataset."""
    out = tmp_path_factory.mktemp("curated") / "dataset"
    curate(chests.Chests(images, chests.PATIENTS), out, CurateConfig(), workers=2)
    return out
