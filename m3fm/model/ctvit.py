"""CTViT: multi-scale CT tokenizer and image encoder (paper, Methods: CTViT; Fig. 8a and 8c)."""

from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m3fm.config.base import Size3
from m3fm.config.model import ModelConfig, Scale
from m3fm.core.errors import InputError
from m3fm.model.transformer import POSITION_STD, Transformer, init_weights, learned, upcast


def size_features(size_mm_B3: Tensor, width: int) -> Tensor:
    """Compute sine-cosine features [B, width] of the patch's size in mm (slice, row, column).

    The width is split in three: `width // 6 * 2` for rows, as much for columns, the rest for slices; in each
    part the frequencies are 10000^(-i / (n / 2)), sines first, then cosines.
    """
    in_plane = width // 6 * 2
    parts = []
    for axis, part in ((0, width - 2 * in_plane), (1, in_plane), (2, in_plane)):
        size = upcast(size_mm_B3[:, axis, None])
        steps = torch.arange(part // 2, device=size.device, dtype=size.dtype)
        angle = size * torch.pow(10000.0, -steps / (part / 2))
        parts.append(torch.cat([angle.sin(), angle.cos()], dim=1))
    return torch.cat(parts, dim=1)


def patchify(images: Tensor, patch: Size3) -> Tensor:
    """Cut volumes [B, 1, D, H, W] into patches [B, N, voxels], slice by slice."""
    B, _, D, H, W = images.shape
    d, h, w = patch
    patches = images.view(B, D // d, d, H // h, h, W // w, w).permute(0, 1, 3, 5, 2, 4, 6)
    return patches.reshape(B, -1, d * h * w)


def check_shape(what: str, given: Tensor, expected: tuple[int, ...]) -> None:
    """Raise InputError where a tensor [B, ...] has other axes after the batch than the scale."""
    if tuple(given.shape[1:]) != expected:
        sizes = ", ".join(map(str, expected))
        raise InputError(f"{what} are {list(given.shape)}, and should be [B, {sizes}] at this scale")


class Tokenizer(nn.Module):
    """The tokenizer of one scale: a linear map of patches, and positions in the slice and along slices."""

    def __init__(self, scale: Scale, width: int) -> None:
        super().__init__()
        self.scale = scale
        depth, height, length = scale.grid
        self.proj = nn.Linear(prod(scale.patch), width)
        self.class_token = learned(1, 1, width)
        self.position_class = learned(1, 1, width)
        self.position_in_plane = learned(1, height * length, width, std=POSITION_STD)
        self.position_slice = learned(1, depth, width, std=POSITION_STD)
        init_weights(self.proj)

    def positions(self) -> Tensor:
        """Return the position embeddings [1, N, C] of the patches, slice by slice."""
        return (self.position_slice[:, :, None] + self.position_in_plane[:, None]).flatten(1, 2)

    def patches(self, images: Tensor) -> Tensor:
        """Embed volumes [B, 1, D, H, W] as patch tokens [B, N, C] with positions, without class token.

        Raises InputError where the volumes are not of the scale's shape: others may have as many patches.
        """
        check_shape("images", images, (1, *self.scale.shape))
        return self.proj(patchify(images, self.scale.patch)) + self.positions()

    def size(self, voxel_size_B3: Tensor) -> Tensor:
        """Compute features [B, 1, C] of the physical size of this scale's patches."""
        patch = torch.tensor(self.scale.patch, device=voxel_size_B3.device, dtype=voxel_size_B3.dtype)
        return size_features(voxel_size_B3 * patch, self.class_token.shape[-1])[:, None]

    def with_class(self, tokens: Tensor, voxel_size_B3: Tensor) -> Tensor:
        """Put the class token before tokens [B, N, C], and add the physical size to each."""
        first = (self.class_token + self.position_class).expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens], dim=1) + self.size(voxel_size_B3).to(tokens.dtype)

    def forward(self, images: Tensor, voxel_size_B3: Tensor) -> Tensor:
        """Embed volumes [B, 1, D, H, W] in [-1, 1], voxel sizes [B, 3] in mm, as tokens [B, 1 + N, C]."""
        return self.with_class(self.patches(images), voxel_size_B3)


class CTViT(nn.Module):
    """Tokenizers of all scales and one image encoder; only the tokenizer of the scale in use runs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokenizers = nn.ModuleDict(
            {name: Tokenizer(s, config.width) for name, s in config.scales.items()}
        )
        self.encoder = Transformer(config.width, config.depth, config.heads)

    def tokenizer(self, scale: str) -> Tokenizer:
        """Return the tokenizer of a scale."""
        return cast(Tokenizer, self.tokenizers[scale])

    def scale_of(self, images: Tensor) -> str:
        """Find the scale of volumes [B, 1, D, H, W] by their shape; raises InputError for other shapes."""
        shapes = {self.tokenizer(name).scale.shape: name for name in self.tokenizers}
        shape = tuple(images.shape[2:])
        if shape not in shapes:
            raise InputError(f"no scale has volumes of {shape}; there are {list(shapes)}")
        return shapes[shape]

    def token_mask(self, scale: str, lung_mask_BDHW: Tensor) -> Tensor:
        """Mark the tokens [B, 1 + N] that hold a voxel of the mask; the class token always stays."""
        check_shape("lung_mask", lung_mask_BDHW, self.tokenizer(scale).scale.shape)
        patch = self.tokenizer(scale).scale.patch
        keep = F.max_pool3d(lung_mask_BDHW[:, None].float(), patch, stride=patch).flatten(1) > 0
        return torch.cat([torch.ones_like(keep[:, :1]), keep], dim=1)

    def forward(
        self, scale: str, images: Tensor, voxel_size_B3: Tensor, lung_mask_BDHW: Tensor | None = None
    ) -> Tensor:
        """Encode volumes [B, 1, D, H, W] of one scale as features [B, 1 + N, C]."""
        keep = None if lung_mask_BDHW is None else self.token_mask(scale, lung_mask_BDHW)
        return self.encoder(self.tokenizer(scale)(images, voxel_size_B3), keep)
