"""What MLflow receives from a training: every step once, even if MLflow was away or a step is sent again."""

from pathlib import Path

import pytest

from m3fm.tracking import runs
from m3fm.tracking.registry import Registry

pytestmark = pytest.mark.integration


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Registry.of(tmp_path)


def rows(first: int, last: int) -> list[dict[str, float]]:
    return [
        {"step": step, "lr": 0.1, **{f"task_{n}": float(n) for n in range(30)}} for step in range(first, last)
    ]


def known(registry: Registry, run_id: str) -> list[int]:
    return [metric.step for metric in registry.client.get_metric_history(run_id, "task_7")]


def test_steps_that_are_told_again_count_once(registry: Registry):
    run_id = runs.start_run(registry.uri, "training", {"a": {"b": 1}})
    assert registry.client.get_run(run_id).data.params == {"a.b": "1"}
    first = runs.StepLog(registry.uri, run_id)
    for row in rows(0, 70):
        first.add(row)
    first.flush()
    again = runs.StepLog(registry.uri, run_id)
    for row in rows(0, 90):
        again.add(row)
    again.flush()
    again.flush()
    assert known(registry, run_id) == list(range(90))


def test_what_mlflow_missed_it_is_told_later(registry: Registry, tmp_path: Path):
    run_id = runs.start_run(registry.uri, "training", {})
    database = tmp_path / "mlflow" / "mlflow.db"
    steps = runs.StepLog(registry.uri, run_id)
    for row in rows(0, 3):
        steps.add(row)
    away = database.rename(database.with_name("away"))
    database.mkdir()
    steps.flush()
    with runs.record_status((registry.uri, run_id)):
        pass
    database.rmdir()
    away.rename(database)
    for row in rows(3, 5):
        steps.add(row)
    steps.flush()
    assert known(registry, run_id) == list(range(5))


def test_a_run_s_end_and_what_came_of_it_are_told(registry: Registry):
    run_id = runs.start_run(registry.uri, "fine-tuning", {})
    with pytest.raises(KeyboardInterrupt), runs.record_status((registry.uri, run_id)):
        raise KeyboardInterrupt
    assert registry.client.get_run(run_id).info.status == "FAILED"
    with runs.record_status((registry.uri, run_id)):
        runs.log_metrics(registry.uri, run_id, {"auc/ct": 0.75})
    run = registry.client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"auc/ct": 0.75})


def test_an_interrupted_call_goes_on_with_its_run_and_another_has_its_own(registry: Registry, tmp_path: Path):
    def begun(seed: int, of_checkpoint: str | None = None) -> str:
        return runs.resume_or_start_run(registry.uri, tmp_path, of_checkpoint, {"seed": seed}, "training", {})

    first = begun(1)
    assert begun(1) == first
    other = begun(2)
    assert other != first
    assert begun(3, of_checkpoint=first) == first
    unknown = "0" * 32
    assert begun(4, of_checkpoint=unknown) not in (unknown, first, other), "MLflow has lost it"
