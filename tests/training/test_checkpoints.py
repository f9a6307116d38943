"""Checkpoints: complete or not there, the newest and the best kept, whatever was damaged or cut off."""

from pathlib import Path

import pytest

from m3fm.core.errors import InputError
from m3fm.training.checkpoints import COMPLETE, Checkpoints


def content(text: str):
    def write(directory: Path) -> None:
        (directory / "model.safetensors").write_text(text)
        (directory / "history.jsonl").write_text("{}\n")

    return write


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def checkpoints(where: Path) -> Checkpoints:
    return Checkpoints(str(where), 2, {"run": "this"})


def steps(checkpoints: Checkpoints) -> list[int]:
    return [found.step for found in checkpoints.found()]


def test_what_was_saved_is_found_and_fetched(checkpoints, tmp_path):
    assert checkpoints.newest(tmp_path / "a") is None
    checkpoints.save(10, 0.5, content("ten"))
    found = checkpoints.newest(tmp_path / "a")
    assert (found.step, found.score, found.about) == (10, 0.5, {"run": "this"})
    assert (tmp_path / "a/model.safetensors").read_text() == "ten"


def test_the_newest_and_the_best_are_kept(checkpoints, where):
    for step, score in ((1, 0.9), (2, 0.2), (3, 0.5), (4, 0.6), (5, 0.7)):
        checkpoints.save(step, score, content(str(step)))
    assert steps(checkpoints) == [2, 4, 5]
    assert checkpoints.best().step == 2
    assert len(list(where.iterdir())) == 3


def test_without_validation_the_newest_is_the_best(checkpoints):
    for step in range(4):
        checkpoints.save(step, None, content(str(step)))
    assert steps(checkpoints) == [2, 3]
    assert checkpoints.best().step == 3


@pytest.mark.parametrize("damage", ["cut off", "half a last file", "changed", "missing"])
def test_what_is_not_complete_or_not_what_it_was_is_passed_over(checkpoints, where, tmp_path, damage):
    checkpoints.save(1, None, content("one"))
    checkpoints.save(2, None, content("two"))
    newest = where / "step-00000002"
    match damage:
        case "cut off":
            (newest / COMPLETE).unlink()
        case "half a last file":
            (newest / COMPLETE).write_text((newest / COMPLETE).read_text()[:30])
        case "changed":
            (newest / "model.safetensors").write_text("tw0")
        case "missing":
            (newest / "model.safetensors").unlink()
    assert checkpoints.newest(tmp_path / "a").step == 1
    assert (tmp_path / "a/model.safetensors").read_text() == "one"
    checkpoints.save(2, None, content("two"))
    assert checkpoints.newest(tmp_path / "a").step == 2


def test_all_can_be_removed_and_nothing_else(checkpoints, where):
    checkpoints.save(1, None, content("one"))
    for foreign in ("dataset", "step-1"):
        (where / foreign).mkdir()
    (where / "thesis.tex").write_text("of somebody")
    checkpoints.save(2, None, content("two"))
    checkpoints.save(3, None, content("three"))
    checkpoints.clear()
    assert sorted(path.name for path in where.iterdir()) == ["dataset", "step-1", "thesis.tex"]


def test_what_a_kill_has_left_goes_with_the_next_checkpoint(checkpoints, where):
    checkpoints.save(1, None, content("one"))
    (where / "step-00000002").mkdir()
    checkpoints.save(3, None, content("three"))
    assert sorted(path.name for path in where.iterdir()) == ["step-00000001", "step-00000003"]


def test_no_password_is_shown():
    with pytest.raises(InputError) as refused:
        Checkpoints("nonsense://key:secret@bucket/folder", 1, {})
    assert "secret" not in str(refused.value)
    assert "//***@bucket" in str(refused.value)


@pytest.mark.parametrize("bad", ["nonsense://somewhere", "s3://"])
def test_a_place_that_cannot_be_is_refused(bad):
    with pytest.raises(InputError, match="checkpoints cannot be kept at"):
        Checkpoints(bad, 1, {})


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="checkpoints cannot be kept at"):
        Checkpoints(str(tmp_path / "file"), 1, {})
