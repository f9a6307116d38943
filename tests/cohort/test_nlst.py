import pandas as pd
import pytest

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER
from m3fm.clinical.records import Nodule
from m3fm.clinical.sentences import clinical_sentences
from m3fm.cohort import labels
from m3fm.cohort.nlst import _PERSON_COLUMNS
from m3fm.cohort.selection import decide
from m3fm.cohort.source import open_source
from m3fm.config.sections import LabelConfig
from m3fm.core.errors import InputError

PERSON = dict.fromkeys(_PERSON_COLUMNS, ".N")
PERSON |= {column: "0" for column in PERSON if column.startswith(("diag", "canc", "fam", "loc"))}
PERSON |= {"gender": "1", "race": "1", "ethnic": "2", "educat": "5", "cigsmok": "0"}
PERSON |= {"age": "60", "height": "70", "weight": "180", "pkyr": "37.5", "smokeday": "20", "age_quit": "55"}
PERSON |= {
    "scr_days0": "20",
    "scr_days1": "380",
    "scr_days2": "750",
    "fup_days": "2400",
    "dcficd": " ",
    "cen": "BA",
}

PEOPLE = [
    {"pid": "100001"},
    # Died of an infarction; cancer in the left lung.
    {
        "pid": "100002",
        "gender": "2",
        "race": "99",
        "height": ".M",
        "educat": "95",
        "diagdiab": "1",
        "agediab": "52",
        "diaghype": "1",
        "agehype": ".M",
        "cancbrea": "1",
        "agebrea": "44",
        "diagstro": ".M",
        "fambrother": "1",
        "fammother": "",
        "candx_days": "500",
        "loclup": "1",
        "locunk": "0",
        "death_days": "1600",
        "fup_days": "1600",
        "dcficd": "I219",
        "cen": "",
    },
    {"pid": "200003", "scr_days0": ".W", "fup_days": ".N"},
    # Of the other arm: never screened by CT, so nothing of it is read.
    {"pid": "200004", "gender": "44"},
]
SCREEN = [
    {"pid": "100002", "study_yr": "1", "ctdxqual": "1"},
    {"pid": "100002", "study_yr": "0", "ctdxqual": "2"},
    {"pid": "100001", "study_yr": "0", "ctdxqual": "1"},
    {"pid": "100001", "study_yr": "2", "ctdxqual": "3"},
    {"pid": "200003", "study_yr": "0", "ctdxqual": ".M"},
]
ABNORMALITY = {"study_yr": "1", "sct_slice_num": ".N", "sct_epi_loc": ".N", "sct_long_dia": ".N"}
ABNORMALITY |= {"sct_perp_dia": ".N", "sct_margins": ".N", "sct_pre_att": ".N", "pid": "100002"}
NODULE = {
    "sct_ab_num": "1",
    "sct_ab_desc": "51",
    "sct_slice_num": "84",
    "sct_epi_loc": "5",
    "sct_long_dia": "12",
    "sct_perp_dia": "10.5",
    "sct_margins": "1",
    "sct_pre_att": "3",
}
CTAB = [
    NODULE,
    {"sct_ab_num": "2", "sct_ab_desc": "59"},
    {
        **NODULE,
        "sct_ab_num": "3",
        "sct_slice_num": "999",
        "sct_long_dia": ".S",
        "sct_epi_loc": "8",
        "sct_pre_att": "1",
    },
    {"sct_ab_num": "4", "sct_ab_desc": "52"},
    {"sct_ab_num": "1", "sct_ab_desc": "60", "pid": "100001", "study_yr": "2"},
]
CTABC = [
    {"pid": "100002", "study_yr": "1", "sct_ab_num": "1", "sct_ab_preexist": "1"},
    {"pid": "100002", "study_yr": "1", "sct_ab_num": "3", "sct_ab_preexist": "2"},
]
EXTRAS = {
    "ct_image": [
        {"pid": "100001", "study_yr": "0", "studyuid": "1.2.3"},
        {"pid": "100001", "study_yr": "0", "studyuid": "1.2.3"},
        {"pid": "100002", "study_yr": "0", "studyuid": "1.2.4"},
        {"pid": "100002", "study_yr": "0", "studyuid": "1.2.5"},
    ],
    "covid": [
        {"pid": "100001", "study_yr": "0", "test_method": "RT-PCR", "result": "Positive"},
        {"pid": "100001", "study_yr": "0", "test_method": "Rapid antigen test", "result": "Negative"},
        {"pid": "100002", "study_yr": "1", "test_method": "RT-PCR", "result": "Negative"},
    ],
    "lungrads": [{"pid": "100002", "study_yr": "1", "lung_rads": "4"}],
}


