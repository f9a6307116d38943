"""What changed between two datasets: all of it, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.core.errors import InputError
from m3fm.dataset.columns import classes, matrix
from m3fm.dataset.diff import compare
from m3fm.dataset.tables import KEYS, SCHEMAS

COUNTED = ("patients", "exams", "nodules", "series")


@pytest.fixture(scope="module")
def changed(curated, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A copy of the dataset with one change of each kind, and what was changed."""
    out = tmp_path_factory.mktemp("changed") / "dataset"
    out.mkdir()
    shutil.copy(curated / "dataset.json", out)
    tables = {name: pd.read_parquet(curated / f"{name}.parquet") for name in SCHEMAS}
    series, splits, labels = tables["series"], tables["splits"], tables["labels"]
    gone = series.loc[series["kernel"] == "BONE", "series"].iloc[0]
    rejected, other = series.loc[(series["status"] == "kept") & (series["series"] != gone), "series"].iloc[:2]
    moved, left = splits["patient"].iloc[:2]
    series.loc[series["series"] == rejected, ["status", "reason"]] = ["rejected", "no_lungs"]
    series.loc[series["series"] == other, "digest"] = "0" * 64
    series.loc[series["series"] == other, "voxel_z"] = 5.0
    tables["series"] = series[series["series"] != gone]
    old_split = splits.loc[splits["patient"] == moved, "split"].item()
    splits.loc[splits["patient"] == moved, "split"] = "val" if old_split != "val" else "test"
    tables["splits"] = pd.concat(
        [splits[splits["patient"] != left], pd.DataFrame([{"patient": "f" * 16, "split": "train"}])]
    )
    emphysema = labels[labels["task"] == "emphysema"]
    row = emphysema.index[0]
    old_class = int(labels.at[row, "label"][0])
    labels.at[row, "label"] = [1.0 - old_class]
    risk = labels.index[labels["task"] == "cvd_mortality"][0]
    labels.at[risk, "mask"] = [1.0, 0, 0, 0, 0, 0]
    tables["labels"] = labels.drop(emphysema.index[1])
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pandas(rows, SCHEMAS[name], False), out / f"{name}.parquet")
    expected = {"gone": gone, "rejected": rejected, "other": other, "moved": moved, "left": left}
    return out, {**expected, "old_split": old_split, "old_class": old_class}


def test_a_dataset_does_not_differ_from_itself(curated):
    changes = compare(curated, curated)
    assert changes["source"] == changes["config"] == "the same"
    for name in COUNTED:
        found = changes[name]
        assert found["before"] == found["after"] > 0
        assert not any(found[side] for side in ("added", "removed", "columns"))
    assert not changes["patients"]["moved"]
    assert not changes["series"]["moved"]
    assert not changes["series"]["other_volume"]
    for found in changes["labels"].values():
        assert (found["added"], found["removed"], found["changed"], found["moves"]) == (0, 0, 0, {})


def test_each_change_is_told_once(curated, changed):
    after, expected = changed
    changes = compare(curated, after)
    patients, series = changes["patients"], changes["series"]
    assert (patients["added"], patients["removed"]) == (["f" * 16], [expected["left"]])
    (moved,) = patients["moved"]
    assert (moved["name"], moved["before"]) == (expected["moved"], expected["old_split"])
    assert (series["added"], series["removed"]) == ([], [expected["gone"]])
    assert series["moved"] == [{"name": expected["rejected"], "before": "kept", "after": "rejected no_lungs"}]
    assert series["other_volume"] == [expected["other"]]
    assert series["columns"] == {"status": 1, "reason": 1, "digest": 1, "voxel_z": 1}
    emphysema, risk = changes["labels"]["emphysema"], changes["labels"]["cvd_mortality"]
    old, new = ("yes", "no") if expected["old_class"] else ("no", "yes")
    assert (emphysema["added"], emphysema["removed"], emphysema["changed"]) == (0, 1, 1)
    assert emphysema["moves"] == {f"{old} -> {new}": 1}
    assert (risk["changed"], risk["moves"]) == (1, {"no event -> no event": 1})
    untouched = set(SCREENING) - {"emphysema", "cvd_mortality"}
    assert not any(changes["labels"][task]["changed"] for task in untouched)


