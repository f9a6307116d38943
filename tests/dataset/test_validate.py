"""The gate: a good dataset passes, and every expectation has something that it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.core.artifacts import Reference, check_files, read_manifest
from m3fm.core.errors import InputError
from m3fm.core.files import write_json
from m3fm.dataset import measures
from m3fm.dataset.expectations import KEPT_LIMITS, column_suite, suites
from m3fm.dataset.tables import MEASURED, SCHEMAS
from m3fm.dataset.validate import open_context, run_suite, validate

Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def tables(curated) -> Tables:
    return {name: pd.read_parquet(curated / f"{name}.parquet") for name in SCHEMAS}


@pytest.fixture
def broken(curated, tmp_path):
    """Write a copy of the dataset in which some tables are other ones."""

    def write(**changed: Any) -> Path:
        dataset = tmp_path / "dataset"
        dataset.mkdir()
        for path in curated.glob("*.*"):
            shutil.copy(path, dataset)
        (dataset / "volumes").symlink_to(curated / "volumes")
        if links := changed.pop("links", None):
            manifest = read_manifest(dataset)
            manifest["counts"]["unlinked"] = links
            write_json(dataset / "dataset.json", manifest)
        for name, rows in changed.items():
            table = pa.Table.from_pandas(rows, SCHEMAS[name], preserve_index=False)
            pq.write_table(table, dataset / f"{name}.parquet")
        return dataset

    return write


def failing(dataset: Path, suite: str, chosen: set[str], tmp_path: Path) -> set[str]:
    """Which of the chosen expectations of a suite are not met, by type, columns and condition."""
    all_of_them = suites(read_manifest(dataset)["counts"]["series_seen"])[suite]
    expectations = [single for single in all_of_them if identity(single.configuration) in chosen]
    result = run_suite(open_context(tmp_path), suite, expectations, measures.measured(dataset)[suite])
    for single in result.results:
        assert not single.exception_info.get("raised_exception"), single.exception_info
    return {identity(single.expectation_config) for single in result.results if not single.success}


def identity(config) -> str:
    columns = [config.kwargs.get(key) for key in ("column", "column_A", "column_B")]
    columns += config.kwargs.get("column_list", [])
    condition = config.kwargs.get("row_condition") or {}
    of = condition.get("parameter", "")
    of = f"{of[0]}, ..." if isinstance(of, list) else of
    return " ".join(
        [config.type.removeprefix("expect_"), *filter(None, columns), *([f"if {of}"] if of != "" else [])]
    )


KEPT, REJECTED = "kept", "rejected"
IN_SET, EQUAL, BETWEEN = (
    "column_values_to_be_in_set",
    "column_pair_values_to_be_equal",
    "column_values_to_be_between",
)
NOT_NULL, NOT_LESS = "column_values_to_not_be_null", "column_pair_values_a_to_be_greater_than_b"
MATCH, NO_MATCH = "column_values_to_match_regex", "column_values_to_not_match_regex"
UNIQUE, UNIQUE_TOGETHER = "column_values_to_be_unique", "compound_columns_to_be_unique"


def put(name: str, column: str, value, where=lambda rows: rows.index == rows.index[0]):
    """A corruption: a value, or a function of the old one, in a column of the first of some rows."""

    def corrupt(tables: Tables) -> Tables:
        rows, chosen = tables[name], int(np.flatnonzero(where(tables[name]))[0])
        values = rows[column].to_list()
        values[chosen] = value(values[chosen]) if callable(value) else value
        return {name: rows.assign(**{column: pd.Series(values, index=rows.index, dtype=object)})}

    return corrupt


def other_split(split: str) -> str:
    return "test" if split == "train" else "train"


def repeat(name: str):
    """A corruption: the first row twice."""
    return lambda tables: {name: pd.concat([tables[name], tables[name].head(1)])}


def kept(rows):
    return rows["status"] == "kept"


def rejected(rows):
    return rows["status"] == "rejected"


def of_task(task: str):
    return lambda rows: rows["task"] == task


def of_nodule(rows):
    return rows["nodule"] >= 0


def rejected_for(reason: str):
    return lambda rows: rows["reason"] == reason


def unmeasured(tables: Tables) -> Tables:
    """A corruption: a kept series of which nothing was measured."""
    series = tables["series"].astype(dict.fromkeys(MEASURED, object))
    row = np.flatnonzero(kept(series))[0]
    for column in set(MEASURED) - {"files"}:
        series.iat[row, series.columns.get_loc(column)] = None
    return {"series": series}


def all_measured(end: int):
    """A corruption: a kept series with each figure beyond the lower or upper end of what is allowed."""

    def corrupt(tables: Tables) -> Tables:
        series = tables["series"].copy()
        row = series.index[kept(series)][0]
        for column, limits in KEPT_LIMITS.items():
            series.loc[row, column] = limits[end] + (1 if end else -1)
        return {"series": series}

    return corrupt


def all_elements_implausible(tables: Tables) -> Tables:
    exams = tables["exams"].copy()
    for element in ELEMENTS.values():
        if element.kind != "relative":
            exams[element.name] = "unheard of" if element.kind == "category" else 1e6
    return {"exams": exams}


def answer_that_is_none(task: str):
    """A corruption: a row of a task with an answer that the task does not have."""

    def corrupt(tables: Tables) -> Tables:
        row = tables["labels"].head(1).assign(task=task)
        answer = pd.Series([[float(len(TASKS[task].answers))]], index=row.index)
        return {"labels": pd.concat([tables["labels"], row.assign(label=answer)])}

    return corrupt


def preferred_twice(tables: Tables) -> Tables:
    series = tables["series"]
    return {"series": series.assign(preferred=series["preferred"] | kept(series))}


def second_patient(column: str, table: str):
    """A corruption: an exam or a series of a table that is also found with another patient."""

    def corrupt(tables: Tables) -> Tables:
        rows = tables[table]
        other = rows[rows["patient"] != rows["patient"].iloc[0]].head(1).copy()
        other[column] = rows[column].iloc[0]
        return {table: pd.concat([rows, other])}

    return corrupt


def scan_again_in_another_split(tables: Tables) -> Tables:
    series = tables["series"].copy()
    train = series[kept(series) & (series["split"] == "train")].iloc[0]
    test = series.index[kept(series) & (series["split"] == "test")][0]
    series.loc[test, "digest"] = train["digest"]
    return {"series": series}


def wrong_hash(column: str):
    return f"{MATCH} {column}"


HIDDEN_UID = "1.2.840.113654.2.55.1"
OTHER_BOX = [0, 67, 0, 48, 0, 48]
CORRUPTIONS = [
    ("series", lambda t: {"series": t["series"].tail(-1)}, {"table_row_count_to_equal"}),
    ("series", repeat("series"), {f"{UNIQUE} series"}),
    *(("series", put("series", c, "100200"), {wrong_hash(c)}) for c in ("series", "exam", "patient")),
    *(
        ("series", put("series", c, secret), {f"{NO_MATCH} {c}"})
        for c in ("site", "detail", "manufacturer", "model", "kernel")
        for secret in (HIDDEN_UID, "seen 1999-01-02", "19990102", "Doe^Jane")
    ),
    ("series", put("series", "split", other_split), {f"{EQUAL} split patient_split"}),
    ("series", put("splits", "patient", "0" * 16), {f"{EQUAL} split patient_split"}),
    ("series", put("series", "patient", "0" * 16), {f"{EQUAL} patient exam_patient"}),
    ("series", put("series", "exam", "0" * 16), {f"{EQUAL} patient exam_patient"}),
    ("series", put("series", "status", "maybe"), {f"{IN_SET} status"}),
    ("series", put("series", "reason", "gap", kept), {f"{IN_SET} reason if kept"}),
    ("series", put("series", "reason", "disliked", rejected), {f"{IN_SET} reason if rejected"}),
    ("series", put("series", "files", 0), {f"{BETWEEN} files"}),
    ("series", put("series", "copies", 3, kept), {f"{NOT_LESS} different_files slices"}),
    ("series", put("series", "step_max_mm", 0.1, kept), {f"{NOT_LESS} step_max_mm step_min_mm"}),
    ("series", unmeasured, {f"{NOT_NULL} {column} if kept" for column in set(MEASURED) - {"files"}}),
    *(
        ("series", all_measured(end), {f"{BETWEEN} {column} if kept" for column in KEPT_LIMITS})
        for end in (0, 1)
    ),
    (
        "series",
        put("series", "reason", "duplicate_slices", rejected_for("gap")),
        {f"{BETWEEN} duplicates if duplicate_slices"},
    ),
    ("series", put("series", "gaps", 0, rejected_for("gap")), {f"{BETWEEN} gaps if gap"}),
    *(
        ("series", put("series", box, value, kept), {f"{IN_SET} {box}_inside if kept"})
        for box in ("left_lung", "right_lung", "both_lungs", "heart")
        for value in (OTHER_BOX, None)
    ),
    ("series", put("series", "slices", 65, kept), {f"{EQUAL} volume_found volume_expected if kept"}),
    (
        "series",
        put("series", "volume", "volumes/x.npy", kept),
        {f"{EQUAL} volume_found volume_expected if kept"},
    ),
    ("series", put("series", "digest", "", kept), {f"{MATCH} digest if kept"}),
    ("series", put("series", "volume", "volumes/x.npy", rejected), {f"{IN_SET} volume if rejected"}),
    ("series", put("series", "preferred", True, rejected), {f"{IN_SET} preferred if rejected"}),
    ("series", preferred_twice, {f"{IN_SET} preferred_of_exam if kept"}),
    ("exams", repeat("exams"), {f"{UNIQUE} exam"}),
    *(("exams", put("exams", c, "100200"), {wrong_hash(c)}) for c in ("exam", "patient")),
    ("exams", put("exams", "site", HIDDEN_UID), {f"{NO_MATCH} site"}),
    ("exams", put("exams", "split", other_split), {f"{EQUAL} split patient_split"}),
    ("exams", put("exams", "timepoint", 1999), {f"{BETWEEN} timepoint"}),
    (
        "exams",
        all_elements_implausible,
        {
            f"{IN_SET if element.kind == 'category' else BETWEEN} {element.name}"
            for element in ELEMENTS.values()
            if element.kind != "relative"
        },
    ),
    ("nodules", repeat("nodules"), {f"{UNIQUE_TOGETHER} exam number"}),
    ("nodules", put("nodules", "split", other_split), {f"{EQUAL} split patient_split"}),
    ("nodules", put("nodules", "patient", "0" * 16), {f"{EQUAL} patient exam_patient"}),
    ("nodules", put("nodules", "lobe", "lingula"), {f"{IN_SET} lobe"}),
    ("nodules", put("nodules", "side", "right"), {f"{EQUAL} side lobe_side"}),
    ("nodules", put("nodules", "side", None), {f"{EQUAL} side lobe_side"}),
    ("nodules", put("nodules", "margin", "fuzzy"), {f"{IN_SET} margin"}),
    ("nodules", put("nodules", "attenuation", "water"), {f"{IN_SET} attenuation"}),
    ("labels", repeat("labels"), {f"{UNIQUE_TOGETHER} exam task side nodule slice_number"}),
    ("labels", put("labels", "split", other_split), {f"{EQUAL} split patient_split"}),
    ("labels", put("labels", "patient", "0" * 16), {f"{EQUAL} patient exam_patient"}),
    ("labels", put("labels", "task", "horoscope"), {f"{IN_SET} task"}),
    ("labels", lambda t: {"series": t["series"].assign(status="rejected")}, {f"{IN_SET} imaged"}),
    (
        "labels",
        put("labels", "label", [0.0, 1.0], of_task("emphysema")),
        {f"{EQUAL} label_length length_expected"},
    ),
    (
        "labels",
        put("labels", "mask", [1.0] * 5, of_task("cvd_mortality")),
        {f"{EQUAL} mask_length length_expected"},
    ),
    *(
        (
            "labels",
            put("labels", "mask", mask, of_task("cvd_mortality")),
            {f"{IN_SET} mask_is_prefix"},
        )
        for mask in ([1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [1, 0.5, 0, 0, 0, 0])
    ),
    ("labels", put("labels", "mask", [0.0], of_task("emphysema")), {f"{IN_SET} mask_is_prefix"}),
    *(
        (
            "labels",
            put("labels", "label", label, of_task("lung_cancer_risk")),
            {f"{IN_SET} label_rises if cvd_mortality, ..."},
        )
        for label in ([0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 2])
    ),
    (
        "labels",
        put("labels", "side", "", of_task("lung_cancer_risk")),
        {f"{IN_SET} side if nodule_presence, ..."},
    ),
    ("labels", put("labels", "side", "left", of_task("emphysema")), {f"{IN_SET} side if cvd_diagnosis, ..."}),
    ("labels", put("labels", "side", "right", of_nodule), {f"{EQUAL} side nodule_side if 0"}),
    ("labels", put("labels", "slice_number", 3, of_nodule), {f"{EQUAL} slice_number nodule_slice if 0"}),
    *(
        ("labels", answer_that_is_none(task), {f"{IN_SET} answer if {task}"})
        for task in SCREENING
        if TASKS[task].loss == "softmax"
    ),
    ("splits", repeat("splits"), {f"{UNIQUE} patient"}),
    ("splits", put("splits", "patient", "100200"), {wrong_hash("patient")}),
    ("splits", put("splits", "split", "spare"), {f"{IN_SET} split"}),
    (
        "links",
        lambda t: {"links": {"ctab": {"rows": 3, "fraction": 0.03, "limit": 0.01, "empty": False}}},
        {f"{NOT_LESS} limit fraction"},
    ),
    ("identities", put("series", "split", other_split), {f"{IN_SET} splits"}),
    ("identities", put("labels", "split", other_split), {f"{IN_SET} splits"}),
    ("identities", scan_again_in_another_split, {f"{IN_SET} splits"}),
    ("identities", second_patient("exam", "exams"), {f"{IN_SET} patients if exam, ..."}),
    ("identities", second_patient("series", "series"), {f"{IN_SET} patients if exam, ..."}),
]


@pytest.mark.parametrize(("suite", "corrupt", "expected"), CORRUPTIONS)
def test_corruption_is_found(suite, corrupt, expected, tables, broken, tmp_path):
    assert failing(broken(**corrupt(tables)), suite, expected, tmp_path) == expected


def test_every_expectation_has_a_corruption():
    proven: dict[str, set[str]] = {}
    for suite, _, expected in CORRUPTIONS:
        proven.setdefault(suite, set()).update(expected)
    defined = {name: {identity(e.configuration) for e in suite} for name, suite in suites(1).items()}
    assert proven == defined
    assert all(len(defined[name]) == len(suite) for name, suite in suites(1).items()), "none hides another"


def test_unknown_and_missing_columns_are_found(curated, tables, broken, tmp_path):
    dataset = broken()
    leaky = pa.Table.from_pandas(tables["exams"], SCHEMAS["exams"]).append_column(
        "pid", pa.array(["1"] * len(tables["exams"]))
    )
    pq.write_table(leaky.drop_columns(["age"]), dataset / "exams.parquet")
    with pytest.raises(InputError, match=r"columns: .* fails in 2 rows: exams age, exams pid;"):
        validate(dataset, tmp_path / "validation")
    assert run_suite(open_context(tmp_path), "columns", column_suite(), measures.columns(curated)).success


def test_good_dataset_passes(curated, tables, tmp_path):
    validate(curated, tmp_path / "validation")
    outcome = read_manifest(tmp_path / "validation")
    assert outcome["success"]
    assert outcome["dataset"] == Reference.to(curated).digest
    assert set(outcome["suites"]) == {"columns", *suites(1)}
    assert all(counts["expectations"] == counts["met"] > 0 for counts in outcome["suites"].values())
    warned = {warning for warning in outcome["warnings"] if warning.startswith("no patient")}
    assert warned == {
        f"no patient is in {s}" for s in {"train", "val", "test"} - set(tables["splits"]["split"])
    }
    assert "adenopathy_mass: 0 of 2 answers occur in train" in outcome["warnings"]
    assert not any(
        warning.startswith("emphysema: 1 of 2 answers occur in train") for warning in outcome["warnings"]
    )
    check_files(tmp_path / "validation")
    assert (tmp_path / "validation" / "data_docs" / "index.html").is_file()
    first = Reference.to(tmp_path / "validation").digest
    validate(curated, tmp_path / "validation")
    assert Reference.to(tmp_path / "validation").digest == first, (
        "the same data are validated in the same way"
    )


def test_leaked_patient_is_refused_in_one_line_and_the_pages_are_there(tables, broken, tmp_path):
    splits = tables["splits"]
    learned = splits.index[splits["split"] == "train"][0]
    patient = splits.loc[learned, "patient"]
    leaked = tables["labels"].copy()
    rows = leaked.index[leaked["patient"] == patient]
    leaked.loc[rows[:2], "split"] = "test"
    with pytest.raises(InputError) as refusal:
        validate(broken(labels=leaked), tmp_path / "validation")
    line = str(refusal.value)
    assert "\n" not in line
    assert "identities: expect_column_values_to_be_in_set of splits fails in 2 rows: exam " in line
    assert f"patient {patient}" in line
    outcome = json.loads((tmp_path / "validation" / "validation.json").read_text())
    assert not outcome["success"]
    assert outcome["failures"][0] in line
    assert f"split, patient_split fails in 2 rows: {leaked.loc[rows[0], 'exam']} " in outcome["failures"][1]
    pages = tmp_path / "validation" / "data_docs"
    assert list(pages.glob("validations/labels/**/*.html"))


def test_column_with_nulls_where_none_may_be_is_found(tables, broken, tmp_path):
    dataset = broken()
    schema = SCHEMAS["labels"]
    optional = schema.set(schema.get_field_index("label"), schema.field("label").with_nullable(True))
    table = pa.Table.from_pandas(tables["labels"].assign(label=None), optional)
    pq.write_table(table, dataset / "labels.parquet")
    with pytest.raises(InputError, match="fails in 1 row: labels label;"):
        validate(dataset, tmp_path / "validation")


def test_pages_do_not_show_what_must_not_be_shown(tables, broken, tmp_path):
    with pytest.raises(InputError) as refusal:
        validate(broken(**put("series", "site", "Doe^Jane")(tables)), tmp_path / "validation")
    assert "expect_column_values_to_not_match_regex of site fails in 1 row: " in str(refusal.value)
    written = [path for path in (tmp_path / "validation").rglob("*") if path.suffix in (".html", ".json")]
    assert len(written) > 3
    assert not any("Doe^Jane" in path.read_text() for path in written)


def test_missing_table_is_refused(broken, tmp_path):
    dataset = broken()
    (dataset / "labels.parquet").unlink()
    with pytest.raises(InputError, match=r"labels\.parquet is missing or damaged"):
        validate(dataset, tmp_path / "validation")


def test_what_links_to_nothing_is_a_warning_below_the_limit(broken, tmp_path):
    few = {"rows": 3, "fraction": 0.002, "limit": 0.01, "empty": False}
    none = {"rows": 0, "fraction": 0.0, "limit": 0.01, "empty": True}
    validate(broken(links={"ctab": few, "covid": none}), tmp_path / "validation")
    warned = read_manifest(tmp_path / "validation")["warnings"]
    assert "table ctab: 3 rows (0.20%) link to no other table" in warned
    assert "table covid has no rows: what it would tell is unknown" in warned
    assert "2 series belong to no exam of the tables: they have no labels" in warned


def test_a_dataset_of_a_source_without_tables_passes(broken, tmp_path):
    dataset = broken()
    manifest = read_manifest(dataset)
    manifest["counts"]["unlinked"] = {}
    write_json(dataset / "dataset.json", manifest)
    validate(dataset, tmp_path / "validation")
