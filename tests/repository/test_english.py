"""The English of the code: a verb first, whole sentences, shapes of arrays; each rule can say no."""

from collections.abc import Callable, Iterator
from pathlib import Path

import english
import pytest

RULES = (english.without_verb, english.without_shape, english.fragments)


@pytest.mark.parametrize("rule", RULES)
def test_no_source_breaks_a_rule(rule: Callable[[Path], Iterator[str]]):
    sources = list(english.sources())
    assert len(sources) > 150
    assert [fault for path in sources for fault in rule(path)] == []


def test_nothing_is_said_not_to_be_any():
    assert list(english.is_no()) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (english.without_verb, 'def f() -> int:\n    """The number of slices."""\n'),
        (english.without_shape, 'def f(x: Tensor) -> Tensor:\n    """Return the mean."""\n'),
        (english.fragments, 'class F:\n    """What a series is of."""\n'),
        (english.fragments, 'x = 1\n"""Of a series, the number of slices."""\n'),
    ],
)
def test_a_rule_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule, source: str):
    monkeypatch.setattr(english, "ROOT", tmp_path)
    (tmp_path / "wrong.py").write_text(source)
    assert len(list(rule(tmp_path / "wrong.py"))) == 1


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (english.without_verb, 'def f() -> int:\n    """Count the slices."""\n'),
        (english.without_shape, 'def f(x: Tensor) -> Tensor:\n    """Return the mean [B] of x [B, N]."""\n'),
        (english.fragments, 'class F:\n    """A series."""\n'),
    ],
)
def test_a_rule_says_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule, source: str):
    monkeypatch.setattr(english, "ROOT", tmp_path)
    (tmp_path / "right.py").write_text(source)
    assert list(rule(tmp_path / "right.py")) == []
