"""Which patients train, validate and test a model: decided once, by patient.

Within a stratum the patients stand in the order of a hash of (seed, patient); the first are the test
patients, the next validate, the rest train. So the split depends on nothing but the seed, the fractions and
who is in the stratum. When a patient is added, no other stratum changes, and within the patient's own at
most one patient passes each of the two borders.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from m3fm.clinical.records import ExamRecord
from m3fm.config.sections import CurateConfig
from m3fm.core.files import text_digest

Split = Literal["train", "val", "test"]

TEST_ONLY = "test only"
"""The stratum of patients that no model learns from."""


def patient_strata(patients: Iterable[str], exams: Iterable[ExamRecord], test_only: bool) -> dict[str, str]:
    """The stratum of each patient: which of lung cancer, cardiovascular death and COVID-19 they had.

    `test_only` is that of their source; an exam may be test only as well, and then its patient is.
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
    """The split of each patient, given each patient's stratum.

    Every fraction is met within one patient per stratum; the stratum TEST_ONLY is tested only.
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
