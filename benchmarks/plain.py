"""M3FM and its MAE written plainly, on the weights of ours, to measure ours against.

As the authors' published code works: separate maps to queries, keys and values, the whole matrix of attention
weights, every scale's tokenizer run, every token computed in every block of the task encoder. The MAE here
encodes all tokens, masked ones too, and decodes all.
"""

import torch
from torch import Tensor, nn

from m3fm.model.ctvit import patchify
from m3fm.model.heads import probabilities
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.model.transformer import Block, Transformer


class PlainAttention(nn.Module):
    """softmax(Q K^T) V, step by step."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention = block.attn
        self.heads = attention.heads
        width = attention.proj.in_features
        for number, name in enumerate("qkv"):
            linear = nn.Linear(width, width)
            part = slice(number * width, (number + 1) * width)
            with torch.no_grad():
                linear.weight.copy_(attention.qkv.weight[part])
                linear.bias.copy_(attention.qkv.bias[part])
            self.add_module(name, linear)
        self.proj = attention.proj

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Attend from all tokens [B, N, C] to those that are kept."""
        B, N, C = x.shape
        q, k, v = (
            self.get_submodule(name)(x).view(B, N, self.heads, C // self.heads).transpose(1, 2)
            for name in "qkv"
        )
        scores = (q @ k.transpose(-2, -1)) * (C // self.heads) ** -0.5
        if keep is not None:
            scores = scores.masked_fill(~keep[:, None, None, :], -torch.inf)
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, C))


class PlainTransformer(nn.Module):
    """All blocks on all tokens."""

    def __init__(self, ours: Transformer) -> None:
        super().__init__()
        self.blocks = ours.blocks
        self.attentions = nn.ModuleList(PlainAttention(block) for block in ours.blocks)  # type: ignore[arg-type]
        self.norm = ours.norm

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map tokens to tokens [B, N, C]."""
        for block, attention in zip(self.blocks, self.attentions):
            assert isinstance(block, Block)
            x = x + attention(block.norm1(x), keep)
            x = x + block.mlp(block.norm2(x))
        return self.norm(x)


class PlainM3FM(nn.Module):
    """The answer to one task from image and text."""

    def __init__(self, ours: M3FM) -> None:
        super().__init__()
        self.ours = ours
        self.image_encoder = PlainTransformer(ours.ctvit.encoder)
        self.task_encoder = PlainTransformer(ours.task_encoder.encoder)

    def forward(self, task: str, images: Tensor, voxel_size: Tensor, **text: Tensor) -> Tensor:
        """Compute the logits [B, answers] of a task."""
        ours = self.ours
        scale = ours.tasks[task].scale
        # All tokenizers see the volume; one result is used.
        projected = {name: self._convolved(name, images) for name in ours.ctvit.tokenizers}
        assert scale is not None
        tokenizer = ours.ctvit.tokenizer(scale)
        patches = projected[scale].flatten(2).transpose(1, 2) + tokenizer.positions()
        image = self.image_encoder(tokenizer.with_class(patches, voxel_size))
        question = ours.encode_question(text["question_ids"], text["question_mask"])
        words = ours.encode_text(text["text_ids"], text["text_mask"])
        registers = ours.task_encoder.registers.expand(len(images), -1, -1)
        tokens = torch.cat([question, registers, ours.image_to_task(image), words], dim=1)
        keep = torch.ones(tokens.shape[:2], dtype=torch.bool)
        keep[:, -words.shape[1] :] = text["text_mask"].bool()
        return ours.answer(self.task_encoder(tokens, keep)[:, 0], task)

    def _convolved(self, scale: str, images: Tensor) -> Tensor:
        tokenizer = self.ours.ctvit.tokenizer(scale)
        patch = tokenizer.scale.patch
        weight = tokenizer.proj.weight.unflatten(1, (1, *patch))
        return nn.functional.conv3d(images, weight, tokenizer.proj.bias, stride=patch)

    @torch.no_grad()
    def predict(self, task: str, **inputs: Tensor) -> Tensor:
        """Compute the probabilities [B, answers] of a task."""
        return probabilities(self.ours.tasks[task], self(task, **inputs))


class PlainMAE(nn.Module):
    """Masked cubes are replaced by a token before the encoder; decoder and loss see all of them."""

    def __init__(self, ours: MAE) -> None:
        super().__init__()
        self.ours = ours
        self.mask_token = nn.Parameter(torch.zeros(1, 1, ours.to_decoder.in_features))

    def forward(self, scale: str, images: Tensor, voxel_size: Tensor, noise: Tensor) -> Tensor:
        """Compute the mean squared error, a scalar, of the masked cubes of volumes [B, 1, D, H, W]."""
        ours = self.ours
        tokenizer = ours.ctvit.tokenizer(scale)
        tokens = ours.ctvit.tokenizer(scale).patches(images)
        keep = round(tokens.shape[1] * (1 - ours.config.mask_ratio))
        hidden = (noise.argsort(dim=1).argsort(dim=1) >= keep)[:, :, None]
        tokens = torch.where(hidden, self.mask_token + tokenizer.positions(), tokens)
        features = ours.to_decoder(ours.ctvit.encoder(tokenizer.with_class(tokens, voxel_size)))[:, 1:]
        decoded = ours.decoder(features + ours.positions[scale])
        target = patchify(images, tokenizer.scale.patch)
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        error = (ours.detokenizers[scale](decoded) - (target - mean) / (variance + 1e-6).sqrt()) ** 2
        return (error.mean(-1) * hidden[:, :, 0]).sum() / hidden.sum()
