"""Killed at any step, whoever is killed, a training ends with the very parameters it would have had."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
from ray_nodes import trainers
from runs import Runs

pytestmark = pytest.mark.slow


def of_ray(driver: psutil.Process) -> list[psutil.Process]:
    """All processes of the Ray that a training started."""
    return driver.children(recursive=True)


def kill_worker(driver: psutil.Process, rng: random.Random) -> bool:
    """One of those that train; False where none does yet."""
    workers = trainers(of_ray(driver))
    if workers:
        rng.choice(workers).kill()
    return bool(workers)


def kill_driver(driver: psutil.Process, rng: random.Random) -> bool:
    driver.kill()
    return True


def kill_machine(driver: psutil.Process, rng: random.Random) -> bool:
    for process in of_ray(driver):
        process.send_signal(signal.SIGKILL)
    return True


def disturbed(
    runs: Runs, out: str, kill: Callable[[psutil.Process, random.Random], bool], times: int, seed: int
) -> list[int]:
    """Train to `out`, and kill at a random moment: of the start, then after each further checkpoint.

    Gives the steps of the checkpoints that there were.
    """
    rng = random.Random(seed)
    longest = 10.0
    process, killed = runs.start(out), []
    while (code := process.poll()) is None or code != 0:
        if code is not None:
            process = runs.start(out)
            continue
        step = runs.checkpoint(out)
        if len(killed) < times and (not killed or step > killed[-1]):
            try:
                process.wait(timeout=rng.uniform(0, longest))
            except subprocess.TimeoutExpired:
                step = runs.checkpoint(out)
                if kill(psutil.Process(process.pid), rng):
                    killed.append(step)
                    longest = 1.2
                    print(f"{out}: killed after the checkpoint of step {step}", flush=True)
        time.sleep(0.01)
    return killed


@pytest.mark.parametrize(("kill", "times"), [(kill_worker, 7), (kill_driver, 7), (kill_machine, 6)])
def test_killed_again_and_again_it_ends_as_if_nothing_had_been(runs, kill, times):
    seed = time.time_ns()
    print(f"seed {seed}")
    out = kill.__name__
    killed = disturbed(runs, out, kill, times, seed)
    assert len(killed) == times, killed
    assert runs.same(out, "whole")

    logged = runs.logged(out)
    assert set(logged.values()) == {1}, "no step counts twice"
    assert len({run for run, _, _ in logged}) == 1, "it is one run, however often it was started"
    assert {step for _, key, step in logged if key == "gradient_norm"} == set(range(72))
    expected = {(key, step) for _, key, step in runs.logged("whole")}
    assert {(key, step) for _, key, step in logged} == expected


def test_ctrl_c_says_from_where_it_goes_on(runs):
    process = runs.start("stopped")
    while runs.checkpoint("stopped") == 0 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130, runs.log("stopped")
    assert (
        f"m3fm: stopped; the same command resumes after step {runs.checkpoint('stopped')} of 72"
        in runs.log("stopped")
    )
    assert "Traceback" not in runs.log("stopped").split("m3fm: stopped")[1]


def test_the_comparison_can_say_no(runs):
    """Another seed gives other parameters: that two trainings are the same is not how they are compared."""
    params = runs.root / "params.yaml"
    other = runs.root / "other.yaml"
    other.write_text(params.read_text().replace("warmup: 2", "warmup: 2, seed: 1"))
    assert runs.start("other", "--params", str(other)).wait() == 0, runs.log("other")
    assert not runs.same("other", "whole")
