"""M3FM as in the paper: CTViT, text transformer, task encoder and predictors, and MAE pretraining.

Tensor names carry their shape: B batch, N image tokens, L text tokens, C width; D, H, W slices, rows and
columns of a volume.
"""
