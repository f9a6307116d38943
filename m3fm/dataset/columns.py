"""Columns of lists as matrices: millions of labels without an object for each."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from m3fm.clinical.tasks import SCREENING, TASKS, YEARS

HAZARDS = [name for name in SCREENING if TASKS[name].loss == "hazard"]
"""Tasks whose label is an event in time."""
AFTER_END = -1.0
"""Stands where a list has ended."""


def lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Count the numbers of each list of a column: [lists]."""
    return np.asarray(pc.list_value_length(column)).astype(np.int64)


def matrix(column: pa.ChunkedArray, width: int = YEARS) -> NDArray[np.float32]:
    """Return the lists of a column as rows [lists, width], AFTER_END after the end of shorter ones.

    Of a longer list the first numbers are taken.
    """
    counts = lengths(column)
    starts = np.cumsum(counts) - counts
    flat = np.append(np.asarray(pc.list_flatten(column), dtype=np.float32), np.float32(AFTER_END))
    places = starts[:, None] + np.arange(width)
    return flat[np.where(np.arange(width) < counts[:, None], places, len(flat) - 1)]


def classes(labels: pa.Table) -> NDArray[np.int64]:
    """Return each label's class [rows]: the index of the answer, or 1 where there was an event."""
    values = matrix(labels["label"])
    hazard = np.asarray(pc.is_in(labels["task"], pa.array(HAZARDS)))
    return np.where(hazard, values.max(axis=1), values[:, 0]).astype(np.int64)


def rises(values: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Check for each list [lists, width] that zeros come first, and then ones."""
    inside = np.arange(values.shape[1]) < counts[:, None]
    binary = np.isin(values, (0, 1)) | ~inside
    steps = (np.diff(values, axis=1) >= 0) | ~inside[:, 1:]
    return np.asarray(binary.all(axis=1) & steps.all(axis=1))


def is_prefix(masks: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Check for each mask [lists, width] that at least one 1 comes first, and then zeros."""
    inside = np.arange(masks.shape[1]) < counts[:, None]
    return (counts > 0) & (masks[:, 0] == 1) & rises(np.where(inside, 1 - masks, masks), counts)
