"""Versions of datasets, kept by DVC."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from m3fm.core import telemetry
from m3fm.core.errors import InputError


def version(dataset: Path, repository: Path) -> str:
    """Add a dataset to DVC's cache, and return its version "md5:<hash>.dir", as `dvc add` would.

    `repository` is a directory that contains the dataset; it becomes a DVC repository if it is not one yet.
    The files are linked to the cache, not copied, and become read-only. Adding the same dataset again costs
    nothing, and `dvc checkout` restores a deleted one.

    Raises InputError where the dataset is outside the repository.
    """
    dataset, repository = dataset.resolve(), repository.resolve()
    if not dataset.is_relative_to(repository):
        raise InputError(f"{dataset} is not in {repository}: DVC versions only what its repository contains")
    with _machine_settings_in(repository / ".dvc" / "machine"):
        from dvc.repo import Repo

        if not (repository / ".dvc" / "config").is_file():
            Repo.init(str(repository), no_scm=True, force=True).close()
        with Repo(str(repository)) as repo, repo.config.edit() as config:
            config["core"]["analytics"] = False
            config["cache"].setdefault("type", ["hardlink", "copy"])
        with Repo(str(repository)) as repo:
            (stage,) = repo.add([str(dataset)])
            return str(stage.outs[0].hash_info).replace(" ", "")


@contextlib.contextmanager
def _machine_settings_in(directory: Path) -> Iterator[None]:
    """Keep DVC from reading or writing settings and caches elsewhere, and from sending telemetry."""
    names = ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")
    before = {name: os.environ.get(name) for name in (*names, *telemetry.OFF)}
    os.environ.update({name: str(directory / name.lower()) for name in names})
    telemetry.switch_off()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
