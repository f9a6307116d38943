"""The source `midrc`: tables of the Gen3 portal of the Medical Imaging and Data Resource Center, and DICOM.

DICOM files are below `images`; below `tables` are the TSV files of these nodes, as the portal exports them
(names of columns in any case; tables and columns in brackets may be missing):

case            submitter_id, [sex, race, ethnicity, age_at_index, site_id]
imaging_study   submitter_id, cases.submitter_id, study_uid, [age_at_imaging, days_to_study,
                days_from_study_to_pos_covid_test, days_from_study_to_neg_covid_test]
measurement     [the whole table] cases.submitter_id, test_name, test_method, test_result_text,
                test_days_from_index
ct_series_file  [the whole table; for m3fm cohort] series_uid, imaging_studies.submitter_id, modality,
                number_of_instances, [image_type]

An exam is an imaging study. Its COVID-19 label comes from RT-PCR and rapid antigen tests (paper, Results:
Multimodal multitask datasets) near the scan; how near is a choice (`LabelConfig`), because the paper does not
state it. The case's covid19_positive, which means ever positive, is not used. Cases and studies are linked by
`m3fm.cohort.keys.normal`.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.clinical.elements import ELEMENTS, Value
from m3fm.clinical.records import ExamRecord
from m3fm.cohort import labels
from m3fm.cohort.keys import Link
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import DAYS, DAYS_AROUND, Table
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, files_below

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

NOT_REPORTED: dict[str, None] = {"Not Reported": None}
SEX = {"Female": "Female", "Male": "Male", **NOT_REPORTED}
RACE = {
    "American Indian or Alaska Native": "American Indian or Alaskan Native",
    "Asian": "Asian",
    "Black or African American": "black or African-American",
    "Native Hawaiian or other Pacific Islander": "Native Hawaiian or other Pacific Islander",
    "Other": None,
    "White": "white",
    **NOT_REPORTED,
}
ETHNICITY = {
    "Hispanic or Latino": "Hispanic or Latino",
    "Not Hispanic or Latino": "neither Hispanic nor Latino",
    **NOT_REPORTED,
}
CATEGORIES = {"gender": ("sex", SEX), "race": ("race", RACE), "ethnic": ("ethnicity", ETHNICITY)}
"""Columns of case.tsv and the values of their texts, by element."""
RESULTS = {"Positive": True, "Negative": False, "Indeterminate": None, **NOT_REPORTED}
METHODS = {"RT-PCR": True, "Rapid antigen test": True, **NOT_REPORTED}
DAY = re.compile(r"-?\d+(?:\.0+)?")
CASE = "cases.submitter_id"
MEASUREMENT = (
    "measurement",
    (CASE, "test_name", "test_method", "test_result_text", "test_days_from_index"),
)
"""The table of tests, and its columns."""

Days = tuple[list[int], list[int]]
"""Days from a scan to the positive and to the negative tests."""


class MidrcSource:
    """MIDRC's tables and images below one folder; patients are split as the paper splits them."""

    name = "midrc"
    test_only = False
    simulated = False

    def __init__(self, root: Path, choices: "LabelConfig") -> None:
        """Open the folder; raises InputError where a table or a column is missing."""
        self.root, self.choices = root, choices
        self.tables, self.images = root / "tables", root / "images"
        if not self.tables.is_dir():
            raise InputError(
                f"{self.tables} is missing: put MIDRC's TSV files into tables, its DICOM files into images"
            )
        person = ("sex", "race", "ethnicity", "age_at_index", "site_id")
        self._case = self._table("case", ("submitter_id",), person)
        self._study = self._table(
            "imaging_study",
            ("submitter_id", CASE, "study_uid"),
            (
                *("age_at_imaging", "days_to_study"),
                *("days_from_study_to_pos_covid_test", "days_from_study_to_neg_covid_test"),
            ),
        )
        self._measurement = self._table(*MEASUREMENT) if self._has("measurement") else None
        case, study = self._case, self._study
        self._cases = case.patients("submitter_id")
        case.check_unique(self._cases, "submitter_id")
        self._studies, self._of_case = study.identifiers("submitter_id"), study.identifiers(CASE)
        study.check_unique(self._studies, "submitter_id")
        study.check_unique(study.identifiers("study_uid"), "study_uid")
        known = set(self._cases)
        study.refuse(CASE, [name not in known for name in self._of_case], "in case.tsv")
        sites = zip(self._cases, case.optional("site_id"))
        self._sites = {name: f"midrc-{site}" for name, site in sites if site}

    def site(self, patient: str) -> str:
        """Return the contributing site, as case.tsv numbers it."""
        return self._sites.get(patient, self.name)

    def links(self) -> list[Link]:
        """Return the link of the tests to their cases."""
        table = self._measurement
        if table is None:
            return []
        keys = [(name,) for name in table.identifiers(CASE)]
        return [table.link("measurement", keys, "case", [(name,) for name in self._cases])]

    def exams(self) -> list[ExamRecord]:
        """Return an exam for every imaging study, by patient and day; a patient's exams count from 0."""
        people, tests = self._people(), self._tests()
        studies = sorted(zip(self._of_case, self._days(), self._rows()))
        records, number = [], dict.fromkeys(people, 0)
        for case, (_, day), (uid, age, positive, negative) in studies:
            if day is not None:
                positive = [*positive, *(test - day for test in tests[case][0])]
                negative = [*negative, *(test - day for test in tests[case][1])]
            before, after = self.choices.covid_days_before, self.choices.covid_days_after
            records.append(
                ExamRecord(
                    patient_id=case,
                    timepoint=number[case],
                    study_uid=uid,
                    elements=people[case] if age is None else {**people[case], "age": age},
                    covid19=labels.covid19(positive, negative, before, after),
                )
            )
            number[case] += 1
        return records

    def image_paths(self) -> Iterable[Path]:
        """Return every file below `images`."""
        return images_below(self.images)

    def digest(self) -> str:
        """Return the SHA-256 of the tables' bytes and the images' names and sizes."""
        contents = [f"{path.name} {file_digest(path)}" for path in files_below(self.tables)]
        return listing_digest(self.root, self.image_paths(), contents)

    def listing(self) -> "pa.Table":
        """Return every series of ct_series_file.tsv; raises InputError where its study is unknown."""
        from m3fm.cohort.selection import listing

        column = "imaging_studies.submitter_id"
        table = self._table(
            "ct_series_file", ("series_uid", column, "modality", "number_of_instances"), ("image_type",)
        )
        studies = table.identifiers(column)
        uids = dict(zip(self._studies, self._study.uids("study_uid")))
        cases = dict(zip(self._studies, self._of_case))
        table.refuse(column, [study not in cases for study in studies], "in imaging_study.tsv")
        kinds = [kind.upper() for kind in table.optional("image_type")]
        return listing(
            {
                "series": table.uids("series_uid"),
                "study": [uids[study] for study in studies],
                "patient": [cases[study] for study in studies],
                "modality": [modality.upper() or None for modality in table.texts("modality")],
                "localizer": ["LOCALIZER" in kind for kind in kinds],
                "reformat": ["REFORMATTED" in kind for kind in kinds],
                "slices": table.integers("number_of_instances"),
            }
        )

    def _table(self, name: str, columns: Collection[str], optional: Collection[str] = ()) -> Table:
        return Table.read(self.tables / f"{name}.tsv", columns, optional, separator="\t")

    def _has(self, name: str) -> bool:
        return (self.tables / f"{name}.tsv").is_file()

    def _people(self) -> dict[str, dict[str, Value]]:
        """Return the elements of every case."""
        case = self._case
        people: dict[str, dict[str, Value]] = {name: {} for name in self._cases}
        columns: dict[str, list[float | None] | list[str | None]] = {}
        if "age_at_index" in case.cells:
            columns["age"] = case.numbers("age_at_index", ELEMENTS["age"].possible)
        for element, (column, values) in CATEGORIES.items():
            if column in case.cells:
                columns[element] = case.named(column, values)
        for element, found in columns.items():
            for elements, value in zip(people.values(), found):
                if value is not None:
                    elements[element] = value
        return people

    def _days(self) -> list[tuple[bool, int | None]]:
        """Return each study's day from the index event, as a key that sorts known days first."""
        given = "days_to_study" in self._study.cells
        days = self._study.integers("days_to_study", DAYS_AROUND) if given else [None] * len(self._study)
        return [(day is None, day) for day in days]

    def _rows(self) -> list[tuple[str, float | None, list[int], list[int]]]:
        """Return UID, age, and days to the positive and the negative tests of each study."""
        study = self._study
        ages: list[float | None] = [None] * len(study)
        if "age_at_imaging" in study.cells:
            ages = study.numbers("age_at_imaging", ELEMENTS["age"].possible)
        positive, negative = (
            _day_lists(study, f"days_from_study_to_{result}_covid_test") for result in ("pos", "neg")
        )
        return list(zip(study.uids("study_uid"), ages, positive, negative))

    def _tests(self) -> dict[str, Days]:
        """Return the days of each case's tests from the index event; none without measurement.tsv."""
        found: dict[str, Days] = defaultdict(lambda: ([], []))
        table = self._measurement
        if table is None:
            return found
        rows = zip(
            table.identifiers(CASE),
            table.texts("test_name"),
            table.named("test_method", METHODS),
            table.named("test_result_text", RESULTS),
            table.integers("test_days_from_index", DAYS_AROUND),
        )
        for case, test, trusted, positive, day in rows:
            if test.upper() == "COVID-19" and trusted and positive is not None and day is not None:
                found[case][0 if positive else 1].append(day)
        return found


def _day_lists(table: Table, column: str) -> list[list[int]]:
    """Parse a column of lists of days, as in `3`, `-2,5` or `[-2, 5]`."""
    cells = [re.split(r"[\s,;|]+", text.strip("[] ")) for text in table.optional(column)]
    cells = [[day for day in days if day] for days in cells]
    if column in table.cells:
        bad = [not all(DAY.fullmatch(day) and abs(float(day)) <= DAYS[1] for day in days) for days in cells]
        table.refuse(column, bad, "a list of days")
    return [[int(float(day)) for day in days] for days in cells]
