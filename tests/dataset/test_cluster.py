"""Ray for the length of a block leaves nothing behind."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from m3fm.core import ray as cluster

pytestmark = pytest.mark.integration


def own_directories() -> list[Path]:
    """The directories of this process' Ray; other programs may start Ray at the same time."""
    return list(Path(tempfile.gettempdir()).glob(f"{cluster.PREFIX}{os.getpid()}-*"))


def listening() -> set[str]:
    """The addresses at which this process and those below it take connections."""
    addresses = set()
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found = [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            addresses |= {ip.removeprefix("::ffff:") for ip in found}
    return addresses


def test_import_is_light():
    subprocess.run(
        [sys.executable, "-c", "import m3fm.core.ray, sys; assert 'ray' not in sys.modules"], check=True
    )


def test_nothing_is_left_even_after_an_error_and_what_the_dead_left_is_removed(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(tempfile.gettempdir()) / f"{cluster.PREFIX}{dead.pid}-test"
    (left / "session").mkdir(parents=True)
    foreign = Path(tempfile.mkdtemp(prefix=f"{cluster.PREFIX}somebodys", dir="/tmp"))

    def fails():
        with cluster.ray_cluster(1):
            import ray

            assert ray.cluster_resources()["CPU"] == 1
            assert listening() == {"127.0.0.1"}
            (mine,) = own_directories()
            longest = max(len(str(path)) for path in mine.glob("session_2*/sockets/*"))
            assert longest <= 103
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        fails()
    assert not left.exists()
    assert own_directories() == []
    foreign.rmdir()
    import ray

    assert not ray.is_initialized()


def slow_starts(monkeypatch, times: int) -> None:
    """Let Ray's start fail as it does on a busy machine; Ray's own wait is fixed at 30 seconds."""
    import ray

    start, left = ray.init, [None] * times

    def init(**options: object) -> object:
        if left:
            left.pop()
            raise Exception("The current node timed out during startup. This could happen because ...")
        return start(**options)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)


def test_a_slow_start_is_tried_once_more(monkeypatch, capsys):
    slow_starts(monkeypatch, 1)
    with cluster.ray_cluster(1):
        import ray

        assert ray.cluster_resources()["CPU"] == 1
    assert "starts slowly; starting it once more" in capsys.readouterr().err


def test_a_machine_that_is_too_busy_is_said(monkeypatch):
    slow_starts(monkeypatch, 2)
    expected = pytest.raises(
        cluster.SlowStart, match="too busy, or out of memory; run the same command again"
    )
    with expected, cluster.ray_cluster(1):
        raise AssertionError("it started")
    assert own_directories() == []


def test_directory_is_short_wherever_temporary_files_are(monkeypatch, tmp_path):
    long = tmp_path / ("long" * 10)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    directory = cluster._temporary_directory()
    try:
        assert len(str(directory)) < 40
    finally:
        directory.rmdir()


@pytest.mark.usefixtures("cluster")
def test_a_fresh_process_connects_to_a_cluster_on_the_loopback():
    """In a process of its own: one that has started a cluster before would connect in any case."""
    script = (
        "from m3fm.core.ray import ray_cluster\n"
        "with ray_cluster(1):\n"
        "    import ray\n"
        "    print(ray.get(ray.remote(lambda: 7).remote()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "7", done.stderr
