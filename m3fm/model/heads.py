"""Predictors: two-layer MLPs from the task embedding to answers (paper, Methods: Predictors)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from m3fm.clinical.tasks import YEARS, Task
from m3fm.model.transformer import upcast


class Head(nn.Module):
    """Linear, GELU, LayerNorm, linear: one head, perhaps for several tasks of one answer shape."""

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x_BC: Tensor) -> Tensor:
        """Map task embeddings [B, C] to logits [B, outputs]."""
        return self.out(self.norm(F.gelu(self.dense(x_BC))))


def cumulative_logits(outputs_B7: Tensor, monotone: bool = True) -> Tensor:
    """Turn hazards into the logits [B, 6] of the risk within 1 to 6 years.

    The first six outputs are yearly hazards, the last one is the base. A hazard adds, so the risk never
    falls from one year to the next; where it need not be `monotone`, hazards may be negative.
    """
    hazards, base = outputs_B7[:, :YEARS], outputs_B7[:, YEARS:]
    return base + (F.softplus(hazards) if monotone else hazards).cumsum(dim=1)


def init_hazards(bias_7: Tensor) -> None:
    """Set the bias [7] to a low risk, and hazards where the softplus is not flat: else none is learnt."""
    nn.init.constant_(bias_7[:YEARS], -1.0)
    nn.init.constant_(bias_7[YEARS:], -2.0)


def probabilities(task: Task, logits: Tensor) -> Tensor:
    """Turn a task's logits into probabilities: [B, answers], or [B, 30] for three digits of ten."""
    match task.loss:
        case "softmax":
            return logits.softmax(dim=1)
        case "hazard":
            return logits.sigmoid()
        case "digits":
            return logits.view(-1, 3, 10).softmax(dim=2).flatten(1)


def task_loss(
    task: Task, logits: Tensor, label: Tensor, mask: Tensor, class_weights: Sequence[float] | None = None
) -> Tensor:
    """Mean loss of a batch: softmax cross-entropy, or sigmoid cross-entropy over the years that are known.

    `label` and `mask` are [B, 1] for a choice, [B, 6] for years, [B, 3] for digits. Of a choice, each
    sample's loss may be weighted by its answer; the mean is that over samples all the same, so it does not
    matter which samples come together.
    """
    logits = upcast(logits)
    match task.loss:
        case "softmax":
            answer = label[:, 0].long()
            if class_weights is None:
                return F.cross_entropy(logits, answer)
            weights = logits.new_tensor(class_weights)[answer]
            return (weights * F.cross_entropy(logits, answer, reduction="none")).mean()
        case "hazard":
            loss = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
            return (loss * mask).sum() / mask.sum().clamp(min=1.0)
        case "digits":
            return F.cross_entropy(logits.view(-1, 10), label.long().flatten())
