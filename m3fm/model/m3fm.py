"""M3FM: image, text and question in; answers out (paper, Methods: M3FM; Fig. 8)."""

from typing import cast

import torch
from torch import Tensor, nn

from m3fm.config import ModelConfig
from m3fm.model.ctvit import CTViT
from m3fm.model.predictors import Predictor, init_hazards, probabilities
from m3fm.model.text import TextTransformer
from m3fm.model.transformer import Block, init_weights, learned
from m3fm.tasks import TASKS, head_slices


class TaskEncoder(nn.Module):
    """Transformer over <TASK>, registers, image and text tokens; gives the <TASK> embedding (Fig. 8e)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.registers = learned(1, config.registers, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.task_depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        init_weights(self.blocks)

    def forward(self, tokens_BNC: Tensor, keep_BN: Tensor) -> Tensor:
        """Tokens, <TASK> first, and which of them are there; gives [B, C].

        The last block computes nothing but <TASK>: no other token is read after it.
        """
        *blocks, last = self.blocks
        for block in blocks:
            tokens_BNC = block(tokens_BNC, keep_BN)
        return self.norm(last(tokens_BNC, keep_BN, queries=1))[:, 0]


class M3FM(nn.Module):
    """The medical multimodal multitask foundation model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.ctvit = CTViT(config)
        self.text = TextTransformer(config.text)
        self.image_to_task = nn.Linear(config.width, config.width)
        self.text_to_task = nn.Linear(self.text.width, config.width)
        self.question_to_task = nn.Linear(self.text.width, config.width)
        self.task_encoder = TaskEncoder(config)
        self.slices = head_slices()
        self.heads = nn.ModuleDict(
            {
                head: Predictor(config.width, config.head_width, max(part.stop for part in parts.values()))
                for head, parts in self.slices.items()
            }
        )
        # One class more than there are tasks: a question of no task is refused.
        self.task_id = Predictor(config.width, config.head_width, len(TASKS) + 1)
        for part in (self.image_to_task, self.text_to_task, self.question_to_task, self.heads, self.task_id):
            init_weights(part)
        for outputs in self.slices["risk"].values():
            init_hazards(cast(Predictor, self.heads["risk"]).out.bias[outputs])

    def encode_image(
        self, scale: str, images: Tensor, voxel_size: Tensor, lung_mask: Tensor | None = None
    ) -> Tensor:
        """Volumes [B, 1, D, H, W] in [-1, 1] with voxel sizes [B, 3] in mm to image tokens [B, 1 + N, C]."""
        return self.image_to_task(self.ctvit(scale, images, voxel_size, lung_mask))

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Clinical text [B, L] to text tokens [B, L, C]."""
        return self.text_to_task(self.text(ids, mask))

    def encode_question(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Questions [B, L] to the <TASK> token [B, 1, C]: the question's first; the others are not used."""
        return self.question_to_task(self.text(ids, mask)[:, :1])

    def task_logits(self, task_token: Tensor) -> Tensor:
        """Task ID predictor: logits [B, tasks + 1], in the order of the task table, "no task" last."""
        return self.task_id(task_token[:, 0])

    def embed(
        self,
        task_token: Tensor,
        image_tokens: Tensor | None = None,
        image_mask: Tensor | None = None,
        text_tokens: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> Tensor:
        """The task embedding [B, C] of any combination of modalities; masks are true where a token counts."""
        registers = self.task_encoder.registers.expand(task_token.shape[0], -1, -1).to(task_token.dtype)
        tokens, masks = [task_token, registers], [None, None]
        if image_tokens is not None:
            tokens.append(image_tokens)
            masks.append(image_mask)  # type: ignore[arg-type]
        if text_tokens is not None:
            tokens.append(text_tokens)
            masks.append(text_mask)  # type: ignore[arg-type]
        keep = [
            torch.ones_like(part[:, :, 0], dtype=torch.bool) if mask is None else mask.bool()
            for part, mask in zip(tokens, masks)
        ]
        return self.task_encoder(torch.cat(tokens, dim=1), torch.cat(keep, dim=1))

    def answer(self, embedding: Tensor, task: str) -> Tensor:
        """A task's logits [B, outputs] from task embeddings [B, C]."""
        head = TASKS[task].head
        return self.heads[head](embedding)[:, self.slices[head][task]]

    def forward(
        self,
        task: str,
        images: Tensor | None,
        voxel_size: Tensor | None,
        text_ids: Tensor | None,
        text_mask: Tensor | None,
        question_ids: Tensor,
        question_mask: Tensor,
        lung_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, outputs] of a task, and those of the Task ID predictor for its questions."""
        scale = TASKS[task].scale
        image_tokens = image_mask = text_tokens = None
        if images is not None and voxel_size is not None and scale is not None:
            image_tokens = self.encode_image(scale, images, voxel_size, lung_mask)
            image_mask = None if lung_mask is None else self.ctvit.token_mask(scale, lung_mask)
        if text_ids is not None and text_mask is not None:
            text_tokens = self.encode_text(text_ids, text_mask)
        task_token = self.encode_question(question_ids, question_mask)
        embedding = self.embed(task_token, image_tokens, image_mask, text_tokens, text_mask)
        return self.answer(embedding, task), self.task_logits(task_token)

    @torch.no_grad()
    def predict(self, task: str, **inputs: Tensor | None) -> Tensor:
        """Probabilities of a task's answers; the arguments of `forward`."""
        logits, _ = self(task, **inputs)
        return probabilities(TASKS[task], logits.float())
