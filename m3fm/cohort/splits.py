"""The split of the patients into those that train, validate and test a model.

Within a stratum the patients are ordered by a hash of (seed, patient); the first test, the next validate, the
rest train. So the split depends only on the seed, the fractions and the members of the stratum. A new patient
changes no other stratum, and moves at most one patient of its own across each of the two borders.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from m3fm.clinical.records import ExamRecord
from m3fm.config.sections import CurateConfig
from m3fm.core.files import text_digest

Split = Literal["train", "val", "test"]

TEST_ONLY = "test only"
"""The stratum of patients that no model trains on."""


def patient_strata(patients: Iterable[str], exams: Iterable[ExamRecord], test_only: bool) -> dict[str, str]:
    """Return each patient's stratum: which of lung cancer, cardiovascular death and COVID-19 they had.

    `test_only` is a property of the source; an exam may be test only, too, and then its patient is.
    """
    events: dict[str, set[str]] = {patient: set() for patient in patients}
    if test_only:
        return dict.fromkeys(events, TEST_ONLY)
    for exam in exams:
        if exam.patient_id in events:
            happened = {task for task, risk in exam.risks.items() if any(risk.labels)}
            happened |= {"covid19"} if exam.covid19 else set()
            events[exam.patient_id] |= {TEST_ONLY} if exam.test_only else happened
    return {
        patient: TEST_ONLY if TEST_ONLY in names else " ".join(sorted(names))
        for patient, names in events.items()
    }


def split_patients(strata: Mapping[str, str], config: CurateConfig) -> dict[str, Split]:
    """Assign each patient to a split, given each patient's stratum.

    Every fraction is met to within one patient per stratum; the stratum TEST_ONLY only tests.
    """
    members: dict[str, list[str]] = {}
    for patient, stratum in strata.items():
        members.setdefault(stratum, []).append(patient)
    splits: dict[str, Split] = dict.fromkeys(members.pop(TEST_ONLY, []), "test")
    for patients in members.values():
        patients.sort(key=lambda patient: text_digest(f"{config.seed} {patient}"))
        test = round(len(patients) * config.test_fraction)
        val = round(len(patients) * (config.test_fraction + config.val_fraction))
        for index, patient in enumerate(patients):
            splits[patient] = "test" if index < test else "val" if index < val else "train"
    return {patient: splits[patient] for patient in strata}
