import pytest

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER
from m3fm.clinical.sentences import clinical_sentences, nodule_report
from m3fm.clinical.tasks import TASKS, YEARS
from m3fm.cohort.labels import nodule_labels
from m3fm.cohort.selection import decide
from m3fm.cohort.source import open_source
from m3fm.config.sections import SimulateConfig


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    from m3fm.simulate import simulate

    out = tmp_path_factory.mktemp("simulated") / "cohort"
    simulate(out, SimulateConfig(patients=4, rows=32, slices=(20, 24)), workers=1)
    return open_source("nlst", out)


def test_every_patient_has_exams_and_images(source):
    patients = {exam.patient_id for exam in source.exams()}
    assert len(patients) == 4
    assert {path.relative_to(source.images).parts[0] for path in source.image_paths()} == patients


def test_elements_are_in_range(source):
    for exam in source.exams():
        assert {"age", "gender", "smoking_status", "pack_years"} <= set(exam.elements)
        assert clinical_sentences(exam.elements)
        for name, value in exam.elements.items():
            element = ELEMENTS[name]
            if element.kind in ("category", "relative"):
                assert value in element.codes.values()
            else:
                unstated = element.kind == "diagnosis" and value in (NEVER, AGE_UNKNOWN)
                assert unstated or element.bounds[0] <= value <= element.bounds[1]


def test_labels_are_in_range(source):
    exams = source.exams()
    for exam in exams:
        assert exam.timepoint in (0, 1, 2)
        assert set(exam.findings) <= set(TASKS)
        assert set(exam.findings.values()) <= {0, 1}
        assert exam.covid19 in (None, 0, 1)
        assert exam.lung_rads in (None, 1, 2, 3, 4)
        assert exam.cancer_side in (None, "left", "right", "both")
        for labels, mask in exam.risks.values():
            assert len(labels) == len(mask) == YEARS
            assert list(labels) == sorted(labels)
            assert list(mask) == sorted(mask, reverse=True)
            assert mask[0] == 1
    assert any(exam.findings for exam in exams)
    assert any("lung_cancer_risk" in exam.risks and "cvd_mortality" in exam.risks for exam in exams)


def test_nodules_are_described(source):
    for exam in source.exams():
        if exam.findings:
            assert exam.findings["nodule_presence"] == bool(exam.nodules)
        assert nodule_report(exam.nodules).count("Nodule ") == len(exam.nodules)
        for nodule in exam.nodules:
            for task, label in nodule_labels(nodule).items():
                assert 0 <= label < len(TASKS[task].answers)


def test_tables_and_headers_decide_alike_on_every_series(source):
    listed = source.listing()
    seen = open_source("dicom", source.images).listing()
    by_tables, by_headers = (
        dict(zip(rows["series"].to_pylist(), decide(rows, 20).to_pylist())) for rows in (listed, seen)
    )
    assert by_tables == by_headers
    assert set(by_tables.values()) == {"kept", "localizer"}
    assert dict(zip(listed["series"].to_pylist(), listed["patient"].to_pylist())) == dict(
        zip(seen["series"].to_pylist(), seen["patient"].to_pylist())
    )
