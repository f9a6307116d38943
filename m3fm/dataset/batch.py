"""Samples of one task as the tensors that the model takes."""

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from m3fm.config.model import ModelConfig
from m3fm.core.tokens import encode
from m3fm.dataset.mqa import Sample

Batch = dict[str, Tensor]
"""By name; the first dimension of the first tensor counts the samples."""

MODEL_INPUTS = (
    "images", "voxel_size", "text_ids", "text_mask", "question_ids", "question_mask", "lung_mask",
)  # fmt: skip


def model_inputs(batch: Batch) -> dict[str, Tensor | None]:
    """Pick the arguments of `M3FM.forward` (volumes [B, 1, D, H, W], token ids [B, L]); None if absent."""
    return {name: batch.get(name) for name in MODEL_INPUTS}


def collate(samples: Sequence[Sample], tokenizer: Tokenizer, config: ModelConfig) -> Batch:
    """Collate samples of one task to tensors."""
    question_ids, question_mask = encode(
        tokenizer,
        [sample.question for sample in samples],
        config.text.max_question_tokens,
        config.text.close_truncated,
    )
    arrays = {
        "question_ids": question_ids,
        "question_mask": question_mask,
        "label": np.asarray([sample.label for sample in samples], dtype=np.float32),
        "mask": np.asarray([sample.mask for sample in samples], dtype=np.float32),
    }
    texts = [sample.text for sample in samples if sample.text is not None]
    if texts:
        limits = config.text.max_tokens, config.text.close_truncated
        arrays["text_ids"], arrays["text_mask"] = encode(tokenizer, texts, *limits)
    images = [sample.image for sample in samples if sample.image is not None]
    if images:
        arrays["images"] = np.stack(images)[:, None]
        arrays["voxel_size"] = np.stack([s.voxel_size for s in samples if s.voxel_size is not None])
    masks = [sample.lung_mask for sample in samples if sample.lung_mask is not None]
    if masks:
        arrays["lung_mask"] = np.stack(masks)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
