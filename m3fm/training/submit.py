"""A training as a job on a remote Ray cluster: submitted, followed, and ended with its exit code."""

import asyncio
import logging
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3fm.config.sections import RunConfig
from m3fm.core.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PARAMS = "params.yaml"
STARTING_SECONDS = 60.0
"""How long a cluster may have no node that takes jobs, as while it starts."""
HANDED_ON = ("MLFLOW_TRACKING_URI", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Environment variables that the job gets from here, where they are set."""


def submit(address: str, command: str, arguments: list[str], run: RunConfig) -> int:
    """Run `m3fm COMMAND ARGUMENTS` with a configuration on the cluster with a dashboard at `address`.

    Prints what the job prints, and returns its exit code: 2 for bad input, 1 for other failures. Ctrl-C stops
    following; the job continues.
    Raises InputError where the cluster does not answer, or refuses.
    """
    client = _client(address)
    with tempfile.TemporaryDirectory() as directory:
        # JSON is YAML, and this is complete: what the preset is on the cluster plays no part.
        (Path(directory) / PARAMS).write_text(run.to_json())
        variables = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        job = _submitted(
            client,
            entrypoint=shlex.join(["m3fm", command, *arguments, "--params", PARAMS]),
            runtime_env={"working_dir": directory, "env_vars": {"PYTHONUTF8": "1", **variables}},
        )
    print(f"m3fm: job {job} on {address}", file=sys.stderr, flush=True)
    try:
        asyncio.run(_follow(client, job))
        info = client.get_job_info(job)
    except KeyboardInterrupt:
        stop = f"ray job stop --address {address} {job}"
        print(f"\nm3fm: job {job} continues; to stop it: {stop}", file=sys.stderr)
        return 130
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        look = f"ray job logs --follow --address {address} {job}"
        print(f"\nm3fm: lost the cluster ({reason}); to follow job {job} again: {look}", file=sys.stderr)
        return 1
    if info.status == "SUCCEEDED":
        return 0
    # The rest of the message is what the job printed last, which has been shown.
    reason = (info.message or "").split(", last available logs")[0]
    print(f"m3fm: job {job} {info.status.lower()}: {reason}", file=sys.stderr)
    return info.driver_exit_code if info.driver_exit_code and info.driver_exit_code > 0 else 1


def _submitted(client: "JobSubmissionClient", **job: Any) -> str:
    """Hand a job to the cluster; one that has just been started is given a while. Gives the job's id."""
    asked = time.monotonic()
    while True:
        try:
            return str(client.submit_job(**job))
        except RuntimeError as error:
            starting = "No available agent" in str(error)
            if not starting or time.monotonic() - asked > STARTING_SECONDS:
                reason = " ".join(str(error).split())
                raise InputError(f"the cluster does not take the job: {reason}") from error
        time.sleep(1.0)


def _client(address: str) -> "JobSubmissionClient":
    try:
        from ray.job_submission import JobSubmissionClient

        logging.disable(logging.INFO)  # Ray logs every package that it sends
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
