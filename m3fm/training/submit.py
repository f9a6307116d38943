"""A training as a job on a remote Ray cluster: submitted, followed, and ended with its exit code."""

import asyncio
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.config import RunConfig
from m3fm.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PARAMS = "params.yaml"
HANDED_ON = ("MLFLOW_TRACKING_URI", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Environment variables that the job gets from here, where they are set."""


def submit(address: str, command: str, arguments: list[str], run: RunConfig) -> int:
    """Run `m3fm COMMAND ARGUMENTS` with a configuration on the cluster with a dashboard at `address`.

    What the job prints is printed here. Gives its exit code: 2 for bad input, 1 for other failures.
    Interrupted, this stops to follow, and the job goes on.
    Raises InputError where there is no such cluster, or it refuses.
    """
    import os

    client = _client(address)
    with tempfile.TemporaryDirectory() as directory:
        # JSON is YAML, and this is complete: what the preset is on the cluster plays no part.
        (Path(directory) / PARAMS).write_text(run.to_json())
        variables = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        job = client.submit_job(
            entrypoint=shlex.join(["m3fm", command, *arguments, "--params", PARAMS]),
            runtime_env={"working_dir": directory, "env_vars": {"PYTHONUTF8": "1", **variables}},
        )
    print(f"m3fm: job {job} on {address}", file=sys.stderr, flush=True)
    try:
        asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        stop = f"ray job stop --address {address} {job}"
        print(f"\nm3fm: job {job} goes on; to stop it: {stop}", file=sys.stderr)
        return 130
    info = client.get_job_info(job)
    if info.status == "SUCCEEDED":
        return 0
    print(f"m3fm: job {job} {info.status.lower()}: {info.message}", file=sys.stderr)
    return info.driver_exit_code if info.driver_exit_code and info.driver_exit_code > 0 else 1


def _client(address: str) -> "JobSubmissionClient":
    try:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"no Ray cluster takes jobs at {address}: {reason}") from error


async def _follow(client: "JobSubmissionClient", job: str) -> None:
    """Print what the job prints, until it ends."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
    while not client.get_job_status(job).is_terminal():
        await asyncio.sleep(1.0)
