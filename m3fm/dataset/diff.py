"""Changes from one dataset to another: patients, exams, series, nodules, splits, and labels by task.

Everything is computed on columns, so millions of labels take seconds.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.core.artifacts import Reference, manifest_path, read_manifest
from m3fm.core.errors import InputError
from m3fm.dataset.columns import HAZARDS, classes, matrix
from m3fm.dataset.tables import KEYS

Changes = dict[str, Any]

SAME = "the same"
MOST_CLASSES = max(len(TASKS[name].answers) for name in SCREENING)


class Pair:
    """One table of two datasets, with rows of the same key paired."""

    def __init__(self, before: Path, after: Path, name: str) -> None:
        key = list(KEYS[name])
        self.key = key
        self.before, self.after = (_read(dataset / f"{name}.parquet") for dataset in (before, after))
        first, second = (
            table.select(key).append_column(side, pa.array(np.arange(len(table))))
            for side, table in (("before", self.before), ("after", self.after))
        )
        joined = first.join(second, key, join_type="full outer").sort_by([("before", "ascending")])
        old, new = joined["before"], joined["after"]
        both = pc.and_(old.is_valid(), new.is_valid())
        self.rows_before, self.rows_after = old.filter(both), new.filter(both)
        """Row numbers, in each table, of the rows that both have."""
        self.removed = self.before.take(old.filter(new.is_null()))
        self.added = self.after.take(new.filter(old.is_null()).sort())

    def values(self, column: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """Return a column of the paired rows, before and after."""
        return self.before[column].take(self.rows_before), self.after[column].take(self.rows_after)

    def differs(self, column: str) -> NDArray[np.bool_]:
        """Return which of the paired rows differ in a column, [rows]."""
        first, second = self.values(column)
        if pa.types.is_list(first.type):
            return np.array([a != b for a, b in zip(first.to_pylist(), second.to_pylist())], bool)
        null_in_one = pc.not_equal(first.is_null(), second.is_null())
        return np.asarray(pc.coalesce(pc.not_equal(first, second), null_in_one))

    def summary(self) -> Changes:
        """Count the rows, name those added and removed, and count the paired rows that differ, by column."""
        names = [name for name in self.before.column_names if name not in self.key]
        differing = {name: int(self.differs(name).sum()) for name in names if name in self.after.column_names}
        return {
            "before": len(self.before),
            "after": len(self.after),
            "added": _names(self.added, self.key),
            "removed": _names(self.removed, self.key),
            "columns": {name: count for name, count in differing.items() if count},
        }


def compare(before: Path, after: Path) -> Changes:
    """Return everything that changed from one dataset to the other, as values that JSON can hold.

    Raises InputError where one of them is not a dataset.
    """
    manifests = [_manifest(dataset) for dataset in (before, after)]
    old, new = manifests
    series, splits = Pair(before, after, "series"), Pair(before, after, "splits")
    return {
        "before": str(Reference.to(before)),
        "after": str(Reference.to(after)),
        "source": _same(old["source"], new["source"]),
        "config": _same(old["config"], new["config"]),
        "patients": {**splits.summary(), "moved": _moves(splits, "split")},
        "exams": Pair(before, after, "exams").summary(),
        "nodules": Pair(before, after, "nodules").summary(),
        "series": {
            **series.summary(),
            "moved": _moves(series, "status", "reason"),
            "other_volume": _names(series.after.take(_other_volume(series)), series.key),
        },
        "labels": _labels(before, after),
    }


def _manifest(dataset: Path) -> dict[str, Any]:
    path = manifest_path(dataset)
    if path.name != "dataset.json":
        raise InputError(f"{dataset} is not a dataset; pass the directory that m3fm curate wrote")
    return read_manifest(dataset)


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: curate the dataset again") from error


def _same(old: Any, new: Any) -> str:
    return SAME if old == new else "another"


def _names(rows: pa.Table, key: list[str]) -> list[str]:
    return [" ".join(map(str, row.values())) for row in rows.select(key).to_pylist()]


def _moves(pair: Pair, *columns: str) -> list[dict[str, str]]:
    """List the paired rows in which one of the columns changed: name, values before, values after."""
    moved = np.flatnonzero(np.any([pair.differs(column) for column in columns], axis=0))
    sides = [[pair.values(column)[side].take(moved).to_pylist() for column in columns] for side in (0, 1)]
    names = _names(pair.before.take(pair.rows_before.take(moved)), pair.key)
    states = [[" ".join(filter(None, state)) for state in zip(*side)] for side in sides]
    return [{"name": name, "before": old, "after": new} for name, old, new in zip(names, *states)]


def _other_volume(series: Pair) -> pa.Array:
    """Return row numbers, in the table after, of the series kept in both datasets with different voxels."""
    kept = [np.asarray(pc.equal(status, "kept")) for status in series.values("status")]
    return series.rows_after.filter(pa.array(kept[0] & kept[1] & series.differs("digest")))


def _labels(before: Path, after: Path) -> Changes:
    """Count the labels added, removed and changed by task, with their classes before and after."""
    pair = Pair(before, after, "labels")
    sides = {"before": pair.before, "after": pair.after, "added": pair.added, "removed": pair.removed}
    counts = {side: _counted(_tasks(table), classes(table)) for side, table in sides.items()}
    numbers = [[matrix(side) for side in pair.values(column)] for column in ("label", "mask")]
    changed = pa.array(np.flatnonzero(np.any([(a != b).any(axis=1) for a, b in numbers], axis=0)))
    old, new = (
        pair.before.take(pair.rows_before.take(changed)),
        pair.after.take(pair.rows_after.take(changed)),
    )
    moves = _counted(_tasks(old), classes(old), classes(new))
    found = {}
    for number, task in enumerate(SCREENING):
        names = ("no event", "event") if task in HAZARDS else TASKS[task].answers
        of_class = {side: count[number, : len(names)].tolist() for side, count in counts.items()}
        found[task] = {
            **{side: sum(of_class[side]) for side in sides},
            "changed": int(moves[number].sum()),
            "classes": {
                name: {side: of_class[side][index] for side in sides} for index, name in enumerate(names)
            },
            "moves": {
                f"{names[a]} -> {names[b]}": int(moves[number, a, b])
                for a, b in np.argwhere(moves[number]).tolist()
            },
        }
    return found


def _tasks(labels: pa.Table) -> NDArray[np.int64]:
    """Return the index of each row's task in SCREENING, [rows]."""
    return np.asarray(pc.index_in(labels["task"], pa.array(SCREENING))).astype(np.int64)


def _counted(*indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count each combination of a task and classes, [tasks, classes, ...]."""
    shape = (len(SCREENING), *[MOST_CLASSES] * (len(indices) - 1))
    flat = np.ravel_multi_index(indices, shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
