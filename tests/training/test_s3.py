"""Checkpoints in an S3-compatible store: a real server, spoken to by pyarrow as any other.

Its dependencies and the platform's do not go together, so moto's server comes from an environment of its own:
`pip install "moto[server]"` there, and its `moto_server` on PATH.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem

from m3fm.core.errors import InputError
from m3fm.training.checkpoints import COMPLETE, Checkpoints

SERVER = shutil.which("moto_server")


def store(endpoint: str) -> S3FileSystem:
    return S3FileSystem(
        access_key="key",
        secret_key="secret",
        region="us-east-1",
        scheme="http",
        endpoint_override=endpoint,
        allow_bucket_creation=True,
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Host and port of a server with a bucket."""
    if SERVER is None:
        pytest.skip("moto_server is not on PATH, the S3-compatible store of this test")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [SERVER, "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "Running on" in line:
                break
        found = f"127.0.0.1:{port}"
        store(found).create_dir("bucket")
        yield found
        server.terminate()


def place(endpoint: str, bucket: str = "bucket") -> str:
    options = f"scheme=http&endpoint_override={endpoint}&region=us-east-1"
    return f"s3://key:secret@{bucket}/runs/one?{options}"


def write(text: str):
    def files(directory: Path) -> None:
        (directory / "model.safetensors").write_text(text)
        (directory / "trainer.pt").write_bytes(bytes(100_000))

    return files


@pytest.mark.slow
def test_saved_found_fetched_and_removed(endpoint, tmp_path):
    checkpoints = Checkpoints(place(endpoint), 1, {"inputs": {"a": "b"}})
    assert checkpoints.newest(tmp_path / "none") is None
    for step, score in ((2, 0.1), (4, 0.3), (6, 0.2)):
        checkpoints.save(step, score, write(str(step)))
    again = Checkpoints(place(endpoint), 1, {})
    assert [found.step for found in again.found()] == [2, 6], "the best and the newest"
    assert again.newest(tmp_path / "newest").about == {"inputs": {"a": "b"}}
    assert (tmp_path / "newest/model.safetensors").read_text() == "6"

    s3 = store(endpoint)
    s3.delete_file("bucket/runs/one/step-00000006/model.safetensors")
    assert again.newest(tmp_path / "older").step == 2
    s3.delete_file(f"bucket/runs/one/step-00000002/{COMPLETE}")
    assert again.newest(tmp_path / "nothing") is None

    again.clear()
    assert again.found() == []


def test_a_store_that_does_not_answer_is_refused():
    with pytest.raises(InputError, match="checkpoints cannot be kept at"):
        Checkpoints(place("127.0.0.1:9", "nowhere"), 1, {})
