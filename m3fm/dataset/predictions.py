"""Expectations that a table of predictions must meet before it is compared, whichever system made it.

One row per sample and question: exam, patient, task, side, nodule, question, probabilities, label, mask,
split, model. To compare another system with m3fm, write its answers as such a table.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations.expectations.row_conditions import Column

from m3fm.clinical.tasks import LUNGS, TASKS, YEARS, Task
from m3fm.core.errors import InputError
from m3fm.dataset.columns import is_prefix, lengths, matrix, rises
from m3fm.dataset.expectations import between, equal, one_of, true, without_phi
from m3fm.dataset.prediction_table import COLUMNS, KEY
from m3fm.dataset.tables import SPLITS

LISTS = ("probabilities", "label", "mask")
DIGITS = 3
TOLERANCE = 1e-3
"""Largest difference between 1 and the sum of a choice's probabilities, since other systems round."""


def _facts(tasks: Mapping[str, Task]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": list(tasks),
            "loss": [task.loss for task in tasks.values()],
            "answers": [len(task.answers) for task in tasks.values()],
        }
    )


def suite(tasks: Mapping[str, Task] = TASKS) -> list[Any]:
    """Return the expectations of a table of predictions for `tasks`."""
    choice, hazard, digits = (Column("loss") == loss for loss in ("softmax", "hazard", "digits"))
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        one_of("task", tasks),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=KEY),
        *(gxe.ExpectColumnValuesToNotBeNull(column=column) for column in ("exam", "patient", "question")),
        *without_phi("exam", "patient"),
        one_of("patients_of_exam", [1]),
        one_of("models", [1]),
        one_of("splits", [1]),
        one_of("split", SPLITS),
        one_of("side", ["", *LUNGS]),
        equal("outputs", "outputs_expected"),
        equal("labels", "labels_expected"),
        equal("masks", "labels_expected"),
        true("finite"),
        between("lowest", 0.0, 1.0),
        between("highest", 0.0, 1.0),
        between("total", 1 - TOLERANCE, 1 + TOLERANCE, choice),
        between("total", DIGITS - DIGITS * TOLERANCE, DIGITS + DIGITS * TOLERANCE, digits),
        true("answer_is_one", choice),
        true("label_rises", hazard),
        true("mask_is_prefix"),
    ]


def measured(path: Path, tasks: Mapping[str, Task] = TASKS) -> pd.DataFrame:
    """Read a table of predictions, and replace its lists by measurements.

    Raises InputError where the file is not such a table.
    """
    table = _read(path)
    rows = table.select([name for name in COLUMNS if name not in LISTS]).to_pandas()
    facts = rows[["task"]].merge(_facts(tasks), how="left", on="task")
    digits, hazard = facts["loss"] == "digits", facts["loss"] == "hazard"
    outputs, labels, masks = (lengths(table[name]) for name in LISTS)
    probabilities, values = matrix(table["probabilities"], 10 * DIGITS), matrix(table["label"])
    inside = np.arange(probabilities.shape[1]) < outputs[:, None]
    numbers = np.where(inside, probabilities, np.float32(0))
    return rows.assign(
        loss=facts["loss"],
        outputs=outputs,
        outputs_expected=np.select([digits, hazard], [10 * DIGITS, YEARS], facts["answers"]),
        labels=labels,
        labels_expected=np.select([digits, hazard], [DIGITS, YEARS], 1),
        masks=masks,
        finite=np.isfinite(numbers).all(axis=1),
        lowest=numbers.min(axis=1),
        highest=numbers.max(axis=1),
        total=numbers.sum(axis=1),
        answer_is_one=(values[:, 0] >= 0) & (values[:, 0] < facts["answers"]) & (values[:, 0] % 1 == 0),
        label_rises=rises(values, labels),
        mask_is_prefix=is_prefix(matrix(table["mask"]), masks),
        patients_of_exam=rows.groupby("exam")["patient"].transform("nunique"),
        models=rows["model"].nunique(),
        splits=rows["split"].nunique(),
    )


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as parquet: {type(error).__name__}") from error
    for name in COLUMNS:
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name}: predictions have {', '.join(COLUMNS)}")
        kind = table.schema.field(name).type
        if (name in LISTS) != (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            expected = "lists of numbers" if name in LISTS else "one value in each row"
            raise InputError(f"{path}: the column {name} holds {kind}, but should hold {expected}")
    return table
