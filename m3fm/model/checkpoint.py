"""Checkpoints: a directory of safetensors, configuration, tasks and tokenizer; never a pickle."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors.torch import save_file
from tokenizers import Tokenizer

from m3fm.clinical.tasks import TASKS, Task
from m3fm.config.base import first_problem
from m3fm.config.model import ModelConfig
from m3fm.core.artifacts import check_files
from m3fm.core.errors import InputError
from m3fm.model.m3fm import M3FM
from m3fm.model.reference import load_reference
from m3fm.model.text import encoder_config, load_tokenizer
from m3fm.model.weights import read_weights, set_weights

__all__ = ["load", "load_model", "load_pretrained", "load_reference", "save_model", "write_config"]

WEIGHTS, CONFIG, TASK_TABLE = "model.safetensors", "config.json", "tasks.json"
MANIFEST = "checkpoint.json"
"""With the digest of every file; `save_model` alone writes none."""
Parsed = TypeVar("Parsed")


def load(directory: Path) -> tuple[M3FM, Tokenizer]:
    """Load a trained model in evaluation mode, and its tokenizer.

    Raises InputError naming tensors that the file lacks, or has beyond the model's.
    """
    return load_model(directory), load_tokenizer(directory)


def load_model(directory: Path) -> M3FM:
    """Load a model in evaluation mode, as `save_model` or training wrote it.

    Raises InputError naming the file that is missing, damaged, or, of those that training wrote, changed; and
    tensors that the weights lack, have beyond the model's, or have in another shape.
    """
    _check_unchanged(directory)
    config = load_config(directory)
    tasks = _parsed(directory / TASK_TABLE, TypeAdapter(list[Task], config=ConfigDict(extra="forbid")))
    _check_tasks(tasks, config, directory / TASK_TABLE)
    model = M3FM(config, {task.name: task for task in tasks})
    set_weights(model, read_weights(directory / WEIGHTS), str(directory / WEIGHTS))
    return model.eval()


def save_model(model: M3FM, directory: Path) -> None:
    """Write weights, configuration and tasks of a model to a directory; `load_model` reads them."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, directory / WEIGHTS)
    write_config(model.config, directory, model.tasks)


def load_pretrained(model: M3FM, directory: Path) -> None:
    """Set CTViT from a pretraining checkpoint; the rest of the model stays as it is."""
    _check_unchanged(directory)
    path = directory / WEIGHTS
    weights = {
        name.removeprefix("ctvit."): tensor
        for name, tensor in read_weights(path).items()
        if name.startswith("ctvit.")
    }
    set_weights(model.ctvit, weights, str(path))


def load_config(directory: Path) -> ModelConfig:
    """Load the configuration of a checkpoint's model."""
    return _parsed(directory / CONFIG, TypeAdapter(ModelConfig))


def transfer_weights(model: M3FM, directory: Path, new: Collection[str]) -> list[str]:
    """Set what a checkpoint has of a model of other tasks: an M3FM, or a pretrained CTViT; gives the names.

    Parameters whose names begin with one of `new` stay as they are: the heads of its tasks, the tokenizers of
    its new scales. What the checkpoint has beyond the model, heads and tokenizers of its own, is left.
    Raises InputError naming the tensors that it lacks, or has in another shape.
    """
    _check_unchanged(directory)
    path = directory / WEIGHTS
    found, own = read_weights(path), model.state_dict()
    pretrained_only = not any(name.startswith("task_encoder.") for name in found)
    taken = [
        name
        for name in own
        if not name.startswith(tuple(new)) and (name.startswith("ctvit.") or not pretrained_only)
    ]
    kept = {name: tensor for name, tensor in own.items() if name not in set(taken)}
    set_weights(model, {**kept, **{name: found[name] for name in taken if name in found}}, str(path))
    return taken


def write_config(config: ModelConfig, directory: Path, tasks: Mapping[str, Task] = TASKS) -> None:
    """Write configuration and tasks; what they take from local directories goes with them, not its place."""
    if config.text.pretrained is not None or config.text.tokenizer is not None:
        encoder = None if config.text.pretrained is None else encoder_config(config.text)
        changes = {"pretrained": None, "tokenizer": None, **({"encoder": encoder} if encoder else {})}
        config = config.model_copy(update={"text": config.text.model_copy(update=changes)})
    _write(directory / CONFIG, config.model_dump(mode="json"))
    _write(directory / TASK_TABLE, [asdict(task) for task in tasks.values()])


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _check_unchanged(directory: Path) -> None:
    if (directory / MANIFEST).is_file():
        check_files(directory)


def _parsed(path: Path, content: TypeAdapter[Parsed]) -> Parsed:
    try:
        return content.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}, {first_problem(error, ModelConfig)}") from error


def _check_tasks(tasks: list[Task], config: ModelConfig, path: Path) -> None:
    """Refuse a table in which two tasks have one name, or one has a scale that the model has not."""
    names = [task.name for task in tasks]
    if not tasks:
        raise InputError(f"{path} has no tasks")
    for task in tasks:
        if names.count(task.name) > 1:
            raise InputError(f"{path} has two tasks that are called {task.name}")
        if task.scale not in (None, *config.scales):
            raise InputError(
                f"{path}: task {task.name} is of scale {task.scale!r}, which {CONFIG} does not have"
            )
