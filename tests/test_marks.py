"""A test without the mark `integration` cannot start what the fast tests must do without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STARTS = {
    "Ray": "import ray; ray.init()",
    "KFP": "from kfp import local; local.init(runner=local.SubprocessRunner(use_venv=False))",
    "an ONNX export": "import torch; torch.onnx.export(torch.nn.Identity(), (torch.zeros(1),), dynamo=True)",
    "MLflow": "from mlflow import MlflowClient; MlflowClient('sqlite:///x.db')",
}


@pytest.mark.integration
@pytest.mark.parametrize("what", STARTS)
def test_a_test_without_the_mark_cannot_start(what, tmp_path):
    here = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    integration\n    slow\n")
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {STARTS[what]}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert f"test_it.py::test_it starts {what} without the mark integration" in done.stdout


def test_a_process_of_a_test_without_the_mark_cannot_start_ray():
    code = "from m3fm.core.ray import ray_cluster\nwith ray_cluster(1): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "no Ray cluster answers at pytest.mark.integration" in done.stderr
    assert os.environ["RAY_ADDRESS"] == "pytest.mark.integration:is-missing"
