"""The released labels: records by task and series become exams."""

import json

import pydicom
import pytest

from m3fm.clinical.elements import AGE_UNKNOWN
from m3fm.clinical.records import Risk
from m3fm.clinical.sentences import clinical_sentences
from m3fm.cohort.labels import nodule_labels
from m3fm.cohort.source import open_source
from m3fm.cohort.splits import TEST_ONLY, patient_strata
from m3fm.core.errors import InputError
from m3fm.ct.headers import CT_IMAGE

CLINICAL = {
    "demo": {
        **{"age": 61.0, "educat": "Associate degree/ some college", "ethnic": "Neither Hispanic nor Latino"},
        **{"gender": "Male", "height": 70.0, "race": "None", "weight": -1},
    },
    "smoking": {
        **{"age_quit": -1, "cigar": "No", "cigsmok": "Current", "pipe": None, "pkyr": 37.5, "smokeage": 16},
        **{"smokeday": 20.0, "smokelive": "Yes", "smokework": "No", "smokeyr": 37},
    },
    "disease_his": {"Chronic bronchitis": 40.0, "COPD": -1, "Asthma (childhood)": 7},
    "cancer_his": {"Breast Cancer": 50.0},
    "fam_lc": {"mother have lung cancer": 1.0, "brother(s) (including half-brothers) have lung cancer": 1.0},
}
RISK = {
    **{"y": 1, "y2": 0, "y_seq": [0, 1, 1, 1, 1, 1], "y_mask": [1, 1, 0, 0, 0, 0], "loc_idx": 1},
    "loc_dict": {"loclup": 1, "loclhil": 0, "locrup": -1},
    "nodules": [
        {"slice": 84, "loc": 4, "size": 12, "att": 0, "margin": 1},
        {"slice": -1, "loc": -1, "size": -1, "att": -1, "margin": -1},
    ],
}


def record(labels, pid=100001, series="1.1", year="T0", **more):
    path = f"datasets/NLST/set1/batch5/{pid}/{year}/{series}"
    found = {"keys": series, "pids": pid, "labels": labels, "data_path": path, "pixel_size": [3.2, 0.7, 0.7]}
    return {**found, "answer_dict": {"0": "No", "1": "Yes"}, "clinical_data": CLINICAL, **more}


