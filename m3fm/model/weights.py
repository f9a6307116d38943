"""Tensors into a model: all of them, and no others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from m3fm.core.errors import InputError

NAMED = 5
"""How many tensors an error names; it counts the rest."""


def read_weights(path: Path) -> Any:
    """Read a `.safetensors` or `.pth` file; a pickle that holds more than tensors is not opened."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # a damaged pickle can raise any
        raise InputError(
            f"{path} holds more than tensors, is damaged, or is not a file of weights"
        ) from error


def check_weights(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Refuse weights that are not those expected, given by name and shape [...].

    Raises InputError that names `source` and the tensors, where it lacks one, has one too many, or has one of
    another shape, of numbers that are not real, or with a number that is not finite.
    """
    both = sorted(expected.keys() & found.keys())
    real = [name for name in both if found[name].is_floating_point()]
    problems = {
        "lacks": sorted(expected.keys() - found.keys()),
        "has no use for": sorted(found.keys() - expected.keys()),
        "has in another shape than the model": [
            f"{name} {tuple(found[name].shape)} instead of {expected[name]}"
            for name in both
            if tuple(found[name].shape) != expected[name]
        ],
        "has other than real numbers in": [name for name in both if name not in real],
        "has numbers that are not finite in": [name for name in real if not found[name].isfinite().all()],
    }
    said = [f"{what} {listed(names)}" for what, names in problems.items() if names]
    if said:
        raise InputError(f"{source} does not fit the model: it {'; it '.join(said)}")


@torch.no_grad()
def set_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Set every tensor [...] of a module, in the precision that the module has.

    Raises the InputError of `check_weights`; the module is then as it was.
    """
    own = module.state_dict()
    check_weights(weights, {name: tuple(tensor.shape) for name, tensor in own.items()}, source)
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def listed(names: list[str]) -> str:
    """List the first few names, and how many there are beside them."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
