"""Texts to token ids, without torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

PAD = 1
"""RoBERTa's id of padding."""


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], limit: int, close_truncated: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids and mask, int64 [B, L], padded to the longest; a cut text may keep its </s>.

    An absent text (an empty string) has a mask of zeros.
    """
    # One at a time: threads of `encode_batch` cost more than they give, and each worker has one core.
    rows = [tokenizer.encode(text).ids for text in texts]
    if close_truncated:
        rows = [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in rows]
    rows = [row[:limit] for row in rows]
    ids = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, (row, text) in enumerate(zip(rows, texts)):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = int(bool(text))
    return ids, mask
