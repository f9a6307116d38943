"""A hospital's table, read by its mapping."""

import pandas as pd
import pytest
import yaml

from m3fm.clinical.elements import AGE_UNKNOWN, NEVER
from m3fm.clinical.records import Nodule, Risk
from m3fm.cohort.source import open_source
from m3fm.core.errors import InputError

EXAMS = [
    {
        **{
            "MRN": "p1",
            "Accession": "A1",
            "Study UID": "1.1",
            "Age": "66",
            "Sex": "F",
            "Height (cm)": "152.4",
        },
        **{"Smoker": "former", "Diabetes": "yes", "Diabetes age": "50", "HTN": "NO", "Stroke": "yes"},
        **{"Mother": "y", "Emph": "present", "Nodule": "1", "PCR": "n/a", "Report": "Lung-RADS 4B."},
        **{"To cancer": "400", "Followed": "900", "Side": "L", "Name": "Doe^Jane"},
    },
    {
        **{"MRN": "p1", "Accession": "A2", "Study UID": "1.2", "Age": "67", "Sex": "f", "Height (cm)": "n/a"},
        **{"Smoker": "Former", "Diabetes": "", "Diabetes age": "", "HTN": "n/a", "Stroke": "no"},
        **{"Mother": "", "Emph": "absent", "Nodule": "1", "PCR": "positive", "Report": "2"},
        **{"To cancer": "", "Followed": "300", "Side": "", "Name": "Doe^Jane"},
    },
    {
        **{"MRN": "p2", "Accession": "A3", "Study UID": "1.3", "Age": "", "Sex": "", "Height (cm)": ""},
        **dict.fromkeys(("Smoker", "Diabetes", "Diabetes age", "HTN", "Stroke", "Mother", "Emph"), ""),
        **dict.fromkeys(("Nodule", "PCR", "Report", "To cancer", "Followed", "Side", "Name"), ""),
    },
]
NODULES = [
    {"Acc": "A1", "Lobe": "LUL", "Type": "GGO", "Diameter": "12", "Image": "40", "New": "yes"},
    {"Acc": "A1", "Lobe": "", "Type": "", "Diameter": "n/a", "Image": "", "New": ""},
]
MAPPING = """
name: site-a
table: exams.csv
missing: [n/a]
patient_id: MRN
study_uid: Study UID
exam: Accession
elements:
  age: {column: Age}
  gender: {column: Sex, values: {M: Male, F: Female}}
  height: {column: Height (cm), unit: cm}
  smoking_status: {column: Smoker}
  diabetes: {column: Diabetes, age_column: Diabetes age}
  hypertension: {column: HTN}
  stroke: {column: Stroke}
  family_mother: {column: Mother, values: {y: yes, n: no}}
labels:
  emphysema: {column: Emph, values: {present: yes, absent: no}}
  nodule_presence: {column: Nodule}
  covid19: {column: PCR, values: {positive: yes, negative: no}}
  lung_rads: {column: Report}
risks:
  lung_cancer_risk: {event_days: To cancer, followup_days: Followed}
cancer_side: {column: Side, values: {L: left, R: right}}
nodules:
  table: nodules.csv
  exam: Acc
  lobe: {column: Lobe}
  attenuation: {column: Type, values: {GGO: ground glass, SN: solid}}
  long_mm: {column: Diameter}
  slice_number: {column: Image}
  new: {column: New}
"""


@pytest.fixture
def write(tmp_path):
    def written(mapping=MAPPING, exams=EXAMS, nodules=NODULES):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "mapping.yaml").write_text(mapping)
        pd.DataFrame(exams).to_csv(tmp_path / "exams.csv", index=False)
        pd.DataFrame(exams).to_parquet(tmp_path / "exams.parquet")
        pd.DataFrame(nodules).to_csv(tmp_path / "nodules.csv", index=False)
        return tmp_path

    return written


def changed(*keys, to):
    """The mapping with another value below a path of keys."""
    mapping = yaml.safe_load(MAPPING)
    inner = mapping
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    if to is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return yaml.safe_dump(mapping)


