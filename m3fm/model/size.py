"""How many parameters a model has, part by part."""

from itertools import chain

import torch
from torch import nn

from m3fm.config.model import ModelConfig
from m3fm.model.m3fm import M3FM


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Count the parameters of each part of M3FM, and their sum; no memory is taken for them.

    The linear maps to the task encoder's width belong to the image encoder and to the text transformer, as in
    the paper (Methods: CTViT, Text transformer).
    """
    with torch.device("meta"):
        model = M3FM(config)
    parts: dict[str, list[nn.Module]] = {
        "image tokenizers": [model.ctvit.tokenizers],
        "image encoder": [model.ctvit.encoder, model.image_to_task],
        "text transformer": [model.text, model.text_to_task, model.question_to_task],
        "task encoder": [model.task_encoder],
        "heads": [model.heads],
        "Task ID predictor": [] if model.task_id is None else [model.task_id],
    }
    counts = {
        name: sum(parameter.numel() for parameter in chain(*(part.parameters() for part in modules)))
        for name, modules in parts.items()
    }
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(counts.values()) == total, "a parameter belongs to no part, or to two"
    return {**counts, "total": total}
