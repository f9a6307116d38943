"""Registered bundles, by the name of their model and a version or an alias."""

import os
from pathlib import Path

from m3fm.core.errors import InputError
from m3fm.core.state import State
from m3fm.tracking.registry import Registry, Version


def pull(model: str, out: Path | str | None = None, state: Path | str | None = None) -> Path:
    """Download a registered bundle, check every file of it, and return its directory.

    `model` is NAME (the newest version), NAME/VERSION or NAME@ALIAS. Without `out` the bundle is kept below
    `state` (default: $M3FM_STATE, else .m3fm in the current directory), and downloaded once. Raises
    InputError where the registry, the model or the version does not exist, or a file is damaged.
    """
    home = State.default() if state is None else State(Path(state))
    registry = open_registry(home)
    name, version = find(registry, model)
    target = home.root / "bundles" / name / version if out is None else Path(out)
    if out is not None or not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        registry.pull(name, version, target)
    return target


def pull_to(model: str, out: Path, state: State) -> Version:
    """Download a registered bundle to a new directory; return the version that it is."""
    registry = open_registry(state)
    return registry.pull(*find(registry, model), out)


def open_registry(state: State) -> Registry:
    """Open the registry of $MLFLOW_TRACKING_URI, or the one below `state`; raise InputError where none is."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (state.root / "mlflow" / "mlflow.db").is_file():
        raise InputError(
            f"{state.root} holds no registry: name the directory of the run with --state, or set"
            " MLFLOW_TRACKING_URI to the address of one"
        )
    return Registry.of(state.root)


def find(registry: Registry, model: str) -> tuple[str, str]:
    """Return the name and the version number of NAME, NAME/VERSION, NAME@ALIAS, or models:/ before it."""
    name, _, version = model.removeprefix("models:/").replace("@", "/").partition("/")
    found = registry.versions(name)
    if not found:
        names = ", ".join(registry.models()) or "none; register one with `m3fm register`"
        raise InputError(f"the registry has no model {name!r}; it has {names}")
    if not version:
        return name, str(found[0]["version"])
    for one in found:
        if version == one["version"] or version in one["aliases"]:
            return name, str(one["version"])
    known = ", ".join(" ".join([one["version"], *(f"@{alias}" for alias in one["aliases"])]) for one in found)
    raise InputError(f"model {name!r} has no version or alias {version!r}: it has {known}")