def test_rows_are_exams_by_the_mapping(write):
    source = open_source("hospital", write())
    assert (source.name, source.test_only) == ("site-a", True)
    first, second, blank = source.exams()
    assert [(exam.patient_id, exam.timepoint, exam.study_uid) for exam in (first, second, blank)] == [
        ("P1", 0, "1.1"),
        ("P1", 1, "1.2"),
        ("P2", 0, "1.3"),
    ]
    assert first.elements == {
        **{"age": 66.0, "gender": "Female", "height": pytest.approx(60.0), "smoking_status": "Former"},
        **{"diabetes": 50.0, "hypertension": NEVER, "stroke": AGE_UNKNOWN, "family_mother": True},
    }
    assert first.findings == {"emphysema": 1, "nodule_presence": 1}
    assert (first.covid19, first.lung_rads, first.cancer_side) == (None, 4, "left")
    assert first.risks == {"lung_cancer_risk": Risk((0, 1, 1, 1, 1, 1), (1, 1, 0, 0, 0, 0))}
    assert first.nodules == [
        Nodule(number=1, lobe="LUL", attenuation="ground glass", long_mm=12.0, slice_number=40, new=True),
        Nodule(number=2),
    ]
    assert (second.covid19, second.nodules) == (1, [Nodule(number=1)])
    assert second.lung_rads is None  # its report says 2, of a nodule that nobody describes
    assert second.risks == {"lung_cancer_risk": Risk((0,) * 6, (1, 0, 0, 0, 0, 0))}
    assert second.elements == {"age": 67.0, "gender": "Female", "smoking_status": "Former", "stroke": NEVER}
    assert (blank.elements, blank.findings, blank.nodules, blank.risks) == ({}, {}, [], {})


def test_parquet_is_read_like_csv(write):
    expected = open_source("hospital", write()).exams()
    assert open_source("hospital", write(changed("table", to="exams.parquet"))).exams() == expected


def test_numbers_of_visits_and_training_are_the_mappings(write):
    mapping = changed("timepoint", to="Visit").replace("missing", "test_only: false\nmissing")
    exams = [{**exam, "Visit": str(visit)} for exam, visit in zip(EXAMS, (3, 1, 2))]
    source = open_source("hospital", write(mapping, exams))
    assert not source.test_only
    assert [(exam.patient_id, exam.timepoint) for exam in source.exams()] == [("P1", 1), ("P1", 3), ("P2", 2)]
    with pytest.raises(InputError, match=r"line 3, visit: '1' is not the only row of its mrn and visit"):
        open_source("hospital", write(mapping, [{**exam, "Visit": "1"} for exam in EXAMS])).exams()


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (changed("elements", "ages", to={"column": "Age"}), "elements: 'ages' is not one of age, gender"),
        (changed("labels", "lungrads", to={"column": "Report"}), "labels: 'lungrads' is not one of nodule_p"),
        (
            changed("risks", "stroke", to={"event_days": "a", "followup_days": "b"}),
            "one of cvd_mortality, lung",
        ),
        (changed("elements", "gender", "values", to={"M": "Man"}), "gender.values: 'Man' is not one of Male"),
        (changed("labels", "emphysema", "values", to={"present": "sure"}), "emphysema.values: 'sure' is not"),
        (changed("elements", "height", "unit", to="feet"), "height.unit: 'feet' is not one of inches, cm"),
        (changed("elements", "age", "values", to={"old": "90"}), "elements.age.values: a number has none"),
        (changed("elements", "age", "age_column", to="Age"), "only a disease or a cancer has one"),
        (
            changed("cancer_side", "values", "L", to="port"),
            "cancer_side.values: 'port' is not one of left, r",
        ),
        (
            changed("nodules", "lobe", "values", to={"x": "RXL"}),
            "nodules.lobe.values: 'RXL' is not one of RUL",
        ),
        (changed("nodules", to=None), "labels.lung_rads: map nodules too"),
        (changed("exam", to=None), "exam: name the column that links nodules"),
        (changed("patient_id", to=None), "patient_id: Field required"),
        (changed("patient", to="MRN"), "patient is not a key; known keys: name, test_only, table"),
        (
            changed("elements", "age", "columns", to="Age"),
            "elements.age.columns is not a key; known keys: column,",
        ),
        (changed("nodules", "lobes", to="x"), "nodules.lobes is not a key; known keys: table, exam, lobe"),
        (changed("name", to="General Hospital"), "name: String should match"),
        ("name: [", "cannot be read"),
        ("text", "mapping: Input should be"),
    ],
)
def test_a_bad_mapping_is_refused_by_name_with_what_is_allowed(write, mapping, message):
    with pytest.raises(InputError, match=message) as caught:
        open_source("hospital", write(mapping))
    assert "mapping.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, "Sex", "X", r"exams\.csv, line 2, sex: 'X' is not one of M, F"),
        (1, "Age", "old", r"exams\.csv, line 3, age: 'old' is not a number"),
        (1, "Emph", "maybe", "'maybe' is not one of present, absent"),
        (2, "MRN", "", r"exams\.csv, line 4, mrn: the identifier is not complete: it is empty"),
        (1, "Accession", "A1", "line 3, accession: the identifier is not the only row of its accession"),
    ],
)
def test_a_bad_cell_is_refused_where_it_is(write, row, column, value, message):
    exams = [dict(exam) for exam in EXAMS]
    exams[row][column] = value
    with pytest.raises(InputError, match=message):
        open_source("hospital", write(exams=exams)).exams()


