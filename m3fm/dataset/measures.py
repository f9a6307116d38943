"""Measurements of a dataset's tables, as additional columns that Great Expectations can check.

Great Expectations checks one column or a pair of columns of one table. What depends on other tables, on files
or on the shape of a list becomes a column here; the expectations themselves are in `expectations.py`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3fm.clinical.tasks import BOXES, TASKS, YEARS
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.ct.store import open_volume
from m3fm.dataset.columns import HAZARDS, is_prefix, lengths, matrix, rises
from m3fm.dataset.tables import SCHEMAS

Tables = dict[str, pd.DataFrame]


def columns(dataset: Path) -> pd.DataFrame:
    """List each column that a table has or should have: table, column, type, type_found.

    Raises InputError where a table is missing or unreadable.
    """
    rows = []
    for name, schema in SCHEMAS.items():
        path = dataset / f"{name}.parquet"
        try:
            found = pq.read_schema(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is missing or damaged: curate the dataset again") from error
        expected_types = {field.name: str(field).split(": ", 1)[1] for field in schema}
        found_types = {field.name: str(field).split(": ", 1)[1] for field in found}
        rows += [
            {
                "table": name,
                "column": column,
                "type": expected_types.get(column, "none"),
                "type_found": found_types.get(column, "none"),
            }
            for column in {**expected_types, **found_types}
        ]
    return pd.DataFrame(rows)


def measured(dataset: Path) -> Tables:
    """Read the tables of a dataset whose columns are known to be right, and add the measurements.

    Two more tables: `identities` has one row for every patient, exam, series and scan (the same voxels), with
    the number of splits and of patients that it occurs with in all tables together; `links` has what of each
    table of the source links to nothing.
    """
    labels = pq.read_table(dataset / "labels.parquet")
    tables = {name: pd.read_parquet(dataset / f"{name}.parquet") for name in SCHEMAS if name != "labels"}
    tables["labels"] = _labels(labels, tables)
    split_of = tables["splits"].drop_duplicates("patient").set_index("patient")["split"]
    patient_of = tables["exams"].drop_duplicates("exam").set_index("exam")["patient"]
    identities = _identities(tables)
    for name in ("series", "exams", "nodules", "labels"):
        tables[name]["patient_split"] = tables[name]["patient"].map(split_of)
    for name in ("series", "nodules", "labels"):
        tables[name]["exam_patient"] = tables[name]["exam"].map(patient_of)
    return {
        **tables,
        "series": _series(dataset, tables["series"]),
        "nodules": _nodules(tables["nodules"]),
        "identities": identities,
        "links": unlinked(dataset),
    }


def unlinked(dataset: Path) -> pd.DataFrame:
    """Return rows, fraction and limit of what links to nothing, by table of the source."""
    counts = read_manifest(dataset)["counts"].get("unlinked", {})  # not counted before schema 3 was complete
    rows = [{"table": table, **found} for table, found in counts.items()]
    return pd.DataFrame(rows, columns=["table", "rows", "fraction", "limit", "empty"])


def _identities(tables: Tables) -> pd.DataFrame:
    parts = []
    for name, table in tables.items():
        kept = table[table["digest"] != ""] if name == "series" else table
        for kind, column, rows in (
            ("patient", "patient", table),
            ("exam", "exam", table),
            ("series", "series", table),
            ("scan", "digest", kept),
        ):
            if column in rows:
                part = rows[[column, "patient", "split"]].set_axis(["id", "patient", "split"], axis=1)
                parts.append(part.assign(kind=kind))
    together = pd.concat(parts).groupby(["kind", "id"])
    return together.nunique().rename(columns={"split": "splits", "patient": "patients"}).reset_index()


def _series(dataset: Path, series: pd.DataFrame) -> pd.DataFrame:
    """Add whether boxes lie in the volume, its shape by table and by file, and counts of preferred series."""
    shape = series[["slices", "rows", "columns"]].fillna(0).to_numpy(int)
    preferred = series["preferred"].groupby(series["exam"]).transform("sum")
    return series.assign(
        **{f"{box}_inside": _inside(series[box], shape) for box in BOXES},
        different_files=series["files"] - series["copies"],
        volume_expected=[" x ".join(map(str, row)) for row in shape],
        volume_found=[_volume_shape(dataset / volume) for volume in series["volume"]],
        preferred_of_exam=preferred.astype(int),
    )


def _inside(boxes: pd.Series, shapes: np.ndarray) -> list[bool]:
    return [
        box is not None
        and len(box) == 6
        and all(0 <= start < stop <= size for start, stop, size in zip(box[::2], box[1::2], shape))
        for box, shape in zip(boxes, shapes)
    ]


def _volume_shape(path: Path) -> str:
    """Return the shape of a volume file by its header and length, "none" where it is missing or damaged."""
    try:
        return " x ".join(map(str, open_volume(path).shape))
    except InputError:
        return "none"


def _nodules(nodules: pd.DataFrame) -> pd.DataFrame:
    lobe_side = nodules["lobe"].str[0].map({"L": "left", "R": "right"})
    return nodules.assign(side=nodules["side"].fillna("none"), lobe_side=lobe_side.fillna("none"))


def _labels(labels: pa.Table, tables: Tables) -> pd.DataFrame:
    """Replace the lists of the labels by measurements, and add columns from the other tables."""
    series, nodules = tables["series"], tables["nodules"].drop_duplicates(["exam", "number"])
    rows = labels.drop_columns(["label", "mask"]).to_pandas()
    imaged = rows["exam"].isin(series.loc[series["status"] == "kept", "exam"])
    text_only = rows["task"].isin([name for name, task in TASKS.items() if task.scale is None])
    of_nodule = rows.loc[rows["nodule"] >= 0, ["exam", "nodule"]]
    place = of_nodule.merge(
        nodules[["exam", "number", "side", "slice_number"]],
        how="left",
        left_on=["exam", "nodule"],
        right_on=["exam", "number"],
    ).set_index(of_nodule.index)
    values, counts = matrix(labels["label"]), lengths(labels["label"])
    return rows.assign(
        length_expected=np.where(rows["task"].isin(HAZARDS), YEARS, 1),
        label_length=counts,
        mask_length=lengths(labels["mask"]),
        answer=np.where(counts == 1, values[:, 0], np.nan),
        label_rises=rises(values, counts),
        mask_is_prefix=is_prefix(matrix(labels["mask"]), lengths(labels["mask"])),
        imaged=imaged | text_only,
        nodule_side=place["side"].reindex(rows.index),
        nodule_slice=place["slice_number"].reindex(rows.index),
    )
