"""Task-parallel multitask training of M3FM."""

import sys
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from m3fm.clinical.tasks import variant
from m3fm.config.sections import RunConfig
from m3fm.config.steps import TRAIN
from m3fm.core.artifacts import Reference
from m3fm.dataset.mqa import check_labelled, check_trainable, corpus, dataset_facts
from m3fm.model.checkpoint import load_pretrained, write_config
from m3fm.model.m3fm import M3FM
from m3fm.model.text import tokenizer_for
from m3fm.training.batches import Objective
from m3fm.training.launch import Place, fit_into
from m3fm.training.objective import Multitask


def _objective(dataset: Path, pretrained: Path | None, run: RunConfig, tokenizer: str) -> Objective:
    objective = Multitask(dataset, run, Tokenizer.from_str(tokenizer))
    if pretrained is not None:
        assert isinstance(objective.model, M3FM)
        load_pretrained(objective.model, pretrained)
    return objective


def _describe(run: RunConfig, tokenizer: str, directory: Path) -> None:
    write_config(run.model, directory, variant(run.train.tasks, run.train.modality))
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def text_warnings(run: RunConfig) -> list[str]:
    """Return what must be known of a model whose text transformer starts untrained, unlike the paper's."""
    if run.preset == "tiny" or run.train.modality == "image" or run.model.text.pretrained is not None:
        return []
    return [
        f"the text transformer of the preset {run.preset} starts from random weights, and the paper's from"
        " RoBERTa; set model.text.pretrained to a directory of its weights"
    ]


def train(dataset: Path, pretrained: Path | None, out: Path, run: RunConfig, place: Place) -> None:
    """Write a checkpoint directory of a trained M3FM, starting from a pretrained CTViT where one is given."""
    check_trainable(dataset)
    check_labelled(dataset, run.train.tasks or ())
    warnings = text_warnings(run)
    for warning in warnings:
        print(f"m3fm: train: warning: {warning}", file=sys.stderr, flush=True)
    as_text = tokenizer_for(run.model.text, lambda: corpus(run.train.optimizer.seed)).to_str()
    inputs = TRAIN.depends_on(
        run,
        dataset=Reference.to(dataset).digest,
        pretrained=None if pretrained is None else Reference.to(pretrained).digest,
    )
    fit_into(
        "training",
        out,
        inputs,
        partial(_objective, dataset.resolve(), pretrained and pretrained.resolve(), run, as_text),
        run.train.optimizer,
        run.launch,
        run.model_dump(mode="json", include={"preset", "model", "train", "launch"}),
        partial(_describe, run, as_text),
        place,
        {**dataset_facts(dataset), "warnings": warnings},
    )
