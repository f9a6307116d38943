"""Task-parallel multitask training of M3FM."""

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
from m3fm.model.text import load_tokenizer, train_tokenizer
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


def train(dataset: Path, pretrained: Path | None, out: Path, run: RunConfig, place: Place) -> None:
    """Write a checkpoint directory of a trained M3FM, starting from a pretrained CTViT where one is given."""
    check_trainable(dataset)
    check_labelled(dataset, run.train.tasks or ())
    text = run.model.text
    if text.tokenizer is not None:
        tokenizer = load_tokenizer(text.tokenizer)
    else:
        tokenizer = train_tokenizer(corpus(run.train.optimizer.seed), text.vocabulary)
    as_text = tokenizer.to_str()
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
        dataset_facts(dataset),
    )
