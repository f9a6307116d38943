"""What is refused before a training starts: another run's checkpoints, and a place where one is at work."""

import os
import shutil
from pathlib import Path

import pytest

from m3fm.config.sections import LaunchConfig, OptimizerConfig
from m3fm.core.errors import InputError
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.launch import Place, _join, _write_result, fit_into, held

CONFIG = OptimizerConfig(steps=2, warmup=0, lr=0.1)


def begin(out: Path, seed: int) -> None:
    """Start a training that would fail, were it not refused."""

    def build():
        raise AssertionError("it started")

    def describe(directory: Path) -> None:
        raise AssertionError("it ended")

    fit_into("training", out, {"seed": seed}, build, CONFIG, LaunchConfig(), {}, describe, Place(), {})


def test_another_run_s_checkpoints_are_neither_gone_on_with_nor_removed(tmp_path):
    where = tmp_path / ".out.training" / "checkpoints"
    checkpoints = Checkpoints(str(where), 2, {"inputs": {"seed": 1}})
    checkpoints.save(1, None, lambda directory: (directory / "a").write_text("a"))
    with pytest.raises(InputError, match="unfinished run of another seed"):
        begin(tmp_path / "out", seed=2)
    assert [found.step for found in checkpoints.found()] == [1]
    assert not (tmp_path / "out").exists()


def test_two_trainings_to_one_place_exclude_each_other(tmp_path):
    out = tmp_path / "out"
    with (
        held(tmp_path / ".out.training", out),
        pytest.raises(InputError, match=f"process {os.getpid()} is training to"),
    ):
        begin(out, seed=1)
    with held(tmp_path / ".out.training", out):
        pass


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("s3://bucket/a?scheme=http&region=x", "s3://bucket/a/run?scheme=http&region=x"),
        ("s3://bucket/", "s3://bucket/run"),
        ("/data/why?/", "/data/why?/run"),
    ],
)
def test_a_run_has_a_folder_of_its_own(storage, expected):
    assert _join(storage, "run") == expected


SCORES = {1: 0.9, 2: 0.3, 3: 0.5}
"""Validation losses by step."""


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    """Return the checkpoints of a finished training."""

    def saved(step: int):
        def write(directory: Path) -> None:
            (directory / "model.safetensors").write_text(str(step))
            (directory / "history.jsonl").write_text(f"history of {step}")

        return write

    checkpoints = Checkpoints(str(tmp_path / "checkpoints"), 1, {})
    for step, score in SCORES.items():
        checkpoints.save(step, score, saved(step))
    return checkpoints


@pytest.mark.parametrize(("result", "expected"), [("last", 3), ("best", 2)])
def test_the_weights_are_those_of_the_last_step_or_of_the_least_validation_loss(
    checkpoints, tmp_path, result, expected
):
    content = _write_result(checkpoints, finished(result), tmp_path)
    assert (tmp_path / "model.safetensors").read_text() == str(expected)
    assert (tmp_path / "history.jsonl").read_text() == "history of 3", "all steps are recorded"
    assert (content["steps"], content["weights_of_step"]) == (3, expected)


def test_a_damaged_best_checkpoint_is_refused_and_the_advice_helps(checkpoints, tmp_path):
    best = tmp_path / "checkpoints" / "step-00000002"
    (best / "model.safetensors").write_text("damaged")
    with pytest.raises(InputError, match=f"{best} has the lowest validation loss, and is damaged; remove it"):
        _write_result(checkpoints, finished("best"), tmp_path)
    shutil.rmtree(best)
    assert _write_result(checkpoints, finished("best"), tmp_path)["weights_of_step"] == 3


def finished(result: str):
    return CONFIG.model_copy(update={"steps": len(SCORES), "result": result})
