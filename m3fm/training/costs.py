"""What a sample costs at each scale: as measured, or by its operations where nothing was. Without torch."""

from collections.abc import Mapping
from math import prod
from statistics import median

from m3fm.config.sections import TEXT, RunConfig


def pretraining_costs(run: RunConfig) -> dict[str, float]:
    """Return the seconds of one crop in pretraining, by scale."""
    return _known_or_derived(run.launch.costs.pretrain, pretraining_operations(run))


def task_costs(run: RunConfig) -> dict[str, float]:
    """Return the seconds of one sample in multitask training, by scale, and TEXT without an image."""
    return _known_or_derived(run.launch.costs.train, task_operations(run))


def _known_or_derived(measured: Mapping[str, float], operations: Mapping[str, float]) -> dict[str, float]:
    """Return measured costs; for other scales, their operations at the measured rate."""
    rates = [measured[name] / count for name, count in operations.items() if name in measured]
    rate = median(rates) if rates else 1.0
    return {name: measured.get(name, rate * count) for name, count in operations.items()}


def pretraining_operations(run: RunConfig) -> dict[str, float]:
    """Count the transformers' floating-point operations in one forward pass of the MAE, by scale."""
    model, mae = run.model, run.pretrain
    counts = {}
    for name, scale in model.scales.items():
        seen = round(prod(scale.grid) * (1 - mae.mask_ratio)) + 1
        wanted = prod(scale.grid[1:]) * min(mae.loss_token_slices, scale.grid[0])
        counts[name] = _transformer(seen, model.width, model.depth)
        counts[name] += _transformer(seen + wanted, mae.decoder_width, mae.decoder_depth)
    return counts


def task_operations(run: RunConfig) -> dict[str, float]:
    """Count those of M3FM with the longest texts and a micro-batch's further questions."""
    model, text = run.model, run.model.text
    reading = _transformer(text.max_tokens, text.width, text.depth)
    question = _transformer(text.max_question_tokens, text.width, text.depth)
    counts = {}
    for name in (*model.scales, None):
        patches = 0 if name is None else prod(model.scales[name].grid) + 1
        tokens = 1 + model.registers + patches + text.max_tokens
        questions = 1 + run.train.task_id_questions / run.train.together(name)
        counts[name or TEXT] = reading + question * questions
        counts[name or TEXT] += _transformer(patches, model.width, model.depth)
        counts[name or TEXT] += _transformer(tokens, model.width, model.task_depth)
    return counts


def _transformer(tokens: int, width: int, depth: int) -> float:
    """Count the products of blocks (24 C^2 a token) and their attention (4 N C a token)."""
    return float(depth * tokens * (24 * width**2 + 4 * tokens * width))