@pytest.fixture
def write(tmp_path):
    def written(**files):
        for folder in ("labels", "images"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for name, records in files.items():
            (tmp_path / "labels" / f"{name}.json").write_text(json.dumps(records))
        return tmp_path

    return written


def exams_of(root):
    return {(exam.patient_id, exam.timepoint): exam for exam in open_source("openm3chest", root).exams()}


def test_records_of_all_tasks_and_series_make_an_exam(write):
    exams = exams_of(
        write(
            chest_abn_54_trainval=[record(1), record(1, series="1.2"), record(0, year="T1", series="1.3")],
            chest_abn_61_trainval=[record(0)],
            CVD_diagnosis_trainval=[record(1)],
            lung_cancer_risk_trainval=[record(RISK)],
            nodule_presence_trainval=[record(1)],
            nodule_margin_trainval=[record(2)],
        )
    )
    assert exams.keys() == {("100001", 0), ("100001", 1)}
    first = exams["100001", 0]
    assert first.findings == {
        "atelectasis": 1,
        "reticular_fibrosis_scar": 0,
        "cvd_diagnosis": 1,
        "nodule_presence": 1,
    }
    assert first.risks == {"lung_cancer_risk": Risk((0, 1, 1, 1, 1, 1), (1, 1, 0, 0, 0, 0))}
    assert first.cancer_side == "left"
    assert exams["100001", 1].findings == {"atelectasis": 0}
    solid, unknown = first.nodules
    assert (solid.lobe, solid.slice_number, solid.attenuation, solid.margin) == ("LUL", 84, "solid", "smooth")
    assert nodule_labels(unknown) == {}
    assert unknown.slice_number is None


def test_clinical_data_become_elements_and_sentences(write):
    exam = exams_of(write(covid19_trainval=[record(0)]))["100001", 0]
    assert exam.covid19 == 0
    assert exam.elements["copd"] == AGE_UNKNOWN
    assert not {"race", "weight", "age_quit"} & set(exam.elements)
    assert " ".join(clinical_sentences(exam.elements)) == (
        "The patient is 61.0 years old. Gender is Male. Ethnicity is neither Hispanic nor Latino. "
        "Height is 70.0 inches. Education is associate degree/some college. Current smoker. "
        "Smoking duration is 37.5 pack years. Smoking intensity is 20.0 cigarettes per day. "
        "The patient had asthma (childhood) diagnosed at 7.0 years old. "
        "The patient had chronic bronchitis diagnosed at 40.0 years old. The patient had COPD. "
        "The patient had breast cancer diagnosed at 50.0 years old. "
        "Patient's brother(s) (including half-brothers) have lung cancer. "
        "Patient's mother have lung cancer."
    )


def test_columns_of_lists_and_clinical_data_as_text_are_the_same(write):
    records = [record(1), record(0, pid=100002)]
    expected = exams_of(write(chest_abn_58_trainval=records))
    columns = {name: [entry[name] for entry in records] for name in records[0]}
    columns["clinical_data"] = [json.dumps(CLINICAL)] * 2
    columns["data_name"] = "chest_abn_58"
    assert exams_of(write(chest_abn_58_trainval=columns)) == expected


def test_patients_of_the_test_files_never_train(write):
    exams = exams_of(
        write(
            chest_abn_55_trainval=[record(1), record(1, pid=100002)],
            chest_abn_55_test=[record(0, pid=100003)],
            chest_abn_56_TEST=[record(0, pid=100002)],
        )
    ).values()
    strata = patient_strata([exam.patient_id for exam in exams], exams, test_only=False)
    assert strata == {"100001": "", "100002": TEST_ONLY, "100003": TEST_ONLY}


def test_a_binary_mortality_is_the_answer_of_the_last_year(write):
    exams = exams_of(write(CVD_mortality_trainval=[record(1), record(0, pid=100002)]))
    assert exams["100001", 0].risks["cvd_mortality"] == Risk((1,) * 6, (0, 0, 0, 0, 0, 1))
    assert exams["100002", 0].risks["cvd_mortality"] == Risk((0,) * 6, (0, 0, 0, 0, 0, 1))


def test_without_a_screening_year_the_image_tells_the_exam(write):
    midrc = "datasets/MIDRC/case1/"
    records = [record(1, pid="case1", series=uid, data_path=midrc + uid) for uid in ("2.1", "2.2", "2.3")]
    root = write(covid19_trainval=records)
    for uid, study in (("2.1", "9.1"), ("2.2", "9.1"), ("2.4", "9.2")):
        header = pydicom.Dataset()
        header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = uid, study, "case1"
        header.SOPClassUID, header.SOPInstanceUID = CT_IMAGE, uid
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.save_as(root / "images" / uid, enforce_file_format=True)
    (exam,) = open_source("openm3chest", root).exams()
    assert (exam.patient_id, exam.timepoint, exam.study_uid, exam.covid19) == ("CASE1", 3, "9.1", 1)


def test_series_are_listed_once(write):
    source = open_source(
        "openm3chest",
        write(chest_abn_54_test=[record(1), record(1, series="1.2")], chest_abn_55_test=[record(0)]),
    )
    rows = source.listing()
    assert rows["series"].to_pylist() == ["1.1", "1.2"]
    assert set(rows["study"].to_pylist()) == {"100001 0"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"chest_abn_99_test": []}, "chest_abn_99_test.json is not a file of OpenM3Chest"),
        ({"nodule_size_test": []}, "holds no labels"),
        ({"chest_abn_54_test": "text"}, "neither a list of records nor an object of lists"),
        ({"chest_abn_54_test": [{"keys": "1"}]}, "record 0: labels is missing"),
        ({"chest_abn_54_test": [{"pids": 1, "labels": 1, "data_path": "/T0/"}] * 2}, None),
        ({"chest_abn_54_test": [{"keys": "1", "labels": 1, "data_path": "/T0/"}]}, "pids or pid is missing"),
        ({"chest_abn_54_test": [record(2)]}, "labels: 2 is not 0 or 1"),
        (
            {"chest_abn_54_test": [record(1), record(0, series="1.2")]},
            "differs from another series of the exam",
        ),
        (
            {"lung_cancer_risk_test": [record({"y_seq": [0] * 6})]},
            r"record 0, labels\.y_mask: Field required",
        ),
        ({"covid19_test": [record(1, clinical_data={"disease_his": {"Gout": 1}})]}, "'Gout' matches none of"),
        ({"covid19_test": [record(1, clinical_data=[1])]}, "clinical_data: not an object"),
    ],
)
def test_another_structure_is_refused_in_one_line(write, files, message):
    root = write(**files)
    if message is None:
        assert exams_of(root)
        return
    with pytest.raises(InputError, match=message) as caught:
        exams_of(root)
    assert "\n" not in str(caught.value)


def test_broken_json_is_refused(write):
    root = write(chest_abn_54_test=[])
    (root / "labels" / "chest_abn_54_test.json").write_text("[1,")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        exams_of(root)


