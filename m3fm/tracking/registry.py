"""The registry: runs, metrics and registered models in MLflow, and bundles out of it.

A registered version carries a lineage record that is joined by digests: what code, data and configuration
it was made of, and the digest of every file of its bundle. The record has a digest of its own, and there is
one run and one version for it. Every stage of `register` finds what an interrupted call left and continues;
the version is made last, in one transaction with its tags, so whatever has a version is complete.

MLflow is reached through its client: nothing of a model is pickled, a bundle is a directory of artifacts.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3fm.core import telemetry
from m3fm.core.artifacts import Reference, read_manifest
from m3fm.core.errors import InputError
from m3fm.core.files import text_digest, to_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "m3fm"
TAG = "m3fm."
"""Before the name of each of our tags."""
RECORD = ("git_commit", "dvc_digest", "config_digest", "pipeline_run")
"""What the caller's part of a lineage record holds."""
NOT_IDENTITY = ("pipeline_run",)
"""Says who made it, not what it was made of: a pipeline that is started again is a new run of the same."""
PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000
"""MLflow takes no more in one request."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version of a model."""

    name: str
    version: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Registry:
    """An MLflow, known by its tracking URI alone: nothing of it stands in this process's environment."""

    uri: str

    @classmethod
    def of(cls, state: Path) -> "Registry":
        """Open the registry of $MLFLOW_TRACKING_URI, else sqlite under `state`, which is made ready.

        Artifacts are kept under `state`, or by the server if there is one.
        """
        telemetry.switch_off()
        home = state.resolve() / "mlflow"
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            home.mkdir(parents=True, exist_ok=True)
            _make_database(home / "mlflow.db")
            uri = f"sqlite:///{home / 'mlflow.db'}"
        registry = cls(uri)
        if registry.client.get_experiment_by_name(EXPERIMENT) is None:
            # Without a place of its own an experiment would write its artifacts to the working directory.
            served = uri.startswith(("http://", "https://"))
            registry.client.create_experiment(EXPERIMENT, None if served else (home / "artifacts").as_uri())
        return registry

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own client."""
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it reports every new table
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def register(
        self,
        bundle: Path,
        evaluation: Path,
        lineage: Mapping[str, str],
        name: str,
        histories: Mapping[str, Path],
        params: Mapping[str, Any],
    ) -> Version:
        """Log one run and register its bundle as a version of the model `name`; do nothing a second time.

        `lineage` holds the entries of RECORD. `histories` names tables of training losses (JSON lines with
        `step`), each logged as NAME/COLUMN by step. `params` may be nested. Killed at any moment and called
        again, it completes the same run and makes one version.
        Raises InputError for an incomplete lineage or a damaged bundle or evaluation.
        """
        missing = [key for key in RECORD if not lineage.get(key)]
        if missing:
            raise InputError(f"the lineage of {bundle} lacks {', '.join(missing)}: a version needs all of it")
        reference = Reference.to(bundle)
        reference.resolve()
        Reference.to(evaluation).resolve()
        record = {**lineage, "bundle": reference.digest}
        digest = text_digest(to_json({key: record[key] for key in record if key not in NOT_IDENTITY}))
        client = self.client
        found = _registered(client, name, digest)
        if found is None:
            run_id = _logged_run(client, digest, record, bundle, evaluation, histories, params)
            found = _new_version(client, name, digest, {**record, "mlflow_run": run_id}, bundle)
        return Version(name, str(found.version), found.run_id)

    def pull(self, name: str, version: str, out: Path) -> Version:
        """Download the bundle of a version, given by number or alias, to `out`; check every file's SHA-256.

        Raises InputError, and leaves nothing, for an unknown version or a file that differs.
        """
        if out.exists():
            raise InputError(f"{out} already exists; remove it, or pull to another directory")
        found = _find(self.client, name, version)
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            self._download(found, partial).rename(out)
        finally:
            shutil.rmtree(partial)
        return Version(name, str(found.version), found.run_id)

    def models(self) -> list[str]:
        """List the names of the registered models."""
        return sorted(found.name for found in self.client.search_registered_models())

    def versions(self, name: str) -> list[dict[str, Any]]:
        """List the versions of a model, newest first: version, aliases, run_id, lineage, files."""
        client = self.client
        numbers = [found.version for found in client.search_model_versions(f"name = '{name}'")]
        return [
            _described(client.get_model_version(name, number))
            for number in sorted(numbers, key=int, reverse=True)
        ]

    def _download(self, found: "ModelVersion", directory: Path) -> Path:
        """Download the version's bundle to `directory`; every file has its registered digest."""
        from mlflow.artifacts import download_artifacts

        label = f"version {found.version} of model {found.name!r}"
        digest = found.tags.get(f"{TAG}bundle")
        if digest is None:
            raise InputError(
                f"{label} was not registered by m3fm: it has no digest to check its files against"
            )
        uri = self.client.get_model_version_download_uri(found.name, found.version)
        bundle = Path(download_artifacts(uri, dst_path=str(directory), tracking_uri=self.uri))
        try:
            return Reference(bundle, digest).resolve()
        except InputError as error:
            raise InputError(
                f"{label} is damaged and was not kept; pull or register it again ({error})"
            ) from error


