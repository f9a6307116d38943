"""A training run in MLflow: its configuration, and every step once, however often the run was interrupted."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3fm.core import telemetry
from m3fm.core.files import read_json, write_json
from m3fm.tracking.registry import EXPERIMENT, METRICS_AT_ONCE, PARAMS_AT_ONCE, flat

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_SECONDS = 10.0
"""How old a step may become before it is logged."""

RUN = "run.json"
"""File next to the output with the run that an interrupted call continues."""

logger = logging.getLogger(__name__)


def _client(uri: str) -> "MlflowClient":
    telemetry.switch_off()
    # A server that is away for a while must not hold up training: what it misses is logged later.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def start_run(uri: str, name: str, params: Mapping[str, Any]) -> str:
    """Make a run in the experiment; gives its id."""
    from mlflow.entities import Param

    client = _client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    run_id = str(client.create_run(experiment, run_name=name).info.run_id)
    values = [Param(key, str(value)) for key, value in flat(params)]
    for start in range(0, len(values), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=values[start : start + PARAMS_AT_ONCE])
    return run_id


def run_exists(uri: str, run_id: str) -> bool:
    """Check whether there is such a run."""
    from mlflow.exceptions import MlflowException

    try:
        _client(uri).get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def resume_or_start_run(
    uri: str,
    work: Path,
    of_checkpoint: str | None,
    inputs: Mapping[str, object],
    name: str,
    params: Mapping[str, Any],
) -> str:
    """Resume the run noted in `work` or a checkpoint for these inputs, or start one."""
    begun = {"inputs": dict(inputs), "mlflow_run": of_checkpoint}
    if (work / RUN).is_file():
        noted = read_json(work / RUN)
        begun = noted if noted["inputs"] == inputs else begun
    found = begun["mlflow_run"]
    if isinstance(found, str) and run_exists(uri, found):
        return found
    run_id = start_run(uri, name, params)
    write_json(work / RUN, {**begun, "mlflow_run": run_id})
    return run_id


@contextlib.contextmanager
def record_status(logged: tuple[str, str] | None) -> Iterator[None]:
    """Let MLflow know how a run (its address and id), of which there may be none, ends."""
    if logged is None:
        yield
        return
    _set_status(*logged, "RUNNING")
    try:
        yield
    except BaseException:
        _set_status(*logged, "FAILED")
        raise
    _set_status(*logged, "FINISHED")


def _set_status(uri: str, run_id: str, status: str) -> None:
    """Log the status of a run, RUNNING, FINISHED or FAILED, if MLflow answers."""
    from mlflow.exceptions import MlflowException

    try:
        _client(uri).update_run(run_id, status=status)
    except MlflowException as error:
        logger.warning("MLflow did not log that run %s is %s: %s", run_id, status, error)


def log_metrics(uri: str, run_id: str, measures: Mapping[str, float]) -> None:
    """Log the metrics of a finished run, if MLflow answers."""
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    moment = int(1000 * time.time())
    try:
        metrics = [Metric(name, value, moment, 0) for name, value in measures.items()]
        _client(uri).log_batch(run_id, metrics=metrics)
    except MlflowException as error:
        logger.warning("MLflow did not log the metrics of run %s: %s", run_id, error)


class StepLog:
    """The log of a run's steps, in requests that MLflow takes whole or not at all."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._client, self._run_id = _client(uri), run_id
        self._last: int | None = None
        """The last step that MLflow knows; None until it was asked."""
        self._rows: list[dict[str, float]] = []
        self._flushed = time.monotonic()

    def add(self, row: Mapping[str, float]) -> None:
        """Take the measures of a step, of which one is its number, `step`; a step that is known is left out.

        A run that resumes after an interruption logs all steps so far and repeats some, with the same result.
        """
        self._rows.append({**row, "time": time.time()})
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Log all steps so far; where MLflow does not answer, they wait."""
        from mlflow.exceptions import MlflowException

        self._flushed = time.monotonic()
        try:
            if self._last is None:
                self._last = int(self._client.get_run(self._run_id).data.metrics.get("step", -1))
            last = self._last
            self._rows = [row for row in self._rows if row["step"] > last]
            while self._rows:
                rows = self._at_once()
                metrics = [metric for row in rows for metric in _metrics(row)]
                self._client.log_batch(self._run_id, metrics=metrics)
                self._last = int(rows[-1]["step"])
                del self._rows[: len(rows)]
        except MlflowException as error:
            logger.warning("MLflow gets %d steps later: %s", len(self._rows), error)

    def _at_once(self) -> list[dict[str, float]]:
        """Take the next steps that fit into one request."""
        rows: list[dict[str, float]] = []
        count = 0
        for row in self._rows:
            count += len(row)
            if rows and count > METRICS_AT_ONCE:
                break
            rows.append(row)
        return rows


def _metrics(row: Mapping[str, float]) -> "Iterator[Any]":
    from mlflow.entities import Metric

    moment = int(1000 * row["time"])
    for name, value in row.items():
        if name != "time":
            yield Metric(name, float(value), moment, int(row["step"]))
