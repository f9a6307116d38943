import os
import secrets
import subprocess
import sys
from pathlib import Path

import chests
import pytest

from m3fm.config.sections import CurateConfig
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


@pytest.fixture(scope="session", autouse=True)
def _one_token():
    """One token for all clusters of this process and its children: Ray reads it once in a process."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_AUTH_MODE", "token")


@pytest.fixture(scope="session")
def running_cluster(_one_token):
    """A Ray cluster that another process holds: its address."""
    script = (
        "import ray\n"
        "from m3fm.core.ray import ray_cluster\n"
        "with ray_cluster(2):\n"
        "    print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        yield holder.stdout.readline().strip()
        holder.communicate("\n")


@pytest.fixture
def cluster(running_cluster, monkeypatch):
    """Let the code under test find that cluster."""
    monkeypatch.setenv("RAY_ADDRESS", running_cluster)
