"""Inputs for a tiny model: drawn, and the same on every machine."""

import numpy as np
import torch
from torch import Tensor

from m3fm.presets import preset
from m3fm.tasks import TASKS

RUN = preset("tiny")
OF_SCALE = {
    "nodule": "nodule_size",
    "heart": "cvd_mortality",
    "lung_cancer": "lung_cancer_risk",
    "both_lungs": "emphysema",
}
"""A task of each scale."""


def inputs(task: str, batch: int = 2, length: int = 12, seed: int = 1) -> dict[str, Tensor]:
    """The arguments of `M3FM.forward` for a task, float32."""
    rng = np.random.default_rng(seed)
    ids = torch.from_numpy(rng.integers(5, 900, (batch, length)))
    found = {
        "text_ids": ids,
        "text_mask": torch.ones_like(ids),
        "question_ids": ids[:, :6],
        "question_mask": torch.ones_like(ids[:, :6]),
    }
    scale = TASKS[task].scale
    if scale is not None:
        shape = RUN.model.scales[scale].shape
        found["images"] = torch.from_numpy(rng.uniform(-1, 1, (batch, 1, *shape)).astype(np.float32))
        found["voxel_size"] = torch.from_numpy(rng.uniform(1, 2, (batch, 3)).astype(np.float32))
    if scale == "nodule":
        found["lung_mask"] = torch.zeros(batch, *shape, dtype=torch.bool)
        found["lung_mask"][:, :, 8:40, 8:32] = True
    return found


@torch.no_grad()
def draw_weights(module: torch.nn.Module, seed: int = 0) -> None:
    """Set every parameter by NumPy, whose draws are the same on every machine; torch's are not."""
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        scale = 0.5 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        drawn = torch.from_numpy(rng.normal(0, scale, parameter.shape))
        parameter.copy_(drawn + (1.0 if parameter.ndim == 1 and parameter.mean() == 1 else 0.0))
