"""Work is shared out completely, evenly, and the same for everybody."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from m3fm.training.planner import Unit, assign

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
