"""The README's three lines of Python, where `m3fm[cpu]` alone is installed, on a real CT."""

import re
import shutil
import subprocess
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REAL_CT = ROOT.parent / "shared/data/chest_ct_A0001_B_64sl.tar.gz"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with nothing but `m3fm[cpu]` in it."""
    home = tmp_path_factory.mktemp("cpu") / "venv"
    venv.create(home, with_pip=True)
    # A copy, because an earlier build in the checkout could leave files that no longer exist.
    source = home.with_name("source")
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    install = [
        home / "bin" / "pip",
        "install",
        "--quiet",
        "-c",
        source / "requirements.lock",
        f"{source}[cpu]",
    ]
    subprocess.run(install, check=True, cwd=home)
    return home / "bin" / "python"


def readme_lines() -> str:
    """Return the first block of Python in the README."""
    (block, *_) = re.findall(r"```python[^\n]*\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return block


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(not REAL_CT.is_file(), reason=f"{REAL_CT.name} is not beside the repository")
def test_the_front_door_without_torch(python: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").symlink_to(bundle)
    with tarfile.open(REAL_CT) as archive:
        archive.extractall(tmp_path / "ct", filter="data")
    code = readme_lines() + "\nprint(type(answers).__name__, len(answers))\n"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Answers 17"
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    assert "No module named 'torch'" in missing.stderr
    loaded = "import m3fm, sys; print('numpy' in sys.modules)"
    assert subprocess.run([python, "-c", loaded], capture_output=True, text=True).stdout == "False\n"