@pytest.mark.parametrize("pid", ["100001", 100001.0, "100001.0", " 0100001", "'100001"])
def test_patients_that_a_file_spells_otherwise_are_the_same(write, pid):
    expected = exams_of(write(chest_abn_54_trainval=[record(1)], chest_abn_58_trainval=[record(0)]))
    found = exams_of(write(chest_abn_54_trainval=[record(1)], chest_abn_58_trainval=[record(0, pid=pid)]))
    assert found == expected


@pytest.mark.parametrize("path", ["data\\100001\\T1\\1.1", "data/100001/t1/1.1", "data/100001/T1"])
def test_the_year_is_found_in_paths_of_any_system(write, path):
    assert exams_of(write(covid19_test=[record(1, data_path=path)])).keys() == {("100001", 1)}


def test_records_of_no_exam_are_counted(write):
    records = [record(1), record(1, series="1.9", data_path="elsewhere")]
    source = open_source("openm3chest", write(covid19_test=records))
    assert len(source.exams()) == 1
    (found,) = source.links()
    assert (found.table, found.rows, found.unlinked) == ("covid19_test", 2, (("record 1", "100001"),))


def nodule(**more):
    return {**RISK, "nodules": [{**RISK["nodules"][0], **more}]}


def clinical(group, **more):
    return {"clinical_data": {**CLINICAL, group: {**CLINICAL[group], **more}}}


@pytest.mark.parametrize(
    ("labels", "more", "place"),
    [
        *(
            (nodule(slice=value), {}, "labels.nodules.0.slice")
            for value in (None, "84", [84], 84.5, True, float("inf"), float("nan"), -7, 99999)
        ),
        *((nodule(**{key: None}), {}, f"labels.nodules.0.{key}") for key in ("loc", "att", "margin")),
        ({**RISK, "nodules": {}}, {}, "labels.nodules"),
        ({**RISK, "nodules": [None]}, {}, "labels.nodules.0"),
        ({**RISK, "loc_dict": {"loclup": "1"}}, {}, "labels.loc_dict.loclup"),
        ({**RISK, "loc_dict": {"loclup": None}}, {}, "labels.loc_dict.loclup"),
        ({**RISK, "y_seq": [0, 1, 1, 1, 1, [1]]}, {}, "labels.y_seq.5"),
        ({**RISK, "y_seq": [0] * 5}, {}, "labels.y_seq"),
        ({**RISK, "y_mask": [2] * 6}, {}, "labels.y_mask.0"),
        ({**RISK, "y_mask": "111000"}, {}, "labels.y_mask"),
        *((value, {}, "labels") for value in (None, "1", [1], 2, True, float("nan"))),
        *(
            (RISK, clinical("demo", age=value), "demo.age")
            for value in ("61", [61], True, float("nan"), -61, 6100)
        ),
        (RISK, clinical("demo", gender="Mann"), "demo.gender"),
        (RISK, clinical("demo", gender=1), "demo.gender"),
        (RISK, clinical("smoking", pkyr="37,5"), "smoking.pkyr"),
        (RISK, clinical("disease_his", COPD="40"), "disease_his.COPD"),
        (RISK, {"data_path": ["/T0/"]}, "data_path"),
        *((RISK, {"pids": value}, "pids") for value in (None, [100001], True, "")),
        *((RISK, {"keys": value, "data_path": None}, "keys") for value in (None, ["1.1"])),
    ],
)
def test_a_value_of_another_type_or_range_is_refused_by_record_and_place(write, labels, more, place):
    root = write(lung_cancer_risk_trainval=[record(RISK, pid=7), {**record(labels), **more}])
    with pytest.raises(InputError) as refusal:
        exams_of(root)
    message = str(refusal.value)
    assert f"lung_cancer_risk_trainval.json, record 1, {place}:" in message
    assert "100001" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("labels", "more", "place"),
    [
        ({**RISK, "y_mask": [1, 1, 1, 0, 0, 0]}, {}, "labels:"),
        ({**RISK, "loc_dict": {"locrup": 1}}, {}, "labels.loc_dict:"),
        (RISK, clinical("demo", age=16.0), "clinical_data, age:"),
    ],
)
def test_series_of_an_exam_that_contradict_each_other_are_refused(write, labels, more, place):
    root = write(lung_cancer_risk_trainval=[record(RISK), {**record(labels, series="1.2"), **more}])
    with pytest.raises(InputError, match="differs from another series of the exam") as refusal:
        exams_of(root)
    assert f"record 1, {place}" in str(refusal.value)


def test_relatives_without_cancer_are_known(write):
    family = {"mother have lung cancer": 0, "brother(s) have lung cancer": 1, "father have lung cancer": None}
    more = {"clinical_data": {**CLINICAL, "fam_lc": family}}
    elements = exams_of(write(covid19_test=[record(1, **more)]))["100001", 0].elements
    assert (elements["family_mother"], elements["family_brother"]) == (False, True)
    assert "family_father" not in elements
