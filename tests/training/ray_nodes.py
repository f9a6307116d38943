"""Nodes of a Ray cluster that a test starts and kills, each with all of its processes."""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).with_name("ray"))
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""With `m3fm` on it, which jobs call by its name."""
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
READY = "--block"
"""What `ray start` says once a node is there, among other things."""


def trainers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that train; the loaders that they forked have the same name."""
    named = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                named[process.pid] = (process, process.ppid())
    return [process for process, parent in named.values() if parent not in named]


class Node:
    """A `ray start --block`, and what it started."""

    def __init__(self, *options: str, before: tuple[str, ...] = (), **variables: str) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="m3fm-node-", dir="/tmp")
        self.process = subprocess.Popen(
            [*before, RAY, "start", *options, "--block", "--disable-usage-stats"],
            env={**os.environ, **TOKEN, "PATH": PATH, "PYTHONUNBUFFERED": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory.name,
        )
        said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said += line
            if READY in line:
                return
        raise AssertionError(f"the node did not start: {said}")

    def processes(self) -> list[psutil.Process]:
        """All that runs on it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def trains(self) -> int:
        """How many workers of a training run on it."""
        return len(trainers(self.processes()))

    def kill(self) -> None:
        """Kill all of it at once, as if the machine were gone."""
        for process in [*self.processes(), psutil.Process(self.process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def running(*nodes: Node) -> Iterator[None]:
    """Kill the nodes at the end of the block, whatever happens."""
    try:
        yield
    finally:
        for node in nodes:
            if node.process.poll() is None:
                node.kill()
            node.directory.cleanup()
