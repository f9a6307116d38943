"""Steps: outputs made once, found again, made anew when damaged; failures that say why."""

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from m3fm.config.presets import preset
from m3fm.config.steps import SIMULATE
from m3fm.core.artifacts import Reference, seal, written_whole
from m3fm.core.errors import InputError
from m3fm.core.state import State
from m3fm.pipeline import steps

INPUTS = SIMULATE.depends_on(preset("tiny"))


def write(out: Path) -> None:
    with written_whole(out) as partial:
        (partial / "table.csv").write_text("a\n")
        seal(partial, "cohort.json", {})


def made(state: Path, inputs: dict[str, str] | None = None) -> Reference:
    return Reference.parse(steps._made(SIMULATE, str(state), inputs or INPUTS, write))


def test_output_is_made_once(tmp_path, capsys):
    first = made(tmp_path)
    written_at = (first.path / "table.csv").stat().st_mtime_ns
    assert "reused" not in capsys.readouterr().out
    second = made(tmp_path)
    assert second == first
    assert (second.path / "table.csv").stat().st_mtime_ns == written_at
    assert f"m3fm: simulate: reused {first.path}" in capsys.readouterr().out


@pytest.mark.parametrize("name", INPUTS)
def test_another_input_is_another_output(tmp_path, name):
    assert made(tmp_path, {**INPUTS, name: "other"}).path != made(tmp_path).path


@pytest.mark.parametrize("name", ["table.csv", "cohort.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text('{"files": {"a": "0"}}')])
def test_damaged_output_is_made_again(tmp_path, capsys, name, damage):
    reference = made(tmp_path)
    damage(reference.path / name)
    assert steps.sound(reference.path) is None
    assert made(tmp_path) == reference
    assert steps.sound(reference.path) == reference
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (InputError("the table has no column age: add it"), "input", "the table has no column age: add it"),
        (ZeroDivisionError("two\nlines"), "internal", "ZeroDivisionError: two lines"),
    ],
)
def test_failure_is_told_and_written(tmp_path, error, kind, reason):
    state = State(tmp_path)
    with pytest.raises(type(error)) as raised, steps.reported("curate", state):
        raise error
    assert raised.value.__notes__ == [f"m3fm: curate failed: {reason}"]
    failure = json.loads(state.failure.read_text())
    assert failure == {"step": "curate", "kind": kind, "exception": type(error).__name__, "reason": reason}


def test_refused_dataset_stays_refused(tmp_path):
    dataset = made(tmp_path)
    found = tmp_path / "found"
    found.mkdir()
    seal(found, "validation.json", {"dataset": dataset.digest, "success": False, "failures": ["leak"]})
    with pytest.raises(InputError, match="leak"):
        steps._validated(str(dataset), str(Reference.to(found)))


def test_validation_of_another_dataset_is_refused(tmp_path):
    dataset = made(tmp_path)
    found = tmp_path / "found"
    found.mkdir()
    seal(found, "validation.json", {"dataset": "0" * 64, "success": True, "failures": []})
    with pytest.raises(InputError, match="another dataset"):
        steps._validated(str(dataset), str(Reference.to(found)))


def hold(out: Path, begun: "multiprocessing.synchronize.Event", seconds: float) -> None:
    with steps._alone("simulate", out):
        begun.set()
        time.sleep(seconds)
        write(out)


def test_real_patients_are_not_curated_without_a_salt(tmp_path, monkeypatch):
    monkeypatch.delenv("M3FM_SALT", raising=False)
    reference = str(Reference(tmp_path, "0" * 64))
    with pytest.raises(InputError, match="M3FM_SALT is not set"):
        steps.curate(reference, "nlst", preset("tiny").to_json(), str(tmp_path / "state"))


def test_waits_for_another_process_that_makes_the_same(tmp_path, capsys):
    out = made(tmp_path).path
    shutil.rmtree(out)
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    other = context.Process(target=hold, args=(out, begun, 1.0))
    other.start()
    assert begun.wait(10)
    made(tmp_path)
    other.join()
    printed = capsys.readouterr().out
    assert "waiting" in printed
    assert f"reused {out}" in printed


def test_state_directory_is_one_run_at_a_time(tmp_path):
    state = State(tmp_path)
    state.enter()
    refused = pytest.raises(InputError, match=f"process {os.getpid()}:")
    with state.locked(), refused, State(tmp_path).locked():
        pass
    with state.locked():
        pass
