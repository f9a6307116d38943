"""What a sample costs: operations as torch counts them, and measured costs that params.yaml takes."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from m3fm.cli.app import app
from m3fm.config.model import TextConfig
from m3fm.config.presets import load, preset
from m3fm.config.sections import TEXT
from m3fm.training.costs import pretraining_operations, task_operations
from m3fm.training.measure import measure_costs, pretraining_steps, task_steps

TINY = preset("tiny")
CPU = torch.device("cpu")
# Wide enough for its transformers to be most of the work, as in the sizes of the paper.
WIDE = TINY.model_copy(
    update={
        "model": TINY.model.model_copy(
            update={
                "width": 384,
                "depth": 6,
                "heads": 6,
                "text": TextConfig(width=48, depth=1, heads=2, vocabulary=1200),
            }
        ),
        "pretrain": TINY.pretrain.model_copy(update={"micro_batch": 1}),
        "train": TINY.train.model_copy(update={"micro_batch": 1, "text_micro_batch": 1}),
    }
)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("steps", "operations"), [(pretraining_steps, pretraining_operations), (task_steps, task_operations)]
)
def test_operations_are_in_the_proportion_that_torch_counts(steps, operations) -> None:
    counted = {}
    for name, _, step in steps(WIDE, CPU):
        with FlopCounterMode(display=False) as counter:
            step()
        counted[name] = counter.get_total_flops()
    found = operations(WIDE)
    rates = {name: counted[name] / found[name] for name in WIDE.model.scales}
    assert max(rates.values()) < 1.2 * min(rates.values()), rates


@pytest.mark.integration
def test_every_scale_is_measured() -> None:
    costs = measure_costs(TINY, CPU, repeats=1)
    assert list(costs.pretrain) == list(TINY.model.scales)
    assert list(costs.train) == [*TINY.model.scales, TEXT]
    assert min(*costs.pretrain.values(), *costs.train.values()) > 0


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """`m3fm plan` in an empty directory: what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    return run


@pytest.mark.integration
def test_what_is_measured_is_what_params_take(plan, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("m3fm.cli.plan.enter_state", lambda: None)
    path = tmp_path / "measured.yaml"
    path.write_text("preset: tiny\n" + plan("--measure", "--repeats", "1"))
    costs = load(path).launch.costs
    assert set(costs.train) == {*TINY.model.scales, TEXT}
    assert min(costs.pretrain.values()) > 0


def test_the_plan_in_json_gives_every_micro_batch_to_a_worker(plan) -> None:
    found = json.loads(plan("--workers", "1,3", "--json"))
    assert [one["workers"] for one in found["forecasts"]] == [1, 3]
    assert found["forecasts"][0]["efficiency"] == pytest.approx(1.0)
    assert len(found["assignments"]) == TINY.launch.workers
    assert sum(sum(worker.values()) for worker in found["assignments"]) == 19
    assert "1: " in plan("--assignments")
