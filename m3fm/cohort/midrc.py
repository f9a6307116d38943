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
state it. The case's covid19_positive, which means ever positive, is not used.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.clinical.elements import Value
from m3fm.clinical.records import ExamRecord
from m3fm.cohort import labels
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import Table
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, files_below

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig
    from m3fm.ct.volume import Series

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
DAYS = re.compile(r"-?\d+(?:\.0+)?")

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
            ("submitter_id", "cases.submitter_id", "study_uid"),
            (
                *("age_at_imaging", "days_to_study"),
                *("days_from_study_to_pos_covid_test", "days_from_study_to_neg_covid_test"),
            ),
        )
        self._case.check_unique("submitter_id")
        self._study.check_unique("submitter_id")
        self._study.check_unique("study_uid")
        sites = zip(self._case.texts("submitter_id"), self._case.optional("site_id"))
        self._sites = {case: f"midrc-{site}" for case, site in sites if site}

    def site(self, series: "Series") -> str:
        """Return the contributing site, as case.tsv numbers it."""
        return self._sites.get(series.patient_id, self.name)

    def exams(self) -> list[ExamRecord]:
        """Return an exam for every imaging study, by patient and day; a patient's exams count from 0."""
        people, tests = self._people(), self._tests()
        studies = sorted(zip(self._study.texts("cases.submitter_id"), self._days(), self._rows()))
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

        link = "imaging_studies.submitter_id"
        table = self._table(
            "ct_series_file", ("series_uid", link, "modality", "number_of_instances"), ("image_type",)
        )
        uids = dict(zip(self._study.texts("submitter_id"), self._study.texts("study_uid")))
        cases = dict(zip(self._study.texts("submitter_id"), self._study.texts("cases.submitter_id")))
        table.refuse(link, [study not in cases for study in table.texts(link)], "in imaging_study.tsv")
        kinds = [kind.upper() for kind in table.optional("image_type")]
        return listing(
            {
                "series": table.texts("series_uid"),
                "study": [uids[study] for study in table.texts(link)],
                "patient": [cases[study] for study in table.texts(link)],
                "modality": [modality.upper() or None for modality in table.texts("modality")],
                "localizer": ["LOCALIZER" in kind for kind in kinds],
                "reformat": ["REFORMATTED" in kind for kind in kinds],
                "slices": table.integers("number_of_instances"),
            }
        )

    def _table(self, name: str, columns: Collection[str], optional: Collection[str] = ()) -> Table:
        return Table.read(self.tables / f"{name}.tsv", columns, optional, separator="\t")

    def _people(self) -> dict[str, dict[str, Value]]:
        """Return the elements of every case; raises InputError where a study's case is not in case.tsv."""
        case, link = self._case, "cases.submitter_id"
        known = set(case.texts("submitter_id"))
        self._study.refuse(link, [name not in known for name in self._study.texts(link)], "in case.tsv")
        people: dict[str, dict[str, Value]] = {name: {} for name in case.texts("submitter_id")}
        columns: dict[str, list[float | None] | list[str | None]] = {}
        if "age_at_index" in case.cells:
            columns["age"] = case.numbers("age_at_index")
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
        days = self._study.integers("days_to_study") if given else [None] * len(self._study.cells)
        return [(day is None, day) for day in days]

    def _rows(self) -> list[tuple[str, float | None, list[int], list[int]]]:
        """Return UID, age, and days to the positive and the negative tests of each study."""
        study = self._study
        blank: list[float | None] = [None] * len(study.cells)
        ages = study.numbers("age_at_imaging") if "age_at_imaging" in study.cells else blank
        positive, negative = (
            _day_lists(study, f"days_from_study_to_{result}_covid_test") for result in ("pos", "neg")
        )
        return list(zip(study.texts("study_uid"), ages, positive, negative))

    def _tests(self) -> dict[str, Days]:
        """Return the days of each case's tests from the index event; none without measurement.tsv."""
        found: dict[str, Days] = defaultdict(lambda: ([], []))
        if not (self.tables / "measurement.tsv").is_file():
            return found
        table = self._table(
            "measurement",
            ("cases.submitter_id", "test_name", "test_method", "test_result_text", "test_days_from_index"),
        )
        rows = zip(
            table.texts("cases.submitter_id"),
            table.texts("test_name"),
            table.named("test_method", METHODS),
            table.named("test_result_text", RESULTS),
            table.integers("test_days_from_index"),
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
        bad = [not all(DAYS.fullmatch(day) for day in days) for days in cells]
        table.refuse(column, bad, "a list of days")
    return [[int(float(day)) for day in days] for days in cells]
