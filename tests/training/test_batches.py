"""Micro-batches arrive as they were sent, and when they are asked for."""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from m3fm.dataset.batch import Batch
from m3fm.training.batches import by_step, pack, unpack
from m3fm.training.planner import Unit

TENSORS = st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.uint8]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5))
)


@given(st.dictionaries(st.text(min_size=1), TENSORS, min_size=1, max_size=6))
def test_a_packed_batch_holds_all_of_every_tensor(given_arrays: dict[str, Any]) -> None:
    batch = {name: torch.from_numpy(array) for name, array in given_arrays.items()}
    found = unpack(pack(batch))
    assert list(found) == list(batch)
    for name, tensor in batch.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)
        assert (
            found[name].untyped_storage().data_ptr()
            == next(iter(found.values())).untyped_storage().data_ptr()
        )


@given(st.lists(st.integers(0, 6), max_size=20))
def test_each_step_has_its_own_micro_batches_or_none(numbers: list[int]) -> None:
    numbers = sorted(numbers)
    items: list[tuple[int | None, Unit, Batch]] = [
        (step, Unit("task", index, 1.0, 1.0), {}) for index, step in enumerate(numbers)
    ]
    found = [[unit.index for unit, _ in work] for work in by_step(items, range(7))]
    assert found == [[i for i, step in enumerate(numbers) if step == wanted] for wanted in range(7)]
