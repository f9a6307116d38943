"""MIDRC's tables: studies, elements, and the label of COVID-19 with its window of days."""

import csv

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3fm.cohort.selection import decide
from m3fm.cohort.source import open_source
from m3fm.config.sections import LabelConfig
from m3fm.core.errors import InputError

CASES = [
    {
        **{"*submitter_id": "c1", "sex": "Male", "race": "Black or African American", "site_id": "7"},
        **{"ethnicity": "Not Hispanic or Latino", "age_at_index": "61"},
    },
    {
        **{"*submitter_id": "c2", "sex": "not reported", "race": "Other", "site_id": ""},
        **{"ethnicity": "", "age_at_index": ""},
    },
]
POSITIVE, NEGATIVE = "days_from_study_to_pos_covid_test", "days_from_study_to_neg_covid_test"
STUDY = {"age_at_imaging": "", "days_to_study": "", POSITIVE: "", NEGATIVE: ""}
STUDIES = [
    {**STUDY, "submitter_id": "s2", "cases.submitter_id": "c1", "study_uid": "1.2", "days_to_study": "30"},
    {
        **STUDY,
        **{"submitter_id": "s1", "cases.submitter_id": "c1", "study_uid": "1.1", "days_to_study": "-5"},
        **{"age_at_imaging": "62", POSITIVE: "[3, 40]"},
    },
    {**STUDY, "submitter_id": "s3", "cases.submitter_id": "c2", "study_uid": "1.3", NEGATIVE: "-2,5"},
    {**STUDY, "submitter_id": "s4", "cases.submitter_id": "c2", "study_uid": "1.4"},
]
TEST = {"cases.submitter_id": "c1", "test_name": "COVID-19", "test_method": "RT-PCR"}
TESTS = [
    {**TEST, "test_result_text": "Negative", "test_days_from_index": "25"},
    {**TEST, "test_result_text": "Indeterminate", "test_days_from_index": "30"},
    {**TEST, "test_result_text": "Positive", "test_days_from_index": "30", "test_method": "Not Reported"},
]
SERIES = [
    {"series_uid": uid, "imaging_studies.submitter_id": "s1", "modality": "CT", **more}
    for uid, more in {
        "a": {"number_of_instances": "64", "image_type": "['ORIGINAL','PRIMARY','AXIAL']"},
        "b": {"number_of_instances": "63", "image_type": ""},
        "c": {"number_of_instances": "70", "image_type": "ORIGINAL,PRIMARY,LOCALIZER"},
        "d": {"number_of_instances": "70", "image_type": "", "modality": "DX"},
    }.items()
]


