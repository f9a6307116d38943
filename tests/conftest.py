"""Kinds of tests and their marks.

- Unmarked tests run in this process, in seconds, on what they write themselves: most of them.
- `integration`: starts Ray, KFP, MLflow, an ONNX export, workers or commands, or computes for long: simulates
  a cohort, compiles, trains. A test that uses one of STARTING_FIXTURES gets the mark here; any other such
  test carries it. Without the mark, starting Ray, KFP, MLflow or an export fails.
- `slow`: takes minutes, such as killed trainings and the whole pipeline.

`make test-fast` runs the unmarked tests, `make test` all but the slow ones, `make test-slow` the slow ones.
`make golden` writes the files anew that tests/golden compares the whole chain with.

Helpers lie beside the tests that use them. `written_dataset.py` writes datasets for all: without images to
simulate and curate, and with everything that `m3fm validate` asks for.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

# Small models are slower on several threads, and far slower where these share busy cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test fails for being slow: on a busy machine anything can be.
settings.register_profile("m3fm", deadline=None)
settings.load_profile("m3fm")

STARTING_FIXTURES = {"bundle", "cluster", "curated", "runs"}
"""Fixtures that start Ray or export a bundle."""
STARTERS = {
    "ray": ("init", "Ray"),
    "kfp.local": ("init", "KFP"),
    "torch.onnx": ("export", "an ONNX export"),
    "mlflow.tracking.client": ("MlflowClient", "MLflow"),
}
"""By module, what a test without the mark must not call, and what that would start."""
NO_RAY = "pytest.mark.integration:is-missing"
"""Address of no cluster: processes that an unmarked test starts must not start Ray either."""

_unmarked: str | None = None
"""The running test, where it does not carry the mark."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STARTING_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _unmarked
    _unmarked = (
        None if item.get_closest_marker("integration") or item.get_closest_marker("slow") else item.nodeid
    )
    address = os.environ.get("RAY_ADDRESS")
    if _unmarked:
        os.environ["RAY_ADDRESS"] = NO_RAY
    try:
        return (yield)
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        if address is not None:
            os.environ["RAY_ADDRESS"] = address
        _unmarked = None


def refuse_without_mark(what: str) -> None:
    """Fail the running test if it does not carry the mark."""
    if _unmarked:
        pytest.fail(f"{_unmarked} starts {what} without the mark integration: add @pytest.mark.integration")


class _Guard(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules of STARTERS, and lets their starters refuse tests without the mark."""

    def __init__(self) -> None:
        self.loaders: dict[str, importlib.abc.Loader] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in STARTERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            self.loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loaders[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        loader = self.loaders[module.__name__]
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = loader
        loader.exec_module(module)
        name, what = STARTERS[module.__name__]
        starter = getattr(module, name)
        if isinstance(starter, type):
            starter.__init__ = _guarded(starter.__init__, what)  # type: ignore[misc]
        else:
            setattr(module, name, _guarded(starter, what))


def _guarded(starter: Any, what: str) -> Any:
    @functools.wraps(starter)
    def start(*args: Any, **kwargs: Any) -> Any:
        refuse_without_mark(what)
        return starter(*args, **kwargs)

    return start


sys.meta_path.insert(0, _Guard())
