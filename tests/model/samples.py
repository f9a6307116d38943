"""Inputs for a tiny model: drawn, and the same on every machine."""

import numpy as np
import torch
from torch import Tensor

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset

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


def authors_state_dict(heads: dict[str, int], seed: int = 0) -> dict[str, Tensor]:
    """A tiny state dict with the names and shapes of the authors' code, its heads of so many outputs."""
    generator = torch.Generator().manual_seed(seed)
    width, text, hidden, vocabulary, positions = 24, 16, 20, 40, 30
    found: dict[str, Tensor] = {}

    def draw(name: str, *shape: int) -> None:
        found[name] = torch.randn(shape, generator=generator) * 0.2

    def linear(name: str, outputs: int, inputs: int) -> None:
        draw(f"{name}.weight", outputs, inputs)
        draw(f"{name}.bias", outputs)

    def norm(name: str, size: int) -> None:
        draw(f"{name}.weight", size)
        draw(f"{name}.bias", size)

    draw("task_registers", 1, 3, width)
    for number, (d, h, w) in enumerate([(2, 4, 6), (4, 6, 4), (4, 4, 6)], 1):
        tokenizer = f"img_tokenizer.tokenizer_({d}, {h}, {w})"
        draw(f"{tokenizer}.cls_token", 1, 1, width)
        draw(f"{tokenizer}.pos_embed_class", 1, 1, width)
        draw(f"{tokenizer}.pos_embed_slice", 1, d // 2, width)
        draw(f"{tokenizer}.pos_embed_spatial", 1, h * w // 4, width)
        draw(f"{tokenizer}.patch_embed.proj.weight", width, 1, 2, 2, 2)
        draw(f"{tokenizer}.patch_embed.proj.bias", width)
        for part in ("weight", "bias"):
            found[f"img_tokenizer.conv{number}.{part}"] = found[f"{tokenizer}.patch_embed.proj.{part}"]
    for encoder, depth in (("encoder_img", 2), ("task_attention", 1)):
        for block in (f"{encoder}.blocks.{number}" for number in range(depth)):
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
            for part in ("q", "k", "v", "proj"):
                linear(f"{block}.attn.{part}", width, width)
            linear(f"{block}.mlp.fc1", 4 * width, width)
            linear(f"{block}.mlp.fc2", width, 4 * width)
        norm(f"{encoder}.norm", width)
    draw("encoder_txt.embeddings.word_embeddings.weight", vocabulary, text)
    draw("encoder_txt.embeddings.position_embeddings.weight", positions, text)
    draw("encoder_txt.embeddings.token_type_embeddings.weight", 1, text)
    norm("encoder_txt.embeddings.LayerNorm", text)
    layer = "encoder_txt.encoder.layer.0"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        linear(f"{layer}.attention.{part}", text, text)
    norm(f"{layer}.attention.output.LayerNorm", text)
    linear(f"{layer}.intermediate.dense", 4 * text, text)
    linear(f"{layer}.output.dense", text, 4 * text)
    norm(f"{layer}.output.LayerNorm", text)
    for part, inputs_ in (("img", width), ("txt", text), ("task", text)):
        linear(f"cross_embedding_{part}", width, inputs_)
    for head, outputs in heads.items():
        linear(f"multi_task_head.{head}.transform.dense", hidden, width)
        norm(f"multi_task_head.{head}.transform.LayerNorm", hidden)
        draw(f"multi_task_head.{head}.decoder.weight", outputs, hidden)
        draw(f"multi_task_head.{head}.bias", outputs)
    found["multi_task_head.hazard_layer.upper_triagular_mask"] = torch.ones(6, 6).triu()
    return found
