"""The rules of selection: every series one decision, and the numbers add up."""

import importlib.util
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3fm.cohort import idc
from m3fm.cohort.selection import KEPT, LISTING, RULES, decide, kept_series, summary
from m3fm.cohort.source import open_source
from m3fm.core.errors import InputError

INDEX_SCHEMA = pa.schema(
    [
        *((name, pa.large_string()) for name in ("collection_id", "analysis_result_id", "PatientID")),
        *((name, pa.large_string()) for name in ("SeriesInstanceUID", "StudyInstanceUID", "StudyDate")),
        *((name, pa.large_string()) for name in ("Modality", "sop_class_name", "SeriesDescription")),
        ("instanceCount", pa.int64()),
        ("series_size_MB", pa.float64()),
    ]
)
"""The columns of IDC's index that matter here, and two that do not."""
AXIAL = {
    "collection_id": "nlst",
    "PatientID": "100001",
    "StudyInstanceUID": "1.1",
    "StudyDate": "1999-01-02",
    "Modality": "CT",
    "sop_class_name": "CT Image Storage",
    "SeriesDescription": "0,OPA,GE,LSQX,BONE,363,2.5,120,48,0,1.5",
    "instanceCount": 120,
    "series_size_MB": 60.0,
}
SERIES = {
    "axial": {},
    "64 slices": {"instanceCount": 64, "PatientID": "100002", "StudyInstanceUID": "1.2"},
    "63 slices": {"instanceCount": 63, "PatientID": "100003"},
    "year 2": {"SeriesDescription": "2,DPA,SE,S16,B30f,3,2,1,1,1,1", "StudyInstanceUID": "1.3"},
    "reformat": {"SeriesDescription": "0,DSR,GE,LS16,BONE,3,2,1,1,1,1"},
    "localizer": {"SeriesDescription": "0,OPL,GE,LSQX,null,null,na,120,0,0,na", "instanceCount": 2},
    "long localizer": {"SeriesDescription": "0,OSL,PH,MX8000,unkn,5,3,1,na,na,na", "instanceCount": 167},
    "screenshots": {"sop_class_name": "Secondary Capture Image Storage", "PatientID": "100004"},
    "copy": {"analysis_result_id": "lidc_annot_nlst501"},
    "segmentation": {"Modality": "SEG", "analysis_result_id": "totalsegmentator", "instanceCount": 1},
    "slide": {"Modality": "SM", "SeriesDescription": None, "PatientID": "200001"},
    "elsewhere": {"collection_id": "lidc_idri", "PatientID": "LIDC-1"},
}
DECISIONS = {
    "axial": KEPT,
    "64 slices": KEPT,
    "63 slices": "too_few_slices",
    "year 2": KEPT,
    "reformat": KEPT,
    "localizer": "localizer",
    "long localizer": "localizer",
    "screenshots": "secondary_capture",
    "copy": "analysis_result",
    "segmentation": "not_ct",
    "slide": "not_ct",
}


def write_index(path, series=SERIES):
    rows = [{**AXIAL, "SeriesInstanceUID": uid, **row} for uid, row in series.items()]
    pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), path)
    return path


def test_every_series_of_the_index_has_the_decision_it_deserves(tmp_path):
    rows = open_source("idc", write_index(tmp_path / "index.parquet")).listing()
    assert dict(zip(rows["series"].to_pylist(), decide(rows, 64).to_pylist())) == DECISIONS


def test_a_summary_says_what_is_left_after_each_rule(tmp_path):
    rows = open_source("idc", write_index(tmp_path / "index.parquet")).listing()
    found = summary(rows, decide(rows, 64))
    assert (found["series"], found["patients"]) == (11, 5)
    left = {rule["rule"]: (rule["series_left"], rule["patients_left"]) for rule in found["rules"]}
    assert left == {
        "not_ct": (9, 4),
        "listed_twice": (9, 4),
        "analysis_result": (8, 4),
        "secondary_capture": (7, 3),
        "localizer": (5, 3),
        "too_few_slices": (4, 2),
    }
    assert found["kept"] == {"series": 4, "patients": 2, "exams": 3, "unclear": 1}


def test_kept_series_of_some_patients(tmp_path):
    rows = open_source("idc", write_index(tmp_path / "index.parquet")).listing()
    decisions = decide(rows, 64)
    assert kept_series(rows, decisions) == ["axial", "64 slices", "year 2", "reformat"]
    assert kept_series(rows, decisions, 1) == ["axial", "year 2", "reformat"]
    assert kept_series(rows, decisions, 9) == kept_series(rows, decisions)


@pytest.mark.parametrize("patient", ["100001.0", " 100001", "0100001"])
def test_patients_of_the_index_are_spelled_alike(tmp_path, patient):
    path = write_index(tmp_path / "index.parquet", {"axial": {}, "later": {"PatientID": patient}})
    (exam,) = open_source("idc", path).exams()
    assert exam.patient_id == "100001"


@pytest.mark.parametrize("column", ["PatientID", "StudyInstanceUID"])
def test_an_index_with_an_empty_identifier_is_refused(tmp_path, column):
    path = write_index(tmp_path / "index.parquet", {"axial": {column: None}})
    with pytest.raises(InputError, match="has an empty PatientID or StudyInstanceUID"):
        open_source("idc", path).exams()


