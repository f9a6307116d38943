"""The project's English keeps to the rules of `english.py`, and each rule finds a fault."""

import subprocess
from pathlib import Path

import english
import pytest

SHOWN = 40
"""Largest number of faults that a failure lists."""

IS_NO = "The file is" + " no table.\n"

FAULTS = [
    ("without_verb", 'def read():\n    """The rows."""\n', 'def read():\n    """Return the rows."""\n'),
    ("without_verb", 'async def read():\n    """Rows."""\n', 'async def read():\n    """Read."""\n'),
    ("without_verb", 'class A:\n    def b(self):\n        """It."""\n', 'class A:\n    """It."""\n'),
    (
        "without_shape",
        'def show(hu: NDArray[np.int16]):\n    """Show HU."""\n',
        'def show(hu: NDArray[np.int16]):\n    """Show HU [slices, rows, columns]."""\n',
    ),
    (
        "without_shape",
        'def mean(*, x: "Tensor | None"):\n    """Average."""\n',
        'def mean(*, x: "Tensor | None"):\n    """Average to a scalar."""\n',
    ),
    (
        "without_shape",
        'def ones() -> np.ndarray:\n    """Return ones."""\n',
        'def _ones() -> np.ndarray:\n    """Return ones."""\n',
    ),
    ("without_shape", "def cat(*parts: Tensor): pass\n", "def cat(*parts: str): pass\n"),
    (
        "fragments",
        'def read():\n    """What is in it."""\n',
        'def read():\n    """Return what is in it."""\n',
    ),
    ("fragments", 'WIDTH = 3\n"""Of the tokens."""\n', 'WIDTH = 3\n"""Width of the tokens."""\n'),
    ("fragments", 'class A:\n    """That of B."""\n', 'class A:\n    """A name."""\n'),
    ("fragments", '"""Where things are."""\n', '"""How things are stored."""\n'),
]


def report(faults: list[str]) -> str:
    more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "\n".join([f"{len(faults)} faults:", *faults[:SHOWN], *more])


@pytest.mark.parametrize("rule", english.RULES, ids=lambda rule: rule.__name__)
def test_every_source_keeps_to_the_rule(rule):
    faults = [fault for path in english.sources() for fault in rule(path)]
    assert not faults, report(faults)


@pytest.mark.skipif(not (english.ROOT / ".git").exists(), reason="the sources are not a git repository")
def test_every_text_says_is_not_a():
    faults = list(english.is_no())
    assert not faults, report(faults)


def test_every_folder_of_code_is_checked():
    folders = {path.relative_to(english.ROOT).parts[0] for path in english.sources()}
    assert folders == set(english.CODE)


@pytest.mark.parametrize(("name", "faulty", "mended"), FAULTS)
def test_a_rule_finds_a_fault_and_passes_what_is_mended(name, faulty, mended, tmp_path):
    rule = getattr(english, name)
    (tmp_path / "faulty.py").write_text(faulty)
    (fault,) = rule(tmp_path / "faulty.py")
    assert "/faulty.py:" in fault
    (tmp_path / "mended.py").write_text(mended)
    assert list(rule(tmp_path / "mended.py")) == []


def test_properties_may_name_what_they_are(tmp_path):
    source = tmp_path / "source.py"
    source.write_text('class A:\n    @property\n    def b(self):\n        """The width."""\n')
    assert list(english.without_verb(source)) == []


def test_is_no_is_found_in_tracked_and_new_files_but_not_in_ignored_ones(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("tracked.md", "new.py", "ignored.txt"):
        (tmp_path / name).write_text(IS_NO)
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    subprocess.run(["git", "-C", str(tmp_path), "add", "tracked.md"], check=True)
    assert {line.split(":")[0] for line in english.is_no(tmp_path)} == {"tracked.md", "new.py"}
    for name in ("tracked.md", "new.py"):
        (tmp_path / name).write_text(IS_NO.replace(" no ", " not a "))
    assert list(english.is_no(tmp_path)) == []


def test_a_folder_without_git_is_not_taken_for_faultless(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path(tmp_path).parent))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "missing"))
    with pytest.raises(RuntimeError, match="git grep failed"):
        list(english.is_no(tmp_path))


def test_a_failure_lists_40_faults_at_most():
    lines = report([f"fault {number}" for number in range(50)]).splitlines()
    assert lines[0] == "50 faults:"
    assert lines[1:] == [*(f"fault {number}" for number in range(40)), "... and 10 more"]
