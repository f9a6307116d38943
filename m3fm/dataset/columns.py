"""Columns of lists as matrices: millions of labels without one Python object each."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from m3fm.clinical.tasks import SCREENING, TASKS, YEARS

HAZARDS = [name for name in SCREENING if TASKS[name].loss == "hazard"]
"""Tasks whose label is an event in time."""
AFTER_END = -1.0
"""Value of the places after the end of a list."""


def lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the length of each list of a column, [lists]."""
    return np.asarray(pc.list_value_length(column)).astype(np.int64)


def matrix(column: pa.ChunkedArray, width: int = YEARS) -> NDArray[np.float32]:
    """Return the lists of a column as rows [lists, width].

    Shorter lists are filled with AFTER_END; longer ones are cut.
    """
    counts = lengths(column)
    starts = np.cumsum(counts) - counts
    flat = np.append(np.asarray(pc.list_flatten(column), dtype=np.float32), np.float32(AFTER_END))
    places = starts[:, None] + np.arange(width)
    return flat[np.where(np.arange(width) < counts[:, None], places, len(flat) - 1)]


def classes(labels: pa.Table) -> NDArray[np.int64]:
    """Return the class of each row of labels.parquet, [rows]: the answer's index, or 1 for an event."""
    values = matrix(labels["label"])
    hazard = np.asarray(pc.is_in(labels["task"], pa.array(HAZARDS)))
    return np.where(hazard, values.max(axis=1), values[:, 0]).astype(np.int64)


def rises(values: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each list is zeros, then ones: values [lists, width], counts and result [lists]."""
    inside = np.arange(values.shape[1]) < counts[:, None]
    binary = np.isin(values, (0, 1)) | ~inside
    steps = (np.diff(values, axis=1) >= 0) | ~inside[:, 1:]
    return np.asarray(binary.all(axis=1) & steps.all(axis=1))


def is_prefix(masks: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each mask is some ones, then zeros: masks [lists, width], counts and result [lists]."""
    inside = np.arange(masks.shape[1]) < counts[:, None]
    return (counts > 0) & (masks[:, 0] == 1) & rises(np.where(inside, 1 - masks, masks), counts)
