"""Which series have InstanceNumbers that locate a nodule's slice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from m3fm.clinical.tasks import LUNGS

_LOCATING = (
    "series", "exam", "status", "preferred", "slices", "instance_first", "instance_last",
    "left_lung", "right_lung",
)  # fmt: skip


def has_instance_numbers(series: pa.Table) -> pa.ChunkedArray:
    """Return for each row of series.parquet whether its InstanceNumbers locate slices."""
    return pc.not_equal(series["instance_first"], series["instance_last"])


def unfound_nodules(dataset: Path) -> int:
    """Count the nodules without a slice: no kept series of their exam has InstanceNumbers that locate it."""
    columns = ["exam", "status", "instance_first", "instance_last"]
    series = pq.read_table(dataset / "series.parquet", columns=columns)
    kept = series.filter(pc.equal(series["status"], "kept"))
    nodules = pq.read_table(dataset / "nodules.parquet", columns=["exam", "slice_number"])
    placed = nodules.filter(pc.is_valid(nodules["slice_number"]))
    imaged = pc.is_in(placed["exam"], kept["exam"].combine_chunks())
    numbered = pc.is_in(placed["exam"], kept.filter(has_instance_numbers(kept))["exam"].combine_chunks())
    return int(pc.sum(pc.and_not(imaged, numbered), min_count=0).as_py())


def slice_index(
    slice_number: ArrayLike, first: ArrayLike, last: ArrayLike, slices: ArrayLike
) -> NDArray[np.int64]:
    """Return the indices [nodules] of slices by their InstanceNumbers and the series' first and last one."""
    step = np.subtract(last, first) / np.maximum(np.subtract(slices, 1), 1)
    return np.rint(np.subtract(slice_number, first) / step).astype(np.int64)


def nodule_heights(dataset: Path) -> dict[str, NDArray[np.float64]]:
    """Return the heights of the training nodules [nodules] in their lung, by lung.

    0 is the first slice of the lung's box, 1 the one after its last. A dataset without nodules of training
    patients, as an external one, gives the heights of all its nodules.
    """
    wanted = (pc.field("task") == "nodule_presence") & (pc.field("slice_number") >= 0)
    columns = ["exam", "side", "slice_number", "split"]
    nodules = pq.read_table(dataset / "labels.parquet", columns=columns, filters=wanted).to_pandas()
    training = nodules[nodules["split"] == "train"]
    nodules = training if len(training) else nodules
    series = pq.read_table(
        dataset / "series.parquet", columns=[*_LOCATING], filters=pc.field("status") == "kept"
    )
    series = series.filter(has_instance_numbers(series)).to_pandas()
    preferred = series.sort_values(["exam", "preferred", "series"], ascending=[True, False, True])
    placed = nodules.merge(preferred.drop_duplicates("exam"), on="exam")
    return {side: _heights(placed[placed["side"] == side], f"{side}_lung") for side in LUNGS}


def _heights(placed: pd.DataFrame, box: str) -> NDArray[np.float64]:
    """Return the heights in a box [nodules] of nodules with their series."""
    if placed.empty:
        return np.empty(0)
    columns = (placed[name] for name in ("slice_number", "instance_first", "instance_last", "slices"))
    ends = np.stack(placed[box].to_list())[:, :2]
    return (slice_index(*columns) - ends[:, 0]) / (ends[:, 1] - ends[:, 0])