def test_what_is_missing_is_named(write, tmp_path):
    root = write()
    with pytest.raises(InputError, match=r"line 2, acc: the identifier is not in .*exams\.csv"):
        open_source("hospital", write(nodules=[{**NODULES[0], "Acc": "A9"}])).exams()
    with pytest.raises(InputError, match=r"exams\.parquet has no column .*, sex,"):
        open_source("hospital", write(changed("table", to="exams.parquet"), [{"MRN": "1"}]))
    with pytest.raises(InputError, match=r"exams\.csv has no column .*age"):
        open_source("hospital", write(exams=[{"MRN": "1"}]))
    (root / "mapping.yaml").unlink()
    with pytest.raises(InputError, match=r"mapping\.yaml is missing: write it"):
        open_source("hospital", root)


def test_columns_that_are_not_mapped_change_nothing_but_the_digest(write):
    source = open_source("hospital", write())
    exams, digest = source.exams(), source.digest()
    again = open_source("hospital", write(exams=[{**exam, "Name": "Roe^Richard"} for exam in EXAMS]))
    assert again.exams() == exams
    assert again.digest() != digest
    assert not any("Doe" in str(exam) for exam in exams)


@pytest.mark.parametrize("form", ["{}.0", "00{}", "'{}", " {} "])
def test_nodules_are_linked_to_exams_that_are_spelled_otherwise(write, form):
    mapping = changed("exam", to="Accession")
    exams = [{**exam, "Accession": str(1001 + row)} for row, exam in enumerate(EXAMS)]
    nodules = [{**nodule, "Acc": form.format(1001)} for nodule in NODULES]
    expected = open_source("hospital", write()).exams()
    assert open_source("hospital", write(mapping, exams, nodules)).exams() == expected


def test_two_spellings_of_a_patient_are_refused(write):
    exams = [{**EXAMS[0], "MRN": "P1 "}, {**EXAMS[1], "MRN": "p1"}, EXAMS[2]]
    with pytest.raises(InputError, match=r"line 3, mrn: the identifier is not spelled as in an earlier row"):
        open_source("hospital", write(exams=exams))


def test_a_table_of_nodules_without_rows_is_refused(write, tmp_path):
    root = write()
    (tmp_path / "nodules.csv").write_text("Acc,Lobe,Type,Diameter,Image,New\n")
    with pytest.raises(InputError, match=r"nodules\.csv has no rows: add them, or leave the table out"):
        open_source("hospital", root).exams()


def test_a_report_that_denies_the_nodules_of_its_exam_is_refused(write):
    exams = [{**EXAMS[0], "Nodule": "no"}, *EXAMS[1:]]
    with pytest.raises(InputError, match=r"line 2, nodule: 'no' is not what the table of nodules says"):
        open_source("hospital", write(exams=exams)).exams()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("To cancer", "44000", "line 2, to cancer: '44000' is not a number from -10000 to 10000"),
        ("Followed", "-5", "line 2, followed: '-5' is not a number from 0 to 10000"),
        ("Followed", "inf", "line 2, followed: 'inf' is not a number"),
        ("Age", "6600", "line 2, age: '6600' is not a number from 0 to 220"),
        ("Report", "IV", "line 2, report: 'IV' is not a category"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(write, column, value, message):
    with pytest.raises(InputError, match=message):
        open_source("hospital", write(exams=[{**EXAMS[0], column: value}, *EXAMS[1:]])).exams()


def parquet(write, tmp_path, **columns):
    """Write the exams as parquet with other columns, and read them."""
    root = write(changed("table", to="exams.parquet"))
    table = pd.DataFrame(EXAMS).assign(**{name: pd.Series(values) for name, values in columns.items()})
    table.to_parquet(tmp_path / "exams.parquet")
    return open_source("hospital", root).exams()


def test_types_of_parquet_are_those_of_text(write, tmp_path):
    expected = open_source("hospital", write()).exams()
    ages = {"Age": [float(exam["Age"]) if exam["Age"] else None for exam in EXAMS]}
    assert parquet(write, tmp_path, **ages) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Age": [[66.0], [67.0], None]}, "row 1, age: a list is not a cell; flatten it"),
        ({"Age": [66.0, float("inf"), None]}, "row 2, age: 'inf' is not a number"),
        ({"Age": [66.0, -67.0, None]}, "row 2, age: '-67' is not a number from 0 to 220"),
        ({"MRN": [1e300, 1.0, 2.0]}, r"row 1, mrn: the identifier is not complete"),
        ({"age": [66.0, 67.0, None]}, "line 1, age: 2 columns have this name"),
    ],
)
def test_cells_of_parquet_are_refused_by_row_and_column(write, tmp_path, columns, message):
    with pytest.raises(InputError, match=message) as refusal:
        parquet(write, tmp_path, **columns)
    assert "exams.parquet" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_parquet_is_refused(write, tmp_path):
    root = write(changed("table", to="exams.parquet"))
    (tmp_path / "exams.parquet").write_text("MRN,Age\n")
    with pytest.raises(InputError, match=r"exams\.parquet cannot be read as parquet"):
        open_source("hospital", root)
