"""Work is shared out completely, evenly, and the same for everybody."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3fm.cli.plan import WORKERS
from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import SIZES, preset
from m3fm.config.sections import TEXT, Costs, RunConfig
from m3fm.training.costs import pretraining_costs, task_costs
from m3fm.training.planner import Unit, assign, crop_units, forecast, table, task_units

UNITS = st.lists(st.floats(0.1, 50.0), min_size=1, max_size=7).map(
    lambda costs: [Unit("task", i, 1.0, cost) for i, cost in enumerate(costs)]
)


@given(UNITS, st.integers(1, 9))
def test_every_unit_is_done_once(units: list[Unit], workers: int) -> None:
    shares = assign(units, workers)
    assert len(shares) == workers
    assert sorted(itertools.chain(*shares), key=lambda u: u.index) == units


@given(UNITS, st.integers(1, 3))
def test_no_step_is_a_third_longer_than_the_best_one(units: list[Unit], workers: int) -> None:
    best = min(
        max(sum(u.cost for u, w in zip(units, choice) if w == worker) for worker in range(workers))
        for choice in itertools.product(range(workers), repeat=len(units))
    )
    longest = max(sum(unit.cost for unit in share) for share in assign(units, workers))
    assert longest <= best * (4 / 3) + 1e-9


@given(UNITS, st.integers(1, 5), st.randoms())
def test_the_plan_does_not_depend_on_the_order(units: list[Unit], workers: int, random) -> None:
    shuffled = list(units)
    random.shuffle(shuffled)
    assert assign(shuffled, workers) == assign(units, workers)


@given(UNITS, st.integers(1, 9))
def test_a_forecast_is_the_longest_share_and_its_bounds_hold_for_the_best_plan(units, workers) -> None:
    found = forecast(units, workers)
    assert found.step == max(sum(unit.cost for unit in share) for share in assign(units, workers))
    assert max(found.even, found.whole) <= found.step + 1e-9
    assert 0 < found.efficiency <= 1 + 1e-9
    assert found.over_best <= 4 / 3 + 1e-9 or workers > 3


@given(UNITS, st.integers(1, 3))
def test_no_plan_at_all_beats_the_bounds(units, workers) -> None:
    best = min(
        max(sum(u.cost for u, w in zip(units, choice) if w == worker) for worker in range(workers))
        for choice in itertools.product(range(workers), repeat=len(units))
    )
    found = forecast(units, workers)
    assert max(found.even, found.whole) <= best + 1e-9


@pytest.mark.parametrize("size", SIZES)
def test_a_step_has_the_batches_of_the_configuration(size) -> None:
    run = preset(size)
    units = task_units(TASKS.values(), run.train, task_costs(run))
    for name, task in TASKS.items():
        mine = [unit for unit in units if unit.name == name]
        samples = len(mine) * run.train.together(task.scale)
        assert samples == (run.train.retrieval_batch // 2 if task.kind == "retrieval" else run.train.batch)
        assert sum(unit.weight for unit in mine) == pytest.approx(1.0), "shares of the task's mean loss"
        assert [unit.index for unit in mine] == list(range(len(mine)))
    costs = pretraining_costs(run)
    for step, count in (
        (0, run.pretrain.batch // run.pretrain.micro_batch),
        (None, len(costs) * run.pretrain.validation_batches),
    ):
        crops = crop_units(step, run.pretrain, costs)
        assert len(crops) == count
        assert sum(unit.weight for unit in crops) == pytest.approx(1.0)
        assert all(unit.cost == run.pretrain.micro_batch * costs[unit.name] for unit in crops)
    assert {unit.name for unit in crops} == set(run.model.scales), "all scales are validated"


def test_the_paper_s_batch_is_972_samples() -> None:
    run = preset("large")
    units = task_units(TASKS.values(), run.train, task_costs(run))
    assert sum(run.train.together(TASKS[unit.name].scale) for unit in units) == 972


def with_costs(run: RunConfig, train: dict[str, float]) -> RunConfig:
    costs = Costs(train=train)
    return run.model_copy(update={"launch": run.launch.model_copy(update={"costs": costs})})


def test_a_measured_cost_is_taken_and_a_missing_one_derived_at_the_same_rate() -> None:
    base = preset("base")
    measured = {"nodule": 2.0, "lung_cancer": 6.0, "heart": 1.0, TEXT: 0.1}
    found = task_costs(with_costs(base, measured))
    assert {name: found[name] for name in measured} == measured
    plain = task_costs(with_costs(base, {}))
    only = task_costs(with_costs(base, {"lung_cancer": 6.0}))
    assert only["both_lungs"] == only["lung_cancer"] == 6.0, "of as many patches"
    for name, operations in plain.items():
        assert only[name] == pytest.approx(6.0 * operations / plain["lung_cancer"])
    units = task_units([TASKS["lung_rads"], TASKS["cvd_diagnosis"]], base.train, found)
    assert {unit.cost for unit in units} == {
        base.train.text_micro_batch * 0.1,
        base.train.micro_batch * 1.0,
    }


DOCS = Path(__file__).parents[2] / "docs/training.md"


@pytest.mark.parametrize("size", ["base", "large"])
def test_the_table_of_the_docs_is_what_the_plan_says(size) -> None:
    run = preset(size)
    units = task_units(TASKS.values(), run.train, task_costs(run))
    made = table(forecast(units, int(workers)) for workers in WORKERS.split(","))
    shown = DOCS.read_text().split(f"<!-- {size} -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == made


def test_the_paper_s_step_cannot_be_shorter_and_where_it_is_within_a_tenth_of_even_shares() -> None:
    run = preset("base")
    costs = task_costs(run)
    units = task_units(TASKS.values(), run.train, costs)
    assert forecast(units, 192).over_best == 1.0
    assert forecast(units, 192).step == max(unit.cost for unit in units), "one volume, which is one worker's"
    for workers in (2, 3, 6, 12, 19, 24, 32, 48, 64, 128):
        assert forecast(units, workers).efficiency > 0.9
    more = run.train.model_copy(update={"batch": 16, "text_micro_batch": 2})
    assert forecast(task_units(TASKS.values(), more, costs), 192).efficiency > 0.9
