"""Trainings as jobs of a Ray cluster: followed with their logs, ended with their exit code."""

import json
import socket
import subprocess
from collections.abc import Iterator

import pytest
from ray_nodes import TOKEN, Node, running
from runs import M3FM, Runs

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def head_at(port: int) -> Node:
    """A head whose dashboard is at a port of the loopback."""
    gcs, agent = free_port(), free_port()
    return Node(
        "--head",
        "--node-ip-address=127.0.0.1",
        f"--port={gcs}",
        "--num-cpus=2",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={port}",
        # Its usual one may be taken by another Ray on this machine, and then the node takes no jobs.
        f"--dashboard-agent-listen-port={agent}",
    )


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of a head's dashboard."""
    port = free_port()
    with running(head_at(port)):
        yield f"http://127.0.0.1:{port}"


def submitted(runs: Runs, address: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*M3FM, *words, "--submit", address],
        cwd=runs.root,
        env={**runs.environment("none"), **TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_job_trains_as_the_command_does_here(runs, dashboard):
    done = submitted(runs, dashboard, "train", str(runs.root / "data"), str(runs.root / "job"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "training step 72/72" in done.stdout, "the job's progress is followed"
    assert json.loads(done.stdout.splitlines()[-1])["path"].endswith("job")
    assert runs.same("job", "whole")


def test_whoever_follows_a_job_is_told_that_the_cluster_is_lost(runs):
    port = free_port()
    with running(head := head_at(port)):
        words = [
            "train",
            str(runs.root / "data"),
            str(runs.root / "lost"),
            "--submit",
            f"http://127.0.0.1:{port}",
        ]
        follower = subprocess.Popen(
            [*M3FM, *words],
            cwd=runs.root,
            env={**runs.environment("none"), **TOKEN},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert follower.stdout is not None
        for line in follower.stdout:
            if "training step" in line:
                break
        head.kill()
        _, said = follower.communicate()
    assert follower.returncode == 1
    assert "m3fm: lost the cluster" in said
    assert "Traceback" not in said


def test_the_reason_of_a_failing_job_reaches_the_caller(runs, dashboard):
    done = submitted(runs, dashboard, "train", str(runs.root / "nowhere"), str(runs.root / "failed"))
    assert done.returncode == 2, "bad input, as it would be here"
    assert f"m3fm: {runs.root / 'nowhere'} is not a directory" in done.stdout + done.stderr
    assert not (runs.root / "failed").exists()


def test_a_job_that_fails_in_training_ends_with_1_and_its_reason(runs, dashboard):
    """A learning rate at which losses are not finite for long."""
    params = runs.root / "explode.yaml"
    params.write_text((runs.root / "params.yaml").read_text().replace("warmup: 2", "warmup: 0, lr: 1.0e+30"))
    done = submitted(
        runs,
        dashboard,
        "train",
        str(runs.root / "data"),
        str(runs.root / "exploded"),
        "--params",
        str(params),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is not finite" in done.stdout + done.stderr
    assert not (runs.root / "exploded").exists()


def test_where_no_cluster_takes_jobs_one_line_says_so(runs):
    address = f"http://127.0.0.1:{free_port()}"
    done = submitted(runs, address, "train", str(runs.root / "data"), str(runs.root / "no"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"m3fm: no Ray cluster takes jobs at {address}")
    assert len(done.stderr.splitlines()) == 1
    assert TOKEN["RAY_AUTH_TOKEN"] not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["data", "/out"], "data is relative"),
        (["/data", "/out", "--storage", "checkpoints"], "checkpoints is relative"),
        (["/data", "/out", "--storage", "s3://key:secret@bucket/runs"], "--storage contains keys"),
        (["/data", "/out", "--address", "127.0.0.1:1"], "pass one of them"),
        (["/data", "/tmp"], "no Ray cluster takes jobs"),
    ],
)
def test_what_a_job_could_not_use_is_refused_before_it_is_sent(runs, words, reason):
    """An OUT that is here may not be on the cluster: that is for the job to say."""
    done = submitted(runs, "http://127.0.0.1:1", "train", *words)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "secret" not in done.stderr
