"""The benchmark of the paper's size runs, at a hundredth of it."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "scale.py"


@pytest.mark.slow
def test_benchmark_runs_every_stage():
    done = subprocess.run([sys.executable, str(BENCHMARK), "1637"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stages = [line.split()[0] for line in done.stdout.splitlines()]
    assert stages[:5] == ["build", "validate", "index", "difference", "all"]
    assert "1637 series" in done.stdout
