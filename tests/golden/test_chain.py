"""What a small cohort becomes from end to end: a change of any table, volume or measure shows in a diff.

Simulated, curated, pretrained on, trained on and evaluated as params.yaml says; compared with chain.json.
Digests are of values, floats to six digits, so they do not depend on a version of Parquet, pydicom or NumPy.
Training is in this process on one thread, from weights that NumPy draws, because those of torch differ from
machine to machine. What the kernels of one CPU and of another differ in is below the tolerances.
After an intended change: `make golden`, then read the diff.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from m3fm.cohort.source import open_source
from m3fm.config.presets import load
from m3fm.config.sections import LaunchConfig, OptimizerConfig
from m3fm.core.artifacts import read_manifest
from m3fm.dataset.curate import curate
from m3fm.dataset.tables import SCHEMAS
from m3fm.dataset.validate import validate
from m3fm.evaluation.evaluate import headline, summarise
from m3fm.evaluation.predict import predict
from m3fm.simulate import simulate
from m3fm.training import launch, loop
from m3fm.training.batches import Objective
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.multitask import train
from m3fm.training.pretrain import pretrain

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
FILE = HERE / "chain.json"
AUC_TOLERANCE, LOSS_TOLERANCE = 0.001, 0.002


def digest_of(values: object) -> str:
    """Return the first half of the SHA-256 of values, floats to six digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return f"{value:.6g}"
        if isinstance(value, dict):
            return {key: rounded(one) for key, one in value.items()}
        return [rounded(one) for one in value] if isinstance(value, list) else value

    return hashlib.sha256(json.dumps(rounded(values), sort_keys=True).encode()).hexdigest()[:32]


def draw_weights(module: torch.nn.Module) -> None:
    """Set every parameter by NumPy, as a new layer would be: weights small, gains of norms at 1."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                drawn = rng.normal(0, 0.5 / max(1, parameter[0].numel()) ** 0.5, parameter.shape)
                parameter.copy_(torch.from_numpy(drawn))


@contextmanager
def without_ray() -> Iterator[None]:
    """Let trainings run in this process, on one thread, from weights that NumPy draws."""

    def fit(
        what: str,
        build: Callable[[], Objective],
        config: OptimizerConfig,
        settings: LaunchConfig,
        checkpoints: Checkpoints,
        mlflow: object = None,
    ) -> None:
        objective = build()
        draw_weights(objective.model)
        worker = loop.Worker(0, 1, torch.device("cpu"), checkpoints, lambda row, durable: None)
        loop.train(objective, config, settings, worker)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "fit", fit)
        yield
    torch.set_num_threads(threads)


def losses(checkpoint: Path) -> dict[str, float]:
    """Return the losses of the last step of a training."""
    row = json.loads((checkpoint / "history.jsonl").read_text().splitlines()[-1])
    names = [name for name in row if name not in launch.NO_LOSSES]
    return {name: round(row[name], 3) for name in sorted(names)}


def run_chain(root: Path) -> dict[str, Any]:
    """Run all steps below `root`; return what is compared."""
    run = load(HERE / "params.yaml")
    cohort, dataset, pretrained, checkpoint = (root / name for name in ("cohort", "dataset", "ctvit", "m3fm"))
    simulate(cohort, run.simulate, workers=1)
    curate(open_source("nlst", cohort, run.curate.labels), dataset, run.curate, workers=1)
    validate(dataset, root / "validation")
    with without_ray():
        pretrain(dataset, pretrained, run, launch.Place())
        train(dataset, pretrained, checkpoint, run, launch.Place())
        measured = headline(summarise(predict(checkpoint, dataset, "test"), run.evaluate))
    tables = {name: pq.read_table(dataset / f"{name}.parquet").to_pylist() for name in SCHEMAS}
    csv = {path.name: path.read_text() for path in sorted((cohort / "tables").glob("*.csv"))}
    return {
        "cohort": {
            "counts": read_manifest(cohort)["counts"],
            "tables": {name: digest_of(text) for name, text in csv.items()},
        },
        "counts": read_manifest(dataset)["counts"],
        "tables": {name: {"rows": len(rows), "digest": digest_of(rows)} for name, rows in tables.items()},
        "series": {row["series"]: row["reason"] or row["digest"][:32] for row in tables["series"]},
        "losses": {"pretrain": losses(pretrained), "train": losses(checkpoint)},
        "auc": {task: None if pd.isna(auc) else round(auc, 3) for task, auc in measured["AUC"].items()},
    }


def as_text(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    return json.loads(as_text(run_chain(tmp_path_factory.mktemp("chain"))))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads(FILE.read_text())


@pytest.mark.parametrize("part", ["cohort", "counts", "tables", "series"])
def test_data_are_as_they_were(found, expected, part):
    assert found[part] == expected[part]


@pytest.mark.parametrize("step", ["pretrain", "train"])
def test_losses_are_as_they_were(found, expected, step):
    assert found["losses"][step] == pytest.approx(expected["losses"][step], abs=LOSS_TOLERANCE, rel=1e-3)


def test_aucs_are_as_they_were(found, expected):
    assert found["auc"] == pytest.approx(expected["auc"], abs=AUC_TOLERANCE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        FILE.write_text(as_text(run_chain(Path(root))))
