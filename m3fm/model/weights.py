"""Tensors into a model: all of them, and no others."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from m3fm.errors import InputError

NAMED = 5
"""How many tensors an error names; it counts the rest."""


@torch.no_grad()
def set_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Set every tensor of a module, in the precision that the module has.

    Raises InputError that names `source` and the tensors, where it lacks one, has one that the module has no
    place for, or has one of another shape; the module is then as it was.
    """
    own = module.state_dict()
    problems = {
        "lacks": sorted(own.keys() - weights.keys()),
        "has no use for": sorted(weights.keys() - own.keys()),
        "has in another shape than the model": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
            for name in sorted(own.keys() & weights.keys())
            if weights[name].shape != own[name].shape
        ],
    }
    found = [f"{what} {_listed(names)}" for what, names in problems.items() if names]
    if found:
        raise InputError(f"{source} does not fit the model: it {'; it '.join(found)}")
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