def test_an_index_with_columns_of_other_types_is_refused(tmp_path):
    path = write_index(tmp_path / "index.parquet")
    table = pq.read_table(path)
    counts = pa.array([["64"]] * len(table))
    place = table.column_names.index("instanceCount")
    pq.write_table(table.set_column(place, "instanceCount", counts), path)
    with pytest.raises(InputError, match="has columns of other types than IDC's"):
        open_source("idc", path).exams()


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "series": st.sampled_from("abcdefghij"),
            "study": st.sampled_from("st"),
            "patient": st.sampled_from("xyz"),
            "modality": st.sampled_from(["CT", "MR", None]),
            "analysis": st.sampled_from([None, None, "someone's"]),
            "capture": st.sampled_from([True, False, None]),
            "localizer": st.sampled_from([True, False, None]),
            "reformat": st.sampled_from([True, False, None]),
            "slices": st.sampled_from([1, 63, 64, 65, None]),
        }
    ),
    max_size=30,
)


def by_hand(row, again):
    if row["modality"] not in ("CT", None):
        return "not_ct"
    if again:
        return "listed_twice"
    if row["analysis"] is not None:
        return "analysis_result"
    if row["capture"]:
        return "secondary_capture"
    if row["localizer"]:
        return "localizer"
    if row["slices"] is not None and row["slices"] < 64:
        return "too_few_slices"
    return KEPT


@given(ROWS)
def test_decisions_are_those_of_a_loop_and_the_numbers_add_up(rows):
    seen, expected = set(), []
    for row in rows:
        expected.append(by_hand(row, row["series"] in seen))
        seen.add(row["series"])
    listing = pa.Table.from_pylist(rows, LISTING)
    decisions = decide(listing, 64)
    assert decisions.to_pylist() == expected
    found = summary(listing, decisions)
    assert found["series"] == len(rows)
    assert found["kept"]["series"] + sum(rule["series"] for rule in found["rules"]) == len(rows)
    kept = [row for row, decision in zip(rows, expected) if decision == KEPT]
    assert found["kept"]["patients"] == len({row["patient"] for row in kept})
    assert found["kept"]["unclear"] == sum(row["reformat"] is True for row in kept)


def test_rules_have_names_of_their_own_and_reasons():
    assert len({rule.name for rule in RULES} | {KEPT}) == len(RULES) + 1
    assert all(rule.why for rule in RULES)


def test_exams_of_the_index_are_patients_and_screening_years(tmp_path):
    series = {**SERIES, "second visit": {"StudyInstanceUID": "1.9"}}
    exams = open_source("idc", write_index(tmp_path / "index.parquet", series)).exams()
    assert [(exam.patient_id, exam.timepoint, exam.study_uid) for exam in exams] == [
        ("100001", 0, None),  # two studies in one year: which of them is meant is not known
        ("100001", 2, "1.3"),
        ("100002", 0, "1.2"),
        ("100003", 0, "1.1"),
        ("100004", 0, "1.1"),
    ]


def test_a_folder_of_the_index_and_downloaded_images(tmp_path):
    write_index(tmp_path / idc.INDEX)
    with pytest.raises(InputError, match="images is missing: put the DICOM there"):
        open_source("idc", tmp_path).image_paths()
    (tmp_path / "images/100001").mkdir(parents=True)
    (tmp_path / "images/100001/1.dcm").write_bytes(b"slice")
    source = open_source("idc", tmp_path)
    assert [path.name for path in source.image_paths()] == ["1.dcm"]
    assert not source.test_only
    before = source.digest()
    (tmp_path / "images/100001/2.dcm").write_bytes(b"slice")
    assert source.digest() != before


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({"a": {"SeriesDescription": "Chest 1.25 mm"}}, "does not start with a screening year"),
        ({"a": {"SeriesDescription": None}}, "does not start with a screening year"),
    ],
)
def test_another_grammar_of_descriptions_is_refused(tmp_path, series, message):
    with pytest.raises(InputError, match=message):
        open_source("idc", write_index(tmp_path / "index.parquet", series)).exams()


def test_what_is_no_index_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"nowhere is missing: it comes with the package idc-index-data"):
        open_source("idc", tmp_path / "nowhere")
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"collection_id": ["nlst"], "Modality": ["CT"]}), tmp_path / "short.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    for name, message in [
        ("text", "is not an index of IDC"),
        ("short", "no column PatientID, SeriesDescription"),
        ("other", "no column Modality, .*collection_id"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            open_source("idc", tmp_path / f"{name}.parquet").listing()
        assert "\n" not in str(caught.value)


def test_a_download_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "idc_index", None)
    with pytest.raises(InputError, match="pip install idc-index"):
        idc.download(["1.2.3"], tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("idc_index_data") is None, reason="the package idc-index-data is not installed"
)
def test_the_papers_rules_on_the_real_index_select_the_papers_numbers():
    """125,090 volumes of 26,254 patients (paper, Results: Multimodal multitask datasets), within 0.1 %."""
    rows = open_source("idc", idc.installed_index()).listing()
    found = summary(rows, decide(rows, 64))
    kept = found["kept"]
    print(json.dumps(found, indent=2))
    assert abs(kept["series"] - 125_090) <= 125
    assert abs(kept["patients"] - 26_254) <= 26
    assert found["series"] == kept["series"] + sum(rule["series"] for rule in found["rules"])