def test_backwards_is_the_opposite(curated, changed):
    there, back = compare(curated, changed[0]), compare(changed[0], curated)
    for name in COUNTED:
        assert there[name]["added"] == back[name]["removed"]
        assert there[name]["columns"] == back[name]["columns"]
    for task in SCREENING:
        assert there["labels"][task]["removed"] == back["labels"][task]["added"]


def rows_of(task: str) -> st.SearchStrategy[dict]:
    hazard = TASKS[task].loss == "hazard"
    label = st.integers(0, 1 if hazard else len(TASKS[task].answers) - 1)
    return st.builds(
        lambda exam, side, label: {
            **{"exam": exam, "patient": "p", "split": "train", "task": task, "side": side, "nodule": -1},
            **{"slice_number": -1, "mask": [1.0] * (6 if hazard else 1)},
            "label": [0.0] * 5 + [float(label)] if hazard else [float(label)],
        },
        st.sampled_from("abc"),
        st.sampled_from(["", "left"]),
        label,
    )


LABELS = st.lists(
    st.sampled_from(["emphysema", "nodule_size", "cvd_mortality"]).flatmap(rows_of),
    unique_by=lambda row: tuple(row[column] for column in KEYS["labels"]),
    max_size=12,
)


@settings(max_examples=40)
@given(old=LABELS, new=LABELS)
def test_labels_are_counted_as_one_by_one(curated, tmp_path_factory, old, new):
    directories = []
    for rows in (old, new):
        directories.append(tmp_path_factory.mktemp("labels"))
        for path in curated.glob("*.*"):
            shutil.copy(path, directories[-1])
        table = pa.Table.from_pylist(rows, SCHEMAS["labels"])
        pq.write_table(table, directories[-1] / "labels.parquet")
    found = compare(*directories)["labels"]
    by_key = [{tuple(row[c] for c in KEYS["labels"]): row for row in rows} for rows in (old, new)]
    for task in SCREENING:
        a, b = ({key for key in side if key[1] == task} for side in by_key)
        changed = [key for key in a & b if by_key[0][key]["label"] != by_key[1][key]["label"]]
        counts = found[task]
        assert (counts["before"], counts["after"]) == (len(a), len(b))
        assert (counts["added"], counts["removed"]) == (len(b - a), len(a - b))
        assert counts["changed"] == sum(counts["moves"].values()) == len(changed)
        names = ("no event", "event") if TASKS[task].loss == "hazard" else TASKS[task].answers
        added = Counter(names[int(max(by_key[1][key]["label"]))] for key in b - a)
        assert {name: n["added"] for name, n in counts["classes"].items() if n["added"]} == added


def test_lists_become_a_matrix_and_classes():
    column = pa.chunked_array([[[1.0], [0, 0, 1, 1, 1, 1]], [[], [3.0]]], pa.list_(pa.float32()))
    assert matrix(column).tolist() == [
        [1, -1, -1, -1, -1, -1],
        [0, 0, 1, 1, 1, 1],
        [-1] * 6,
        [3, -1, -1, -1, -1, -1],
    ]
    labels = pa.table({"task": ["emphysema", "cvd_mortality", "nodule_size"], "label": column.filter(
        pa.array([True, True, False, True]))})  # fmt: skip
    assert classes(labels).tolist() == [1, 1, 3]


def test_what_is_no_dataset_is_refused(curated, tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(InputError, match="is not a dataset"):
        compare(curated, tmp_path)


def test_command_prints_tables_and_json(curated, changed):
    command = [sys.executable, "-c", "from m3fm.cli import main; main()", "dataset", "diff"]
    command += [str(curated), str(changed[0])]
    settings = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout
    assert "series: kept -> rejected no_lungs: 1" in shown
    assert "series: kept with other voxels: 1" in shown
    assert all(task in shown for task in SCREENING)
    printed = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == compare(curated, changed[0])
