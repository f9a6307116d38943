"""What each parameter's learning rate and weight decay are (paper, Training details)."""

import math
from typing import Any

from torch import nn

from m3fm.config.sections import OptimizerConfig

BLOCKS = "ctvit.encoder.blocks."
"""How the names of the image encoder's parameters begin."""


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Compute linear warm-up, then half a cosine down to nothing; a function of the step alone."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Group parameters by weight decay (none for biases, norms and embeddings) and by depth.

    A block's learning rate is `layer_decay` times the next one's, from the heads down to the tokenizers.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = [int(name.split(BLOCKS)[1].split(".")[0]) for name, _ in named if BLOCKS in name]
    depth = max(blocks, default=-1) + 1
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        level = depth
        if "ctvit.tokenizers." in name:
            level = -1
        elif BLOCKS in name:
            level = int(name.split(BLOCKS)[1].split(".")[0])
        scale = config.layer_decay ** (depth - level)
        decay = config.weight_decay if parameter.ndim > 1 and "position" not in name else 0.0
        group = groups.setdefault((scale, decay), {"params": [], "scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())
