"""Two machines, as far as the network goes: a namespace for each, with an address of its own."""

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from ray_nodes import TOKEN, Node, running
from runs import Runs

pytestmark = pytest.mark.slow

SPACES = {"m3fm-test-a": "10.213.77.1", "m3fm-test-b": "10.213.77.2"}
CARD = "m3fm0"
"""Name of the network card in both."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def inside(space: str) -> tuple[str, ...]:
    return "ip", "netns", "exec", space


@pytest.fixture
def spaces() -> Iterator[None]:
    """Two network namespaces with a cable between them."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces: the `ip` command is missing")
    try:
        ip("netns", "add", "m3fm-test-probe")
        ip("netns", "del", "m3fm-test-probe")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        for space in SPACES:
            ip("netns", "add", space)
        a, b = SPACES
        ip("-n", a, "link", "add", CARD, "type", "veth", "peer", "name", CARD, "netns", b)
        for space, address in SPACES.items():
            ip("-n", space, "addr", "add", f"{address}/24", "dev", CARD)
            for card in ("lo", CARD):
                ip("-n", space, "link", "set", card, "up")
        yield
    finally:
        for space in SPACES:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


@pytest.mark.usefixtures("spaces")
def test_a_training_on_two_nodes_survives_the_loss_of_the_second(runs: Runs):
    (a, first), (b, second) = SPACES.items()
    address = f"{first}:6399"
    card = {"GLOO_SOCKET_IFNAME": CARD}
    head = Node(
        "--head",
        f"--node-ip-address={first}",
        "--port=6399",
        "--num-cpus=2",
        "--include-dashboard=false",
        before=inside(a),
        **card,
    )
    with running(head):
        other = Node(
            f"--address={address}",
            f"--node-ip-address={second}",
            "--num-cpus=1",
            before=inside(b),
            **card,
        )
        with running(other):
            training = runs.start("two_nodes", "--address", address, before=inside(a), **TOKEN, **card)
            while runs.checkpoint("two_nodes") < 9:
                assert training.poll() is None, runs.log("two_nodes")
                time.sleep(0.01)
            assert (head.trains(), other.trains()) == (1, 1), "each node has one of the two workers"
            other.kill()
            reached = runs.checkpoint("two_nodes")
            assert training.poll() is None, "it was over before the node was lost"
            assert training.wait() == 0, runs.log("two_nodes")
    assert reached < 72
    assert runs.same("two_nodes", "whole")
    assert set(runs.logged("two_nodes").values()) == {1}
