import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3fm.clinical.records import Nodule
from m3fm.clinical.tasks import TASKS
from m3fm.cohort import labels
from m3fm.config.sections import LabelConfig

DAYS = st.one_of(st.none(), st.integers(-100, 4000))


def brute_force(event, followup, scan):
    """Sybil's labels, with its -1 for missing and its loops."""
    event, followup, scan = (-1 if day is None else day for day in (event, followup, scan))
    if scan <= -1 or (event <= -1 and followup <= -1):
        return None
    years_to_event = 100
    if event > -1:
        years_to_event, rest = 0, event - scan
        while rest >= 365:
            years_to_event, rest = years_to_event + 1, rest - 365
        while rest < 0:
            years_to_event, rest = years_to_event - 1, rest + 365
    y_seq = [0] * 6
    if years_to_event < 6:
        time_at_event = years_to_event
        for year in range(6):
            if year >= years_to_event:
                y_seq[year] = 1
    else:
        time_at_event = min((followup - scan) // 365, 5)
    if time_at_event < 0:
        return None
    y_mask = [1] * (time_at_event + 1) + [0] * (6 - (time_at_event + 1))
    return y_seq, y_mask


@given(st.one_of(st.none(), st.integers(0, 4000)), st.one_of(st.none(), st.integers(0, 4000)), DAYS)
def test_risk_is_sybils(event, followup, scan):
    found = labels.risk(event, followup, scan)
    assert (found and (list(found.labels), list(found.mask))) == brute_force(event, followup, scan)


def test_the_published_example():
    found = labels.risk(event_day=None, followup_day=1595, scan_day=868)
    assert found == ((0,) * 6, (1, 1, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("event", "followup", "scan", "expected"),
    [
        (100, 2500, 0, ((1, 1, 1, 1, 1, 1), (1, 0, 0, 0, 0, 0))),
        (365, 2500, 0, ((0, 1, 1, 1, 1, 1), (1, 1, 0, 0, 0, 0))),
        (364 + 6 * 365, 2500, 0, ((0,) * 6, (1,) * 6)),
        (None, 2500, 0, ((0,) * 6, (1,) * 6)),
        (None, 364, 0, ((0,) * 6, (1, 0, 0, 0, 0, 0))),
        (100, 2500, 200, None),
        (None, 100, 200, None),
        (None, None, 0, None),
        (100, 2500, None, None),
        (100, 2500, -1, None),
    ],
)
def test_risk_by_hand(event, followup, scan, expected):
    assert labels.risk(event, followup, scan) == expected


def test_cardiovascular_deaths_are_of_icd_chapter_i():
    chapter = LabelConfig().cardiovascular_icd10
    assert labels.cardiovascular_death_day("I21.9", 700, chapter) == 700
    assert labels.cardiovascular_death_day("i219", 700, ["I21.9", "I60"]) == 700
    assert labels.cardiovascular_death_day("I252", 700, ["I21.9", "I60"]) is None
    assert labels.cardiovascular_death_day("C34.9", 700, chapter) is None
    assert labels.cardiovascular_death_day("", 700, chapter) is None
    assert labels.cardiovascular_death_day("I21.9", None, chapter) is None


def test_side_of_a_cancer():
    assert labels.cancer_side(["loclup", "loclin"]) == "left"
    assert labels.cancer_side(["locrmid"]) == "right"
    assert labels.cancer_side(["locrhil", "loclhil"]) == "both"
    assert labels.cancer_side([]) is None


def test_findings_name_the_tasks_of_the_reports():
    nothing = labels.findings([])
    assert set(nothing.values()) == {0}
    asked_of_a_nodule = {"nodule_location", "nodule_attenuation", "nodule_margin", "nodule_size"}
    of_reports = {task.name for task in TASKS.values() if task.source == "radiology report"}
    assert set(nothing) == of_reports - asked_of_a_nodule
    found = labels.findings([54, 60, 63, 53])
    assert {task for task, label in found.items() if label} == {"atelectasis", "cvd_diagnosis"}


@pytest.mark.parametrize("code", [51, 52, 62])
def test_every_kind_of_nodule_is_a_nodule(code):
    assert labels.findings([code])["nodule_presence"] == 1


@pytest.mark.parametrize(
    ("millimetres", "answer"),
    [(3, 0), (4, 0), (4.1, 1), (6, 1), (6.5, 2), (8, 2), (15, 3), (15.5, 4), (30, 4), (31, 5)],
)
def test_size_classes(millimetres, answer):
    assert labels.nodule_labels(Nodule(number=1, long_mm=millimetres)) == {"nodule_size": answer}


def test_size_classes_are_those_of_the_answers():
    ends = [answer.removesuffix(" mm").split("-")[-1].lstrip("<=") for answer in TASKS["nodule_size"].answers]
    assert tuple(map(float, ends[:-1])) == labels.SIZES_MM


def test_codes_stand_for_answers_of_the_tasks():
    assert set(labels.LOBES.values()) == set(TASKS["nodule_location"].answers)
    assert set(labels.ATTENUATIONS.values()) == set(TASKS["nodule_attenuation"].answers)
    assert set(labels.MARGINS.values()) == set(TASKS["nodule_margin"].answers)
    assert labels.LOBES[5] == "LUL"


def test_nodule_labels_leave_out_what_is_unknown():
    assert labels.nodule_labels(Nodule(number=1)) == {}
    nodule = Nodule(number=1, lobe="LLL", margin="smooth", attenuation="ground glass", long_mm=7.0)
    assert labels.nodule_labels(nodule) == {
        "nodule_location": 4,
        "nodule_attenuation": 1,
        "nodule_margin": 1,
        "nodule_size": 2,
    }


def test_lungs_free_of_nodules():
    right = Nodule(number=1, lobe="RML")
    assert labels.clear_lungs([]) == ("left", "right")
    assert labels.clear_lungs([right]) == ("left",)
    assert labels.clear_lungs([right, Nodule(number=2, lobe="LUL")]) == ()
    assert labels.clear_lungs([right, Nodule(number=2)]) == ()


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("1", 1),
        ("2S", 2),
        (" 4x ", 4),
        ("0", None),
        ("", None),
        ("IMPRESSION: Lung-RADS category 4A. Suspicious nodule of the right upper lobe.", 4),
        ("ACR Lung-RADS 2S: benign appearance", 2),
        ("Lung RADS version 1.1 Assessment Category: 3", 3),
        ("LUNG-RADS v2022, category 4B", 4),
        ("Lung-RADS v1.1: 1", 1),
        ("The Lung-RADS category is 2. Recommend: 12 months.", 2),
        ("LungRADS score of 3", 3),
        ("Lung-RADS 0, prior CT awaited", None),
        ("Lung-RADS 2. Before: Lung-RADS 3.", None),
        ("Lung-RADS 2. As before: Lung-RADS 2.", 2),
        ("Lung-RADS 1.1 was used", None),
        ("Solid nodule of 4 mm, category as discussed", None),
    ],
)
def test_lung_rads_out_of_a_report(text, category):
    assert labels.lung_rads(text) == category


DAYS_TO_TESTS = st.lists(st.integers(-40, 40), max_size=5)


@given(DAYS_TO_TESTS, DAYS_TO_TESTS, st.integers(0, 30), st.integers(0, 30))
def test_covid_tests_near_a_scan(positive, negative, before, after):
    near = set(range(-before, after + 1))
    expected = 1 if near & set(positive) else 0 if near & set(negative) else None
    assert labels.covid19(positive, negative, before, after) == expected
