"""Masked autoencoding of CT volumes, to pretrain CTViT (paper, Self-supervised pretraining; Fig. 8b)."""

from math import prod

import torch
from torch import Tensor, nn

from m3fm.config.sections import PretrainConfig
from m3fm.model.ctvit import CTViT, patchify
from m3fm.model.transformer import POSITION_STD, Transformer, init_weights, learned, upcast


class MAE(nn.Module):
    """CTViT, a shallow decoder, and one linear de-tokenizer per scale.

    The encoder sees the visible cubes alone. The loss reads a few slices of cubes; the decoder computes their
    tokens, and, in all of its blocks but the last, the visible ones that they attend to. All tokens in it
    would dominate the cost.
    """

    def __init__(self, ctvit: CTViT, config: PretrainConfig, width: int) -> None:
        super().__init__()
        self.ctvit = ctvit
        self.config = config
        self.to_decoder = nn.Linear(width, config.decoder_width)
        self.mask_token = learned(1, 1, config.decoder_width)
        self.decoder = Transformer(config.decoder_width, config.decoder_depth, config.decoder_heads)
        self.positions = nn.ParameterDict()
        self.detokenizers = nn.ModuleDict()
        for name in ctvit.tokenizers:
            scale = ctvit.tokenizer(name).scale
            self.positions[name] = learned(prod(scale.grid), config.decoder_width, std=POSITION_STD)
            self.detokenizers[name] = nn.Linear(config.decoder_width, prod(scale.patch))
        init_weights(nn.ModuleList([self.to_decoder, self.detokenizers]))

    def forward(
        self, scale: str, images: Tensor, voxel_size_B3: Tensor, noise_BN: Tensor, slices: Tensor
    ) -> Tensor:
        """Compute the mean squared error (scalar) of the masked cubes in `slices`, each normalised by itself.

        `noise_BN` orders the cubes at random: the lowest stay visible. `slices` are the slices of cubes, of
        which the loss is taken. Randomness comes in as tensors, so the step is a pure function.
        """
        tokenizer = self.ctvit.tokenizer(scale)
        _, height, length = tokenizer.scale.grid
        tokens = tokenizer.patches(images)
        B, N, C = tokens.shape
        keep = round(N * (1 - self.config.mask_ratio))
        order = noise_BN.argsort(dim=1)
        visible = order[:, :keep]  # [B, keep]

        seen = tokens.gather(1, visible[:, :, None].expand(-1, -1, C))
        features = self.to_decoder(self.ctvit.encoder(tokenizer.with_class(seen, voxel_size_B3)))

        per_slice = height * length
        wanted = (
            slices[:, None] * per_slice + torch.arange(per_slice, device=slices.device)
        ).flatten()  # [M]
        position = self.positions[scale]
        queries = (self.mask_token + position[wanted]).expand(B, -1, -1)
        context = torch.cat([features[:, :1], features[:, 1:] + position[visible]], dim=1)
        decoded = self.decoder(torch.cat([queries, context], dim=1), queries=wanted.numel())
        predicted = self.detokenizers[scale](decoded)

        target = patchify(images, tokenizer.scale.patch)[:, wanted]
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        error = ((upcast(predicted) - (target - mean) / (variance + 1e-6).sqrt()) ** 2).mean(-1)  # [B, M]
        masked = torch.ones(B, N, device=images.device).scatter(1, visible, 0.0)[:, wanted]
        return (error * masked).sum() / masked.sum().clamp(min=1.0)
