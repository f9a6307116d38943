"""Rows of a dataset's tables, looked up one at a time: columns in memory, objects on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, overload

import numpy as np
import pyarrow as pa

from m3fm.dataset.columns import classes, lengths, matrix


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One labelled row of a task."""

    exam: str
    patient: str
    side: str
    nodule: int
    slice_number: int
    label: tuple[float, ...]
    mask: tuple[float, ...]


class Rows(Sequence[LabelledRow]):
    """The labelled rows of one task, in the order of labels.parquet."""

    def __init__(self, labels: pa.Table) -> None:
        names = ("exam", "patient", "side")
        self._texts = {name: labels[name].combine_chunks() for name in names}
        self._numbers = {name: labels[name].to_numpy() for name in ("nodule", "slice_number")}
        self._lists = {name: (matrix(labels[name]), lengths(labels[name])) for name in ("label", "mask")}
        found = classes(labels)
        self._of_class = [np.flatnonzero(found == one) for one in np.unique(found)]

    def __len__(self) -> int:
        return len(self._numbers["nodule"])

    @overload
    def __getitem__(self, index: int) -> LabelledRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[LabelledRow]: ...

    def __getitem__(self, index: int | slice) -> LabelledRow | list[LabelledRow]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        values: dict[str, Any] = {name: column[index].as_py() for name, column in self._texts.items()}
        values |= {name: int(column[index]) for name, column in self._numbers.items()}
        for name, (numbers, counts) in self._lists.items():
            values[name] = tuple(numbers[index, : counts[index]].tolist())
        return LabelledRow(**values)

    def draw(self, rng: np.random.Generator) -> LabelledRow:
        """Draw a random row; all classes are equally likely, however rare."""
        of_class = self._of_class[rng.integers(len(self._of_class))]
        return self[int(of_class[rng.integers(len(of_class))])]


class RowsByKey:
    """A table sorted by a column of keys, and the rows of each key."""

    def __init__(self, table: pa.Table, name: str) -> None:
        # Reading single columns is five times as fast as slicing a row out of a table of fifty columns.
        self._columns = {name: table[name].combine_chunks() for name in table.column_names}
        self._places: dict[str, range] = {}
        start = 0
        for key, group in groupby(table[name].to_pylist()):
            stop = start + sum(1 for _ in group)
            self._places[key] = range(start, stop)
            start = stop

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def count(self, key: str) -> int:
        """Count the rows of a key; 0 for an unknown one."""
        return len(self._places.get(key, ()))

    def row(self, key: str, number: int = 0) -> dict[str, Any]:
        """Return one row of a key."""
        place = self._places[key][number]
        return {name: column[place].as_py() for name, column in self._columns.items()}

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Return all rows of a key, [] for an unknown one."""
        return [self.row(key, number) for number in range(self.count(key))]