@pytest.fixture
def tables():
    """The rows of every table, to be changed by a test before it writes them."""
    return {
        "prsn": [{**PERSON, **person} for person in PEOPLE],
        "screen": [dict(row) for row in SCREEN],
        "ctab": [{**ABNORMALITY, **row} for row in CTAB],
        "ctabc": [dict(row) for row in CTABC],
        **EXTRAS,
    }


@pytest.fixture
def write(tmp_path):
    def written(tables, change_case=str.upper):
        for folder in ("tables", "images/100001/study/series"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images/100001/study/series/1.dcm").write_bytes(b"slice")
        for name, rows in tables.items():
            frame = pd.DataFrame(rows).rename(columns=change_case)
            frame.to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
        return tmp_path

    return written


def exams_of(root):
    return {(exam.patient_id, exam.timepoint): exam for exam in open_source("nlst", root).exams()}


def test_an_exam_is_a_row_of_the_screening_table_in_order(tables, write):
    keys = [(exam.patient_id, exam.timepoint) for exam in open_source("nlst", write(tables)).exams()]
    assert keys == [("100001", 0), ("100001", 2), ("100002", 0), ("100002", 1), ("200003", 0)]


def test_elements_are_those_at_the_exam(tables, write):
    exams = exams_of(write(tables))
    assert exams["100001", 0].elements["age"] == 60.0
    assert exams["100001", 2].elements["age"] == 62.0
    assert "7.0 years since quit smoking." in clinical_sentences(exams["100001", 2].elements)
    assert "age" not in exams["200003", 0].elements


def test_codes_become_words_and_missing_values_are_absent(tables, write):
    elements = exams_of(write(tables))["100002", 0].elements
    assert elements["gender"] == "Female"
    assert elements["ethnic"] == "neither Hispanic nor Latino"
    assert not {"race", "height", "education", "stroke", "family_mother"} & set(elements)
    assert elements["diabetes"] == 52.0
    assert elements["hypertension"] == AGE_UNKNOWN
    assert elements["copd"] == NEVER
    assert elements["breast_cancer"] == 44.0
    assert elements["family_brother"] is True
    assert elements["family_father"] is False
    assert elements["pack_years"] == 37.5
    assert set(elements) <= set(ELEMENTS)


def test_findings_and_nodules_are_those_of_the_report(tables, write):
    exam = exams_of(write(tables))["100002", 1]
    assert {task for task, label in exam.findings.items() if label} == {"nodule_presence", "emphysema"}
    assert exam.nodules == [
        Nodule(
            number=1,
            lobe="LUL",
            slice_number=84,
            long_mm=12.0,
            short_mm=10.5,
            margin="spiculated",
            attenuation="other",
            new=True,
        ),
        Nodule(number=3, short_mm=10.5, margin="spiculated", attenuation="solid"),
        Nodule(number=4),
    ]


def test_a_read_exam_without_a_row_has_no_finding_and_an_unreadable_one_no_label(tables, write):
    exams = exams_of(write(tables))
    assert set(exams["100001", 0].findings.values()) == {0}
    assert exams["100001", 2].findings == {}
    assert set(exams["200003", 0].findings.values()) == {0}


def test_risks(tables, write):
    exams = exams_of(write(tables))
    alive = {"lung_cancer_risk": ((0,) * 6, (1,) * 6), "cvd_mortality": ((0,) * 6, (1,) * 6)}
    assert exams["100001", 0].risks == alive
    assert exams["100001", 0].cancer_side is None
    assert exams["100002", 0].cancer_side == "left"
    assert exams["100002", 0].risks["lung_cancer_risk"] == labels.risk(500, 1600, 20)
    assert exams["100002", 1].risks["cvd_mortality"] == ((0, 0, 0, 1, 1, 1), (1, 1, 1, 1, 0, 0))
    assert exams["200003", 0].risks == {}


def test_an_exam_after_the_cancer_has_no_cancer_risk(tables, write):
    tables["screen"].append({"pid": "100002", "study_yr": "2", "ctdxqual": "1"})
    assert set(exams_of(write(tables))["100002", 2].risks) == {"cvd_mortality"}


def test_a_death_of_another_cause_ends_follow_up(tables, write):
    tables["prsn"][1] |= {"dcficd": "C349", "fup_days": ".N"}
    risk = exams_of(write(tables))["100002", 0].risks["cvd_mortality"]
    assert risk == ((0,) * 6, (1, 1, 1, 1, 1, 0))


def test_extra_tables(tables, write):
    exams = exams_of(write(tables))
    assert exams["100001", 0].study_uid == "1.2.3"
    assert exams["100002", 0].study_uid is None
    assert [exams["100001", 0].covid19, exams["100002", 1].covid19, exams["100002", 0].covid19] == [
        1,
        0,
        None,
    ]
    assert exams["100002", 1].lung_rads == 4


def test_extra_tables_may_be_absent(tables, write):
    exams = exams_of(write({name: rows for name, rows in tables.items() if name not in EXTRAS}))
    assert all(exam.covid19 is exam.lung_rads is exam.study_uid is None for exam in exams.values())


def test_column_names_in_any_case(tables, write):
    upper = exams_of(write(tables, str.upper))
    assert exams_of(write(tables, str.lower)) == upper


def test_reports_without_abnormalities(tables, write):
    root = write(tables)
    for name in ("ctab", "ctabc"):
        path = root / "tables" / f"{name}.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    assert all(set(exam.findings.values()) <= {0} for exam in exams_of(root).values())


def test_sites_are_centres(tables, write):
    source = open_source("nlst", write(tables))
    patients = ("100001", "100002", "999999")
    assert [source.site(pid) for pid in patients] == ["nlst-BA", "nlst", "nlst"]


def test_the_digest_changes_with_tables_and_images_only(tables, write):
    root = write(tables)
    first = open_source("nlst", root).digest()
    (root / "notes.txt").write_text("anything")
    assert open_source("nlst", root).digest() == first
    (root / "images/100001/study/series/2.dcm").write_bytes(b"slice")
    second = open_source("nlst", root).digest()
    tables["prsn"][0]["age"] = "61"
    write(tables)
    assert len({first, second, open_source("nlst", root).digest()}) == 3


@pytest.mark.parametrize("name", ["prsn", "screen", "ctab", "ctabc"])
def test_a_missing_table_is_named(tables, write, name):
    root = write(tables)
    (root / "tables" / f"{name}.csv").unlink()
    with pytest.raises(InputError, match=rf"{name}\.csv is missing: put"):
        open_source("nlst", root)


@pytest.mark.parametrize(
    ("name", "column"), [("prsn", "fup_days"), ("ctab", "sct_ab_desc"), ("screen", "ctdxqual")]
)
def test_a_missing_column_is_named(tables, write, name, column):
    for row in tables[name]:
        del row[column]
    with pytest.raises(InputError, match=rf"{name}\.csv has no column {column}"):
        open_source("nlst", write(tables))


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "message"),
    [
        ("prsn", 0, "age", "old", r"prsn\.csv, line 2, age: 'old' is not a number"),
        ("prsn", 1, "gender", "3", r"prsn\.csv, line 3, gender: '3' is not one of 1, 2"),
        (
            "screen",
            2,
            "study_yr",
            "5",
            r"screen\.csv, line 4, study_yr: '5' is not a whole number from 0 to 2",
        ),
        ("screen", 2, "study_yr", "", r"screen\.csv, line 4, study_yr"),
        ("screen", 0, "pid", "31", r"screen\.csv, line 2, pid: the identifier is not in prsn\.csv"),
        ("screen", 1, "study_yr", "1", r"line 3, study_yr: '1' is not the only row of its pid and study_yr"),
        (
            "ctab",
            1,
            "sct_ab_num",
            "1",
            r"line 3, sct_ab_num: '1' is not the only row of its pid and study_yr",
        ),
        ("ctab", 0, "sct_margins", "4", r"ctab\.csv, line 2, sct_margins: '4' is not one of"),
    ],
)
def test_a_wrong_cell_is_refused_by_file_line_and_column(tables, write, table, row, column, value, message):
    tables[table][row][column] = value
    with pytest.raises(InputError, match=message):
        exams_of(write(tables))


