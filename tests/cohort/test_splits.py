import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from m3fm.clinical.records import ExamRecord, Risk
from m3fm.cohort.splits import TEST_ONLY, patient_strata, split_patients
from m3fm.config.sections import CurateConfig

COHORTS = st.dictionaries(st.text("0123456789", min_size=1, max_size=6), st.sampled_from("abc"), max_size=200)
FRACTIONS = st.sampled_from([(0.1, 0.3), (0.0, 0.0), (0.15, 0.2), (0.5, 0.5)])
SEEDS = st.integers(0, 3)


def config_of(fractions, seed):
    return CurateConfig(val_fraction=fractions[0], test_fraction=fractions[1], seed=seed)


@given(COHORTS, FRACTIONS, SEEDS)
def test_each_patient_has_one_split_and_strata_keep_the_fractions(strata, fractions, seed):
    splits = split_patients(strata, config_of(fractions, seed))
    assert splits.keys() == strata.keys()
    for stratum, size in Counter(strata.values()).items():
        counts = Counter(splits[patient] for patient in strata if strata[patient] == stratum)
        assert abs(counts["val"] - size * fractions[0]) <= 1
        assert abs(counts["test"] - size * fractions[1]) <= 1
        assert abs(counts["train"] - size * (1 - sum(fractions))) <= 1


@given(COHORTS, FRACTIONS, SEEDS, st.randoms())
def test_the_order_of_patients_does_not_matter(strata, fractions, seed, shuffler: random.Random):
    shuffled = list(strata.items())
    shuffler.shuffle(shuffled)
    config = config_of(fractions, seed)
    assert split_patients(dict(shuffled), config) == split_patients(strata, config)


@given(COHORTS, FRACTIONS, SEEDS, st.sampled_from("abc"))
def test_a_new_patient_moves_at_most_two_of_its_own_stratum(strata, fractions, seed, stratum):
    config = config_of(fractions, seed)
    before = split_patients(strata, config)
    after = split_patients({**strata, "new": stratum}, config)
    moved = [patient for patient in strata if before[patient] != after[patient]]
    assert len(moved) <= 2
    assert all(strata[patient] == stratum for patient in moved)


def test_another_seed_gives_another_split():
    strata = dict.fromkeys(map(str, range(100)), "a")
    first, second = (split_patients(strata, CurateConfig(seed=seed)) for seed in (1, 2))
    assert first != second
    assert Counter(first.values()) == {"train": 60, "val": 10, "test": 30}


@given(COHORTS, SEEDS)
def test_patients_of_independent_sources_are_tested_only(strata, seed):
    splits = split_patients({**strata, "outside": TEST_ONLY}, CurateConfig(seed=seed))
    assert splits["outside"] == "test"
    assert {k: v for k, v in splits.items() if k != "outside"} == split_patients(
        strata, CurateConfig(seed=seed)
    )


def test_strata_are_what_happened_to_a_patient_in_any_exam():
    cancer, none = Risk((0, 1, 1, 1, 1, 1), (1, 1, 0, 0, 0, 0)), Risk((0,) * 6, (1,) * 6)
    exams = [
        ExamRecord(patient_id="1", timepoint=0, risks={"lung_cancer_risk": none}, covid19=0),
        ExamRecord(patient_id="1", timepoint=1, risks={"lung_cancer_risk": cancer, "cvd_mortality": none}),
        ExamRecord(patient_id="2", timepoint=0, covid19=1, risks={"cvd_mortality": cancer}),
        ExamRecord(patient_id="9", timepoint=0, covid19=1),
    ]
    assert patient_strata(["1", "2", "3"], exams, test_only=False) == {
        "1": "lung_cancer_risk",
        "2": "covid19 cvd_mortality",
        "3": "",
    }
    assert set(patient_strata(["1", "2"], exams, test_only=True).values()) == {TEST_ONLY}


EVENT, NO_EVENT = Risk((0, 1, 1, 1, 1, 1), (1, 1, 0, 0, 0, 0)), Risk((0,) * 6, (1,) * 6)
EXAMS = st.lists(
    st.builds(
        ExamRecord,
        patient_id=st.integers(0, 40).map(str),
        timepoint=st.integers(0, 2),
        risks=st.dictionaries(
            st.sampled_from(["lung_cancer_risk", "cvd_mortality"]), st.sampled_from([EVENT, NO_EVENT])
        ),
        covid19=st.sampled_from([None, None, 0, 1]),
        test_only=st.sampled_from([False, False, False, True]),
    ),
    max_size=120,
)


def split_exams(exams, config, independent=False):
    strata = patient_strata({exam.patient_id for exam in exams}, exams, independent)
    return strata, split_patients(strata, config)


@given(EXAMS, FRACTIONS, SEEDS, st.booleans())
def test_no_patient_of_a_test_is_learned_from(exams, fractions, seed, independent):
    _, splits = split_exams(exams, config_of(fractions, seed), independent)
    sets = {
        name: {exam.patient_id for exam in exams if splits[exam.patient_id] == name}
        for name in ("train", "val", "test")
    }
    assert sum(map(len, sets.values())) == len({exam.patient_id for exam in exams})
    tested = {exam.patient_id for exam in exams if exam.test_only or independent}
    assert tested <= sets["test"]


@given(EXAMS, FRACTIONS, SEEDS)
def test_events_are_shared_out_alike(exams, fractions, seed):
    strata, splits = split_exams(exams, config_of(fractions, seed))
    for stratum, size in Counter(name for name in strata.values() if name != TEST_ONLY).items():
        tested = sum(splits[patient] == "test" for patient in strata if strata[patient] == stratum)
        assert abs(tested - size * fractions[1]) <= 1
        # A stratum is all that happened: its patients have the same events.
        events = {
            frozenset(
                {
                    task
                    for e in exams
                    if e.patient_id == patient
                    for task, r in e.risks.items()
                    if any(r.labels)
                }
                | {"covid19" for e in exams if e.patient_id == patient and e.covid19}
            )
            for patient in strata
            if strata[patient] == stratum
        }
        assert len(events) == 1


@given(EXAMS, FRACTIONS, SEEDS)
def test_a_patient_that_is_tested_only_changes_nobody_elses_split(exams, fractions, seed):
    _, before = split_exams(exams, config_of(fractions, seed))
    joined = [*exams, ExamRecord(patient_id="new", timepoint=0, test_only=True)]
    _, after = split_exams(joined, config_of(fractions, seed))
    assert {patient: split for patient, split in after.items() if patient != "new"} == before
