"""What links to nothing: rows of the source's tables to each other, and the images to the tables.

Few such rows are counted, in `dataset.json`. More than the configured fraction are refused, because then
identifiers are spelled in a way that is not understood, and labels would be lost.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from m3fm.cohort.keys import Link
from m3fm.core.errors import InputError
from m3fm.dataset.tables import Exam, Record
from m3fm.privacy.pseudonyms import Salt

EXAMPLES = 3


def check_links(links: Iterable[Link], most: float, salt: Salt) -> None:
    """Raise InputError where more than the fraction `most` of a table's rows link to nothing."""
    for link in links:
        if link.fraction > most:
            examples = [
                f"{place} (patient {salt.hashed('patient', patient)})"
                for place, patient in link.unlinked[:EXAMPLES]
            ]
            raise InputError(
                f"{link.path}: {len(link.unlinked)} of {link.rows} rows link to no row of {link.other}, more"
                f" than {most:g} (curate.max_unlinked), as in {', '.join(examples)}; correct the identifiers,"
                " or raise the limit"
            )


def counts_of_links(links: Iterable[Link], most: float) -> dict[str, dict[str, Any]]:
    """Return by table what of it links to nothing, as the manifest of a dataset has it."""
    return {
        link.table: {
            "rows": len(link.unlinked),
            "fraction": link.fraction,
            "limit": most,
            "empty": not link.rows,
        }
        for link in links
    }


def check_spellings(records: Iterable[Record], exams: Iterable[Exam]) -> None:
    """Raise InputError where images spell a patient in several ways, unless tables list a study of each.

    Otherwise `01` and `1` may be two patients.
    """
    studies = {(exam.patient, exam.record.study_uid) for exam in exams}
    listed: dict[str, dict[str, bool]] = defaultdict(lambda: defaultdict(bool))
    for record in records:
        patient, study = record["patient"], record["study"]
        listed[patient][record["spelled"]] |= (patient, study) in studies
    unclear = sorted(
        patient for patient, known in listed.items() if len(known) > 1 and not all(known.values())
    )
    if unclear:
        raise InputError(
            f"{len(unclear)} patients have PatientIDs that differ only in spelling, as 01 and 1 do (hashed:"
            f" {', '.join(unclear[:EXAMPLES])}); spell each patient's in one way, or list their studies"
        )


def check_studies(records: Collection[Record], exams: Collection[Exam], most: float) -> int:
    """Return how many studies have images of another patient than in the tables.

    Raises InputError where they are more than the fraction `most` of the studies that both have.
    """
    patient_of = {exam.record.study_uid: exam.patient for exam in exams if exam.record.study_uid}
    found = {record["study"]: record["patient"] for record in records if record["study"] in patient_of}
    other = sorted(study for study, patient in found.items() if patient != patient_of[study])
    if len(other) > most * len(found):
        raise InputError(
            f"{len(other)} of {len(found)} studies have another PatientID in the images than in the tables,"
            f" more than {most:g} (curate.max_unlinked), as in {', '.join(other[:EXAMPLES])} (hashed);"
            " correct one of them"
        )
    return len(other)