def test_no_category_outside_lung_rads(tables, write):
    tables["lungrads"] = [{"pid": "100002", "study_yr": "1", "lung_rads": "5"}]
    with pytest.raises(InputError, match=r"lungrads\.csv, line 2, lung_rads"):
        exams_of(write(tables))


def test_files_may_keep_the_names_of_the_archive(tables, write):
    root = write(tables)
    expected = exams_of(root)
    for old, new in [
        ("prsn", "nlst_780_prsn_idc_20210527"),
        ("ctab", "nlst_564_CT_AB_20191001"),
        ("ctabc", "sctabnc"),
        ("screen", "SCREEN"),
        ("ct_image", "nlst_564_ct_image_info_20191001"),
    ]:
        (root / "tables" / f"{old}.csv").rename(root / "tables" / f"{new}.csv")
    assert exams_of(root) == expected
    (root / "tables" / "prsn.csv").write_text("pid\n")
    with pytest.raises(InputError, match=r"same table in nlst_780_prsn_idc_20210527.csv and prsn.csv"):
        open_source("nlst", root)


@pytest.mark.parametrize("missing", ["", ".M", ".N", ".E", ".W", "."])
def test_every_missing_code_is_missing(tables, write, missing):
    columns = ("age", "height", "gender", "race", "diagdiab", "agediab", "fambrother", "candx_days", "loclup")
    tables["prsn"][1] |= dict.fromkeys(columns, missing)
    exam = exams_of(write(tables))["100002", 1]
    assert not {"age", "height", "gender", "race", "diabetes", "family_brother"} & set(exam.elements)
    assert exam.cancer_side is None
    assert not any(exam.risks["lung_cancer_risk"].labels)


