"""Gradients of all workers to one sum (paper, Multitask learning: gradients of all tasks, one update)."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from m3fm.model.transformer import upcast

BUCKET_BYTES = 64 << 20
"""Gradients that are reduced together."""


def reduce_gradients(parameters: list[nn.Parameter], losses: Tensor) -> None:
    """Sum gradients and losses [n] over all workers, in place; an untouched parameter has gradient zero.

    In buckets: each is on its way while the next one is filled, whoever has touched which parameter.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if not dist.is_initialized():
        return
    tensors = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sent = [(bucket, *_send(bucket)) for bucket in [*_buckets(tensors), [losses]]]
    for bucket, flat, handle in sent:
        handle.wait()
        for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket])):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors in order, as many together as fill a bucket."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.nbytes for t in bucket) + tensor.nbytes > BUCKET_BYTES:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _send(bucket: list[Tensor]) -> tuple[Tensor, Any]:
    flat = torch.cat([upcast(tensor).flatten() for tensor in bucket])
    return flat, dist.all_reduce(flat, async_op=True)
