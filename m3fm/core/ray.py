"""Ray for the length of a block: a cluster that is running, or one of this machine's own."""

import contextlib
import logging
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from m3fm.core import telemetry
from m3fm.core.errors import InputError

OBJECT_STORE_BYTES = 200_000_000
"""Large data go by path, never through Ray's object store."""
LOOPBACK = ("127.", "localhost:")
"""How the addresses begin of clusters that listen on this machine's loopback alone."""
TIMED_OUT = "timed out during startup"
"""Words of Ray's error for processes that start slowly."""
PREFIX = "m3fm-ray-"
LONGEST_PARENT = 13
"""Ray adds up to 90 characters for its sockets, whose paths may have no more than 103 (macOS)."""


class SlowStart(RuntimeError):
    """Ray that did not start on a machine that is too busy."""


@contextlib.contextmanager
def ray_cluster(cpus: int) -> Iterator[None]:
    """Connect to Ray: to the cluster that RAY_ADDRESS names, or to a new one with `cpus` CPUs here.

    The new one ends with the block, and with this process should that be killed; nothing of it is left.
    It listens on this machine's loopback alone.
    """
    telemetry.switch_off()
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        # Where Ray's processes die, whoever waits for them gets an error after half a minute.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "30")
        # Gradients of workers on this machine are no business of the network's.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        # Without a token Ray would write one of its own into the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

    import ray

    options: dict[str, object] = {"address": address}
    if address is not None:
        _check_answers(address)
    if address is None or address.startswith(LOOPBACK):
        _stay_on_loopback()
    with contextlib.ExitStack() as stack:
        if address is None:
            directory = _temporary_directory()
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            options = {
                "num_cpus": cpus,
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": str(directory),
            }
        stack.callback(ray.shutdown)
        _start(options)
        yield


def _start(options: dict[str, object]) -> None:
    """Start Ray or connect to it; where a busy machine takes more than Ray's 30 seconds, try once more."""
    import ray

    for attempt in (1, 2):
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
            return
        except Exception as error:  # Ray has no error of its own for this
            if TIMED_OUT not in str(error):
                raise
            ray.shutdown()
            if attempt == 2:
                raise SlowStart(
                    "Ray did not start within 30 seconds, twice: the machine is too busy, or out of memory;"
                    " run the same command again when it is not, it resumes"
                ) from error
            print("m3fm: Ray starts slowly; starting it once more", file=sys.stderr, flush=True)


def _check_answers(address: str) -> None:
    """Refuse an address at which nobody listens: Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            pass
    except (OSError, ValueError) as error:
        raise InputError(f"no Ray cluster answers at {address} ({error}): give HOST:PORT of one") from error


def _stay_on_loopback() -> None:
    """Let Ray take 127.0.0.1 for what it is: it would replace it by an address that others can reach."""
    from ray._private import services

    services.resolve_ip_for_localhost = lambda host: host


def _temporary_directory() -> Path:
    """Make a directory for Ray's sockets and logs, named by this process; remove those of dead ones."""
    parent = tempfile.gettempdir()
    if len(parent) > LONGEST_PARENT:
        parent = "/tmp"
    for left in Path(parent).glob(f"{PREFIX}*"):
        named = re.fullmatch(rf"{PREFIX}(\d+)-.*", left.name)
        if named and not _is_alive(int(named[1])):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
