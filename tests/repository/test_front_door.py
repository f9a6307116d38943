"""`import m3fm`: quick, without a library, and everything that it promises is there."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import m3fm

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_takes_under_a_fifth_of_a_second():
    """Of processor time, which other programs on the machine do not change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("import m3fm")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.2


def test_importing_loads_no_library():
    loaded = set(run("import sys, m3fm; print(*{name.split('.')[0] for name in sys.modules})").split())
    assert loaded <= {*sys.stdlib_module_names, "m3fm"} | set(run("import sys; print(*sys.modules)").split())


@pytest.mark.parametrize("name", m3fm.__all__)
def test_every_name_is_there_without_torch(name):
    run(f"import sys; sys.modules['torch'] = None; import m3fm; assert m3fm.{name} is not None")


def test_all_names_are_listed_and_others_are_refused():
    assert set(dir(m3fm)) == set(m3fm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        m3fm.train  # noqa: B018


def test_types_are_shipped():
    assert (ROOT / "m3fm" / "py.typed").is_file()


def test_a_name_whose_library_is_missing_says_which():
    """No half-imported module is left behind: the reason is the same the second time."""
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "import m3fm\n"
        "for _ in range(2):\n"
        "    try: m3fm.Series\n"
        "    except ModuleNotFoundError as error: print(error.name)\n"
    )
    assert run(code).split() == ["numpy", "numpy"]
