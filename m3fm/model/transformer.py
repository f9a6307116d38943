"""The plain pre-norm transformer block that image encoder, task encoder and MAE decoder are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention; queries may be limited to the first tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor, keep_BN: Tensor | None = None, queries: int | None = None) -> Tensor:
        """`keep_BN` is true where a token may be attended to; gives the first `queries` tokens, or all."""
        B, N, C = x_BNC.shape
        q, k, v = self.qkv(x_BNC).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        q = q[:, :, :queries]
        # ONNX Runtime's attention takes no mask that has to be broadcast over the queries.
        mask = None if keep_BN is None else keep_BN[:, None, None, :].expand(B, 1, q.shape[2], N)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """LayerNorm, attention, LayerNorm, two-layer MLP of four times the width; both with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BNC: Tensor, keep_BN: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Tokens to tokens; with `queries`, only the first ones are computed and given."""
        x = x_BNC[:, :queries] + self.attn(self.norm1(x_BNC), keep_BN, queries)
        return x + self.mlp(self.norm2(x))


def init_weights(module: nn.Module) -> None:
    """ViT's initialisation: Xavier for linear layers, zero biases, 0.02 for embeddings."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def learned(*shape: int, std: float = 0.02) -> nn.Parameter:
    """A learnt embedding, drawn with the given standard deviation."""
    return nn.Parameter(torch.randn(*shape) * std)


POSITION_STD = 0.5
"""Of positions: they are added to sines and cosines of the physical size, and must not drown in them."""