def write(root, **tables):
    rows = {"case": CASES, "imaging_study": STUDIES, "measurement": TESTS, "ct_series_file": SERIES, **tables}
    for folder in ("tables", "images"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, table in rows.items():
        with (root / "tables" / f"{name}.tsv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(table)
    return root


def read_all(root):
    source = open_source("midrc", root)
    source.exams()
    source.listing()


def covid(root, **choices):
    exams = open_source("midrc", root, LabelConfig(**choices)).exams()
    return {exam.study_uid: exam.covid19 for exam in exams}


def test_exams_are_studies_in_the_order_of_their_days(tmp_path):
    exams = open_source("midrc", write(tmp_path)).exams()
    assert [(exam.patient_id, exam.timepoint, exam.study_uid) for exam in exams] == [
        ("C1", 0, "1.1"),
        ("C1", 1, "1.2"),
        ("C2", 0, "1.3"),
        ("C2", 1, "1.4"),
    ]
    known = {"gender": "Male", "race": "black or African-American", "ethnic": "neither Hispanic nor Latino"}
    assert [exam.elements for exam in exams] == [{**known, "age": 62}, {**known, "age": 61}, {}, {}]


def test_the_label_is_of_tests_near_the_scan(tmp_path):
    root = write(tmp_path)
    assert covid(root) == {"1.1": 1, "1.2": 0, "1.3": 0, "1.4": None}
    assert covid(root, covid_days_after=2)["1.1"] is None
    assert covid(root, covid_days_before=4)["1.2"] is None
    assert covid(root, covid_days_before=1, covid_days_after=4)["1.3"] is None


DAYS = st.lists(st.integers(-30, 30), max_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(-50, 50),
    DAYS,
    DAYS,
    st.lists(st.tuples(st.booleans(), st.integers(-80, 80)), max_size=4),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_labels_are_those_of_a_loop_over_all_tests(tmp_path, day, positive, negative, dated, before, after):
    study = {**STUDIES[0], "days_to_study": day, POSITIVE: positive, NEGATIVE: negative}
    tests = [
        {**TEST, "test_result_text": "Positive" if sick else "Negative", "test_days_from_index": date}
        for sick, date in dated
    ]
    root = write(tmp_path, imaging_study=[study], measurement=tests or TESTS[1:2])
    near = [sick for sick, date in dated if -before <= date - day <= after]
    near += [True for days in positive if -before <= days <= after]
    near += [False for days in negative if -before <= days <= after]
    expected = None if not near else int(any(near))
    assert covid(root, covid_days_before=before, covid_days_after=after) == {"1.2": expected}


def test_sites_and_what_may_be_missing(tmp_path):
    root = write(tmp_path, imaging_study=[{k: v for k, v in STUDIES[3].items() if not k.startswith("days")}])
    (root / "tables" / "measurement.tsv").unlink()
    source = open_source("midrc", root)
    assert not source.test_only
    assert [exam.covid19 for exam in source.exams()] == [None]
    assert [source.site(case) for case in ("C1", "C2")] == ["midrc-7", "midrc"]


def test_series_that_would_be_kept(tmp_path):
    rows = open_source("midrc", write(tmp_path)).listing()
    assert rows["patient"].to_pylist() == ["C1"] * 4
    assert rows["study"].to_pylist() == ["1.1"] * 4
    assert decide(rows, 64).to_pylist() == ["kept", "too_few_slices", "localizer", "not_ct"]


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "message"),
    [
        (
            "case",
            0,
            "sex",
            "unknown sex",
            r"case\.tsv, line 2, sex: 'unknown sex' is not one of Female, Male",
        ),
        ("case", 1, "*submitter_id", "c1", r"submitter_id: the identifier is not the only row"),
        ("imaging_study", 0, "cases.submitter_id", "c9", r"the identifier is not in case\.tsv"),
        ("imaging_study", 1, POSITIVE, "soon", r"line 3, .*: 'soon' is not a list of days"),
        ("measurement", 0, "test_result_text", "maybe", "'maybe' is not one of Positive, Negative"),
        (
            "ct_series_file",
            0,
            "imaging_studies.submitter_id",
            "s9",
            r"the identifier is not in imaging_study",
        ),
    ],
)
def test_what_is_unknown_is_refused_by_table_line_and_column(tmp_path, table, row, column, value, message):
    tables = {"case": CASES, "imaging_study": STUDIES, "measurement": TESTS, "ct_series_file": SERIES}
    rows = [dict(line) for line in tables[table]]
    rows[row][column] = value
    root = write(tmp_path, **{table: rows})
    with pytest.raises(InputError, match=message) as caught:
        read_all(root)
    assert not {"c1", "c9", "s9"} & set(str(caught.value).replace(",", " ").split())


def test_a_missing_table_or_column_is_named(tmp_path):
    root = write(tmp_path)
    (root / "tables" / "case.tsv").unlink()
    with pytest.raises(InputError, match=r"case\.tsv is missing: put the table there, as TSV"):
        open_source("midrc", root)
    write(tmp_path, imaging_study=[{"submitter_id": "s1", "study_uid": "1.1"}])
    with pytest.raises(InputError, match=r"imaging_study\.tsv has no column cases\.submitter_id"):
        open_source("midrc", root)


@pytest.mark.parametrize("form", ["{}.0", "0{}", "'{}", " {}"])
@pytest.mark.parametrize("table", ["case", "imaging_study", "measurement"])
def test_cases_that_a_table_spells_otherwise_are_the_same(tmp_path, table, form):
    numbers = {"c1": "1001", "c2": "1002"}
    column = {"case": "*submitter_id"}.get(table, "cases.submitter_id")

    def numbered(rows, name, change):
        key = "*submitter_id" if name == "case" else "cases.submitter_id"
        return [{**row, key: change.format(numbers[row[key]])} for row in rows]

    tables = {"case": CASES, "imaging_study": STUDIES, "measurement": TESTS}
    plain = {name: numbered(rows, name, "{}") for name, rows in tables.items()}
    expected = open_source("midrc", write(tmp_path, **plain)).exams()
    assert plain[table][0][column] == "1001"
    other = {**plain, table: numbered(tables[table], table, form)}
    assert open_source("midrc", write(tmp_path, **other)).exams() == expected


def test_tests_of_nobody_are_counted(tmp_path):
    tests = [*TESTS, {**TESTS[0], "cases.submitter_id": "c9"}]
    (found,) = open_source("midrc", write(tmp_path, measurement=tests)).links()
    assert (found.table, found.rows, found.unlinked) == ("measurement", 4, (("line 5", "C9"),))


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        (
            "imaging_study",
            "days_to_study",
            "43831",
            r"imaging_study\.tsv, line 2, days_to_study: '43831' is not",
        ),
        ("imaging_study", "age_at_imaging", "-62", r"line 2, age_at_imaging: '-62' is not a number from 0"),
        ("imaging_study", POSITIVE, "43831", "is not a list of days"),
        ("measurement", "test_days_from_index", "inf", "'inf' is not a number"),
        ("measurement", "test_days_from_index", "2,5", "'2,5' is not a number"),
        ("case", "age_at_index", "610", "'610' is not a number from 0 to 220"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(tmp_path, table, column, value, message):
    rows = {"case": CASES, "imaging_study": STUDIES, "measurement": TESTS}[table]
    root = write(tmp_path, **{table: [{**rows[0], column: value}, *rows[1:]]})
    with pytest.raises(InputError, match=message):
        read_all(root)