def test_the_cancer_table_tells_what_the_participants_does_not(tables, write):
    nowhere = dict.fromkeys((column for side in labels.SIDES.values() for column in side), "0")
    tables["canc"] = [
        {**nowhere, "pid": "100001", "candx_days": "900", "locrup": "1"},
        {**nowhere, "pid": "100001", "candx_days": "700", "loclup": "1"},
        {**nowhere, "pid": "100002", "candx_days": "20", "locrup": "1"},
    ]
    exams = exams_of(write(tables))
    first = exams["100001", 0]  # 680 days after the scan: in the second year
    assert first.risks["lung_cancer_risk"].labels == (0, 1, 1, 1, 1, 1)
    assert first.cancer_side == "left"
    told_by_prsn = exams["100002", 1]
    assert told_by_prsn.risks["lung_cancer_risk"].labels == (1,) * 6
    assert told_by_prsn.cancer_side == "left"


def test_which_deaths_are_cardiovascular_is_a_choice(tables, write):
    root = write(tables)
    for prefixes, died in [(("I",), 1), (("I60", "I61"), 0), (("C", "I2"), 1)]:
        exams = open_source("nlst", root, LabelConfig(cardiovascular_icd10=prefixes)).exams()
        (exam,) = (exam for exam in exams if (exam.patient_id, exam.timepoint) == ("100002", 1))
        assert any(exam.risks["cvd_mortality"].labels) == died


def test_series_of_the_image_table_and_what_would_be_kept(tables, write):
    series = {"pid": "100001", "study_yr": "0", "studyuid": "1.2.3", "imageclass": "1"}
    tables["ct_image"] = [
        {**series, "seriesinstanceuids": "a", "numberimages": "64", "imagetype": "ORIGINAL\\PRIMARY\\AXIAL"},
        {**series, "seriesinstanceuids": "b", "numberimages": "63", "imagetype": "ORIGINAL\\PRIMARY\\AXIAL"},
        {
            **series,
            "seriesinstanceuids": "c",
            "numberimages": "90",
            "imagetype": "ORIGINAL\\PRIMARY\\LOCALIZER",
        },
        {**series, "seriesinstanceuids": "d", "numberimages": "90", "imageclass": "0", "imagetype": ""},
        {**series, "seriesinstanceuids": "e", "numberimages": ".M", "imagetype": ".M"},
        {**series, "seriesinstanceuids": "a", "numberimages": "64", "imagetype": "ORIGINAL\\PRIMARY\\AXIAL"},
    ]
    rows = open_source("nlst", write(tables)).listing()
    expected = ["kept", "too_few_slices", "localizer", "localizer", "kept", "listed_twice"]
    assert decide(rows, 64).to_pylist() == expected


def test_days_and_codes_are_whole_numbers(tables, write):
    tables["prsn"][0]["fup_days"] = "2400.5"
    with pytest.raises(InputError, match=r"line 2, fup_days: '2400.5' is not a whole number"):
        exams_of(write(tables))
