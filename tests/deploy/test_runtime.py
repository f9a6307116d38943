"""The runtime says what it runs on, and refuses what cannot run."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from m3fm.core.errors import InputError
from m3fm.deploy.runtime import CPU, GPU, sessions

NO_GPU = GPU not in onnxruntime.get_available_providers()
CHECK = """
import sys
from m3fm.deploy.runtime import check_installation
from m3fm.core.errors import InputError
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "hidden":
    sys.path[:] = [p for p in sys.path if not p.endswith("site-packages")]
try:
    check_installation()
except InputError as error:
    print(error)
"""


def checked(directory: Path, mode: str) -> str:
    command = [sys.executable, "-c", CHECK, str(directory), mode]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_two_runtimes_are_refused(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        metadata = tmp_path / f"{name}-1.0.dist-info/METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    assert "are both installed and break each other" in checked(tmp_path, "seen")


def test_no_runtime_is_refused_with_how_to_get_one(tmp_path: Path) -> None:
    assert 'pip install "m3fm[cpu]"' in checked(tmp_path, "hidden")


def test_one_runtime_is_fine(tmp_path: Path) -> None:
    assert checked(tmp_path, "seen") == ""


def test_the_provider_is_reported(bundle: Path) -> None:
    assert sessions(bundle, "cpu").provider == CPU
    assert sessions(bundle, "auto").provider in (CPU, GPU)


@pytest.mark.skipif(not NO_GPU, reason="this ONNX Runtime has GPU support")
def test_a_gpu_is_never_silently_replaced(bundle: Path) -> None:
    with pytest.raises(InputError, match=r'no GPU support: .*pip install "m3fm\[gpu\]"'):
        sessions(bundle, "gpu")


def test_an_unknown_device_is_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match="no device is called 'tpu'"):
        sessions(bundle, "tpu")  # type: ignore[arg-type]


def test_nothing_is_written_home(bundle: Path, tmp_path: Path) -> None:
    """ONNX Runtime would leave an identifier there, and report it."""
    code = "import sys; from pathlib import Path; from m3fm.deploy.runtime import sessions as s"
    code += "; s(Path(sys.argv[1]), 'cpu')"
    clean = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    subprocess.run(
        [sys.executable, "-c", code, str(bundle)], check=True, env={**clean, "HOME": str(tmp_path)}
    )
    assert list(tmp_path.rglob("*")) == []