def _make_database(path: Path) -> None:
    """Make MLflow's database, if it is not there; whole, as MLflow cannot use one that it has half made."""
    if path.exists():
        return
    from mlflow import MlflowClient

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    # A link, unlike a renaming, never takes the place of what another process has made meanwhile.
    with contextlib.suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()


def _registered(client: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    """Return the version that was registered for a lineage, if any."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{TAG}lineage` = '{digest}'")
    return found[0] if found else None


def _logged_run(
    client: "MlflowClient",
    digest: str,
    record: Mapping[str, str],
    bundle: Path,
    evaluation: Path,
    histories: Mapping[str, Path],
    params: Mapping[str, Any],
) -> str:
    """Log the run of a lineage and finish it; logging it again changes nothing."""
    from mlflow.entities import DatasetInput, Param

    run = _run(client, digest, record)
    run_id, moment = run.info.run_id, run.info.start_time
    values = [Param(key, str(value)) for key, value in flat(params)]
    for start in range(0, len(values), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=values[start : start + PARAMS_AT_ONCE])
    metrics = [*_evaluation_metrics(evaluation, moment), *_history_metrics(histories, moment)]
    for start in range(0, len(metrics), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
    client.log_inputs(run_id, [DatasetInput(_dataset(record["dvc_digest"]))])
    client.log_artifacts(run_id, str(bundle), "bundle")
    client.log_artifacts(run_id, str(evaluation), "evaluation")
    client.set_terminated(run_id, "FINISHED")
    return str(run_id)


def _run(client: "MlflowClient", digest: str, record: Mapping[str, str]) -> Any:
    """Return the run of a lineage; the first call makes it."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    found = client.search_runs([experiment], f"tags.`{TAG}lineage` = '{digest}'", max_results=1)
    if found:
        return found[0]
    tags = {**_tags(digest, record), "mlflow.source.git.commit": record["git_commit"]}
    return client.create_run(experiment, tags=tags, run_name=f"lineage-{digest[:8]}")


def _new_version(
    client: "MlflowClient", name: str, digest: str, record: Mapping[str, str], bundle: Path
) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run_id = record["mlflow_run"]
    files = json.dumps(read_manifest(bundle)["files"], sort_keys=True)
    return client.create_model_version(
        name,
        f"runs:/{run_id}/bundle",
        run_id,
        tags={**_tags(digest, record), f"{TAG}files": files},
        await_creation_for=0,
    )


def _tags(digest: str, record: Mapping[str, str]) -> dict[str, str]:
    return {f"{TAG}lineage": digest, **{f"{TAG}{key}": value for key, value in record.items()}}


def _described(found: "ModelVersion") -> dict[str, Any]:
    tags = {key.removeprefix(TAG): value for key, value in found.tags.items() if key.startswith(TAG)}
    return {
        "version": str(found.version),
        "aliases": sorted(found.aliases),
        "run_id": found.run_id,
        "files": json.loads(tags.pop("files", "{}")),
        "lineage": tags,
    }


def _find(client: "MlflowClient", name: str, version: str) -> "ModelVersion":
    """Find the version with a number or an alias."""
    from mlflow.exceptions import MlflowException

    try:
        if version.isdigit():
            return client.get_model_version(name, version)
        return client.get_model_version_by_alias(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"model {name!r} has no version or alias {version!r}: see `m3fm info`") from error


def _dataset(dvc_digest: str) -> Any:
    """Describe the dataset for MLflow: its DVC digest, and no data."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    # MLflow takes 36 characters: the hash without DVC's "md5:" and ".dir".
    short = dvc_digest.removeprefix("md5:").removesuffix(".dir")[:36]
    source = CodeDatasetSource({"dvc": dvc_digest})
    return MetaDataset(source, name="m3fm", digest=short)._to_mlflow_entity()


def _evaluation_metrics(evaluation: Path, moment: int) -> "Iterator[Metric]":
    """Collect the AUC (or exact match) of each evaluated task, and its interval's ends."""
    from mlflow.entities import Metric

    for row in read_manifest(evaluation)["table"]:
        if not row["headline"] or row["auc"] is None:
            continue
        measure = row["metric"].lower().replace(" ", "_")
        for key, value in ((measure, row["auc"]), ("low", row["low"]), ("high", row["high"])):
            yield Metric(f"{row['task']}/{key}", value, moment, 0)


def _history_metrics(histories: Mapping[str, Path], moment: int) -> "Iterator[Metric]":
    """Collect the columns of each history by step."""
    from mlflow.entities import Metric

    for name, path in histories.items():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            step = int(row.pop("step"))
            for column, value in row.items():
                yield Metric(f"{name}/{column}", float(value), moment, step)


def flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested parameters to pairs of a dotted name and a value."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
