"""The losses of the first 20 steps, for each scale and for MAE: a change of any number is seen.

Computed in float64 from weights and inputs that NumPy draws, so that they do not depend on the machine: what
the kernels of one CPU and of another differ in is far below the digits that are compared.
After an intended change: `python tests/model/test_golden.py` writes them anew.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import OF_SCALE, RUN, draw_weights, inputs
from torch import Tensor, nn

from m3fm.clinical.tasks import TASKS
from m3fm.model.heads import task_loss
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE

FILE = Path(__file__).with_name("golden.json")
STEPS = 20
DIGITS = 10


def losses(module: nn.Module, loss: Callable[[int], Tensor]) -> list[str]:
    draw_weights(module)
    module.double().train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    found = []
    for step in range(STEPS):
        optimizer.zero_grad()
        value = loss(step)
        value.backward()
        optimizer.step()
        found.append(f"{value.item():.{DIGITS - 1}e}")
    return found


def double(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}


def multitask(scale: str) -> list[str]:
    model, task = M3FM(RUN.model), TASKS[OF_SCALE[scale]]
    rng = np.random.default_rng(7)
    years = task.loss == "hazard"
    labels = torch.from_numpy(rng.integers(0, 2, (STEPS, 2, 6 if years else 1))).double()

    def loss(step: int) -> Tensor:
        output = model(task.name, **double(inputs(task.name, seed=step)))
        asked = torch.full((2,), list(TASKS).index(task.name))
        identity = nn.functional.cross_entropy(output.task_logits, asked)
        return task_loss(task, output.logits, labels[step], torch.ones_like(labels[step])) + identity

    return losses(model, loss)


def mae() -> list[str]:
    module = MAE(M3FM(RUN.model).ctvit, RUN.pretrain, RUN.model.width)
    scales = list(RUN.model.scales.items())

    def loss(step: int) -> Tensor:
        name, scale = scales[step % len(scales)]
        rng = np.random.default_rng(step)
        images = torch.from_numpy(rng.uniform(-1, 1, (2, 1, *scale.shape)))
        size, noise = rng.uniform(1, 2, (2, 3)), rng.random((2, int(np.prod(scale.grid))))
        slices = torch.tensor([step % scale.grid[0]])
        return module(name, images, torch.from_numpy(size), torch.from_numpy(noise), slices)

    return losses(module, loss)


def everything() -> dict[str, list[str]]:
    return {**{scale: multitask(scale) for scale in OF_SCALE}, "mae": mae()}


@pytest.mark.parametrize("name", [*OF_SCALE, "mae"])
def test_the_first_losses_are_as_they_were(name):
    found = mae() if name == "mae" else multitask(name)
    assert found == json.loads(FILE.read_text())[name]


if __name__ == "__main__":
    FILE.write_text(json.dumps(everything(), indent=1) + "\n")
