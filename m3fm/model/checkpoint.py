"""Checkpoints: a directory of safetensors, configuration and tokenizer; never a pickle."""

import json
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer

from m3fm.config import ModelConfig
from m3fm.errors import InputError
from m3fm.model.m3fm import M3FM
from m3fm.model.text import load_tokenizer


def load(directory: Path) -> tuple[M3FM, Tokenizer]:
    """A trained model in evaluation mode, and its tokenizer.

    Raises InputError naming tensors that the file lacks, or has beyond the model's.
    """
    config = ModelConfig.model_validate_json((directory / "config.json").read_text())
    model = M3FM(config)
    load_weights(model, directory / "model.safetensors")
    return model.eval(), load_tokenizer(directory)


def load_weights(model: M3FM, path: Path) -> None:
    """Set every tensor of the model from a file that holds these and no others."""
    missing, unused = model.load_state_dict(load_file(path), strict=False)
    if missing or unused:
        raise InputError(f"{path} does not fit the model: missing {missing[:3]}, unused {unused[:3]}")


def load_pretrained(model: M3FM, directory: Path) -> None:
    """Set CTViT from a pretraining checkpoint; the rest of the model stays as it is."""
    weights = {
        name.removeprefix("ctvit."): tensor
        for name, tensor in load_file(directory / "model.safetensors").items()
        if name.startswith("ctvit.")
    }
    missing, unused = model.ctvit.load_state_dict(weights, strict=False)
    if missing or unused:
        raise InputError(f"{directory} does not fit CTViT: missing {missing[:3]}, unused {unused[:3]}")


def write_config(config: ModelConfig, directory: Path) -> None:
    """Write `config.json`; names of local directories stay behind, their content is in the checkpoint."""
    content = config.model_dump(mode="json")
    (directory / "config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
