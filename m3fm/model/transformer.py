"""The plain pre-norm transformer that image encoder, task encoder and MAE decoder are made of."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Attention(nn.Module):
    """Multi-head self-attention; queries may be limited to the first tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def _split(self, x_BNC: Tensor, queries: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values [B, heads, tokens, C / heads]."""
        B, N, C = x_BNC.shape
        q, k, v = self.qkv(x_BNC).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return q[:, :, :queries], k, v

    def forward(self, x_BNC: Tensor, keep_BN: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Attend where `keep_BN` is true; return the first `queries` tokens, or all: [B, queries or N, C]."""
        q, k, v = self._split(x_BNC, queries)
        # ONNX Runtime's attention takes no mask that has to be broadcast over the queries.
        mask = None if keep_BN is None else keep_BN[:, None, None, :].expand(-1, 1, q.shape[2], -1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).flatten(2))

    def weights(self, x_BNC: Tensor, keep_BN: Tensor | None, queries: int) -> Tensor:
        """Compute how much the first `queries` tokens attend to each token: [B, heads, queries, N]."""
        q, k, _ = self._split(x_BNC, queries)
        scores = upcast(q) @ upcast(k).transpose(-2, -1) / q.shape[-1] ** 0.5
        if keep_BN is not None:
            scores = scores.masked_fill(~keep_BN[:, None, None, :], -torch.inf)
        return scores.softmax(dim=-1)


class Block(nn.Module):
    """LayerNorm, attention, LayerNorm, two-layer MLP of four times the width; both with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BNC: Tensor, keep_BN: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Map tokens [B, N, C] to tokens; with `queries`, compute and return only the first ones."""
        x = x_BNC[:, :queries] + self.attn(self.norm1(x_BNC), keep_BN, queries)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Blocks, and a LayerNorm at the end."""

    recompute = False
    """Whether the backward pass computes activations again instead of keeping them."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        init_weights(self.blocks)

    def _run(self, block: nn.Module, *inputs: Any) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, *inputs, use_reentrant=False))
        return cast(Tensor, block(*inputs))

    def forward(self, x_BNC: Tensor, keep_BN: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Map tokens [B, N, C] to tokens; with `queries`, the last block computes only the first ones."""
        *blocks, last = self.blocks
        for block in blocks:
            x_BNC = self._run(block, x_BNC, keep_BN)
        return self.norm(self._run(last, x_BNC, keep_BN, queries))

    def last_attention(self, x_BNC: Tensor, keep_BN: Tensor | None, queries: int) -> Tensor:
        """Compute the first tokens' attention in the last block, mean over heads: [B, queries, N]."""
        *blocks, last = self.blocks
        for block in blocks:
            x_BNC = block(x_BNC, keep_BN)
        last = cast(Block, last)
        return last.attn.weights(last.norm1(x_BNC), keep_BN, queries).mean(dim=1)


def recompute_activations(model: nn.Module) -> None:
    """Checkpoint the activations (non-reentrant) of every transformer of a model: slower, less memory.

    The text transformer, which comes from `transformers`, keeps its activations.
    """
    for part in model.modules():
        if isinstance(part, Transformer):
            part.recompute = True


def compile_transformers(model: nn.Module, backend: str = "inductor") -> None:
    """Compile every transformer of a model, in place, on its first use.

    The second number of tokens is compiled for any number: texts have too many lengths to compile each.
    """
    for part in model.modules():
        if isinstance(part, Transformer):
            part.compile(backend=backend, dynamic=None)


def upcast(x: Tensor) -> Tensor:
    """Cast half precision [...] to float32, for what would lose too much in it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def init_weights(module: nn.Module) -> None:
    """Initialise as ViT: Xavier for linear layers, zero biases, 0.02 for embeddings."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def learned(*shape: int, std: float = 0.02) -> nn.Parameter:
    """Make a learnt embedding, drawn with the given standard deviation."""
    return nn.Parameter(torch.randn(*shape) * std)


POSITION_STD = 0.5
"""Scale of positions: they are added to sines and cosines of the physical size, and must not drown."""
