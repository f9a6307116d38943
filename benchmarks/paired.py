"""Times of several ways to do the same, taken in turn."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any


def report(title: str, contestants: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Run the contestants in turn; print each one's median time, and its ratio to the first one's.

    The ratio is the median of those of the rounds, so what slows a whole round down takes no part.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            result = contestant()
            if turn:  # the first round fills the caches
                times[name].append(time.perf_counter() - started)
            del result
    (first, *_) = times
    print(f"\n{title}: median of {rounds} rounds")
    print(f"{'':32}{'ms':>8}{'times ' + first:>20}")
    for name, taken in times.items():
        ratio = median(mine / its for mine, its in zip(taken, times[first]))
        print(f"{name:32}{1000 * median(taken):8.0f}{ratio:20.2f}", flush=True)
