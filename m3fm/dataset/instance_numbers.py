"""Which series have InstanceNumbers that locate a nodule's slice."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


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
