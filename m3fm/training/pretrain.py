"""Self-supervised pretraining of CTViT on every volume outside the test set."""

from functools import partial
from pathlib import Path

from m3fm.config.sections import RunConfig
from m3fm.config.steps import PRETRAIN
from m3fm.core.artifacts import Reference
from m3fm.dataset.mqa import check_trainable, dataset_facts
from m3fm.model.checkpoint import write_config
from m3fm.training.batches import Objective
from m3fm.training.launch import Place, fit_into
from m3fm.training.objective import Pretraining


def _objective(dataset: Path, run: RunConfig) -> Objective:
    return Pretraining(dataset, run)


def pretrain(dataset: Path, out: Path, run: RunConfig, place: Place) -> None:
    """Write a checkpoint directory with pretrained CTViT weights (and the MAE decoder's)."""
    check_trainable(dataset)
    inputs = PRETRAIN.depends_on(run, dataset=Reference.to(dataset).digest)
    fit_into(
        "pretraining",
        out,
        inputs,
        partial(_objective, dataset.resolve(), run),
        run.pretrain.optimizer,
        run.launch,
        run.model_dump(mode="json", include={"preset", "model", "pretrain", "launch"}),
        partial(write_config, run.model),
        place,
        dataset_facts(dataset),
    )
