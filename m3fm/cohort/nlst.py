"""The source `nlst`: the National Lung Screening Trial, or a cohort in its format.

CSV tables are below `tables`, DICOM files below `images`. The tables prsn, screen, ctab and ctabc are
required; canc (for cancers that prsn lacks), ct_image (studies and series), covid and lungrads (not in NLST)
are optional. An exam is a row of screen. Names of files and columns are in any case, and files may keep the
names of the archive, as in nlst_564_ct_ab_20191001.csv. Participants are linked by `m3fm.cohort.keys.normal`.

An exam without a row in ctab has none of the findings if prsn calls its result negative (scr_iso 1), or if
prsn lacks the result and ctab has rows of other exams. It is unknown if the result is abnormal (3 or 4).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, Element, Value
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.cohort import labels
from m3fm.cohort.keys import Link
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import DAYS, DIAMETERS_MM, SLICES, Table, find_table
from m3fm.core.artifacts import is_simulated
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, files_below

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

ExamKey = tuple[str, int]
"""Participant and study year."""

YEARS_OF_STUDY = range(3)
"""Screening took place in the study years 0, 1 and 2."""
ABNORMALITY_CODES = {code: code for code in range(51, 66)}
"""Codes of abnormalities (sct_ab_desc)."""
ABNORMALITIES = range(1000)
"""Range of the numbers of abnormalities in an exam."""
NON_DIAGNOSTIC = 3
"""Code of ctdxqual for an unreadable exam: an abnormality that its report lacks may still be present."""
SLICE_MISSING = 999
CLEAR = 1
"""Result of an exam (scr_iso) without any abnormality."""
ABNORMAL = (3, 4)
"""Results of an exam with significant abnormalities, which ctab then lists."""
RESULTS = tuple(f"scr_iso{year}" for year in YEARS_OF_STUDY)
ICD10 = r"[A-Za-z]\d[\dA-Za-z]\.?[\dA-Za-z]{0,4}"

FILES = {
    "prsn": "prsn",
    "screen": "(?:s?ct_?)?screen",
    "ctab": "ctab|ct_ab|sctabn",
    "ctabc": "ctabc|ct_abc|sctabnc",
    "canc": "canc|lungcanc",
    "ct_image": "ct_image(?:_info|_series)?|sct_image_series|sctimageinfo",
    "covid": "covid",
    "lungrads": "lungrads",
}
"""Regular expressions of the tables' file names."""

_LOCATIONS = tuple(column for side in labels.SIDES.values() for column in side)
_PERSON_COLUMNS = (
    "pid",
    *(f"scr_days{year}" for year in YEARS_OF_STUDY),
    *("candx_days", "fup_days", "death_days", "dcficd"),
    *_LOCATIONS,
    *(column for element in ELEMENTS.values() for column in element.columns),
)
_EXAM = ("pid", "study_yr")
_ABNORMALITY_COLUMNS = (
    *(*_EXAM, "sct_ab_num", "sct_ab_desc", "sct_slice_num", "sct_epi_loc"),
    *("sct_long_dia", "sct_perp_dia", "sct_margins", "sct_pre_att"),
)


_EXTRAS: dict[str, tuple[str, ...]] = {
    "canc": ("pid", "candx_days", *_LOCATIONS),
    "ct_image": (*_EXAM, "studyuid"),
    "covid": (*_EXAM, "result"),
    "lungrads": (*_EXAM, "lung_rads"),
}
"""Columns of the tables that may be missing."""
COVID_RESULTS: dict[str, int | None] = {"Positive": 1, "Negative": 0, "Indeterminate": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Person:
    """A participant; days count from randomisation."""

    elements: dict[str, Value]
    scan_days: tuple[int | None, ...]
    cancer_day: int | None
    cancer_side: str | None
    followup_day: int | None
    death_day: int | None
    cardiovascular_death_day: int | None

    def elements_at(self, timepoint: int) -> dict[str, Value]:
        """Return the clinical data with the age at the exam; without an age if the exam's day is unknown."""
        age, day = self.elements.get("age"), self.scan_days[timepoint]
        others = {name: value for name, value in self.elements.items() if name != "age"}
        if age is None or day is None:
            return others
        return {"age": float(age) + day // labels.DAYS_A_YEAR, **others}

    def risks_at(self, timepoint: int) -> dict[str, Risk]:
        """Return the labels of the hazard tasks; follow-up ends with death where its end is not recorded."""
        day = self.scan_days[timepoint]
        end = self.followup_day if self.followup_day is not None else self.death_day
        found = {
            "cvd_mortality": labels.risk(self.cardiovascular_death_day, end, day),
            "lung_cancer_risk": labels.risk(self.cancer_day, end, day),
        }
        return {task: risk for task, risk in found.items() if risk is not None}


class NlstSource:
    """NLST's tables and images below one folder."""

    name = "nlst"
    test_only = False

    def __init__(self, root: Path, choices: "LabelConfig") -> None:
        """Open the folder; raises InputError where a table or a column is missing."""
        self.choices = choices
        self.tables, self.images = root / "tables", root / "images"
        if not self.tables.is_dir():
            raise InputError(f"{self.tables} is missing: put the CSV into tables, the DICOM into images")
        self.root = root
        self.simulated = is_simulated(root)
        self._screen = self._table("screen", (*_EXAM, "ctdxqual"))
        self._prsn = self._table("prsn", _PERSON_COLUMNS, optional=("cen", *RESULTS))
        self._ctab = self._table("ctab", _ABNORMALITY_COLUMNS)
        self._ctabc = self._table("ctabc", (*_EXAM, "sct_ab_num", "sct_ab_preexist"))
        self._extras = {
            name: self._table(name, columns)
            for name, columns in _EXTRAS.items()
            if find_table(self.tables, FILES[name], f"{name}.csv").is_file()
        }
        for table in (self._screen, self._prsn):
            if not len(table):
                raise InputError(f"{table.path} has no rows: put the trial's there")
        self._pids = self._prsn.patients("pid")
        self._prsn.check_unique(self._pids, "pid")
        self._exam_keys = _exam_keys(self._screen)
        self._screen.check_unique(self._exam_keys, *_EXAM)
        known = set(self._pids)
        self._screen.refuse("pid", [pid not in known for pid, _ in self._exam_keys], "in prsn.csv")
        self._numbered = _numbered(self._ctab)
        self._ctab.check_unique(self._numbered, *_EXAM, "sct_ab_num")
        self._centres = {
            pid: f"nlst-{centre}" for pid, centre in zip(self._pids, self._prsn.optional("cen")) if centre
        }

    def site(self, patient: str) -> str:
        """Return the participant's centre, as prsn.csv numbers it."""
        return self._centres.get(patient, self.name)

    def links(self) -> list[Link]:
        """Return the links to screen and prsn, and those from an abnormal result to its rows in ctab."""
        of_exams = {"ctab": self._ctab, "ctabc": self._ctabc, **self._extras}
        canc = of_exams.pop("canc", None)
        found = [
            table.link(name, _exam_keys(table), "screen", self._exam_keys) for name, table in of_exams.items()
        ]
        if canc is not None:
            pids = [(pid,) for pid in canc.identifiers("pid")]
            found.append(canc.link("canc", pids, "prsn", [(pid,) for pid in self._pids]))
        results, reported = self._results(), {(pid, year) for pid, year, _ in self._numbered}
        explained = [
            key
            for key, read in zip(self._exam_keys, self._read())
            if key in reported or not read or results.get(key) not in ABNORMAL
        ]
        return [*found, self._screen.link("screen", self._exam_keys, "ctab", explained)]

    def exams(self) -> list[ExamRecord]:
        """Return every exam of screen.csv, in the order of participant and year."""
        people = self._people()
        codes, nodules = self._abnormalities()
        studies, covid, lung_rads = self._studies(), self._covid(), self._lung_rads()
        results, some = self._results(), not codes.keys().isdisjoint(self._exam_keys)
        records = []
        for key, read in sorted(zip(self._exam_keys, self._read())):
            pid, timepoint = key
            result = results.get(key)
            clear = result == CLEAR or (some and result not in ABNORMAL)
            records.append(
                ExamRecord(
                    patient_id=pid,
                    timepoint=timepoint,
                    study_uid=studies.get(key),
                    elements=people[pid].elements_at(timepoint),
                    findings=labels.findings(codes[key]) if read and (codes[key] or clear) else {},
                    nodules=sorted(nodules[key], key=lambda nodule: nodule.number) if read else [],
                    risks=people[pid].risks_at(timepoint),
                    cancer_side=people[pid].cancer_side,
                    covid19=covid.get(key),
                    lung_rads=lung_rads.get(key),
                )
            )
        return records

    def image_paths(self) -> Iterable[Path]:
        """Return every file below `images`."""
        return images_below(self.images)

    def digest(self) -> str:
        """Return the SHA-256 of the bytes of tables and manifest, and of the images' names and sizes."""
        tables = [*self.root.glob("cohort.json"), *files_below(self.tables)]
        contents = [f"{path.relative_to(self.root).as_posix()} {file_digest(path)}" for path in tables]
        return listing_digest(self.root, self.image_paths(), contents)

    def listing(self) -> "pa.Table":
        """Return every series of the table ct_image; localizers are found by Sybil's rule."""
        from m3fm.cohort.selection import listing

        table = self._table(
            "ct_image", ("pid", "studyuid", "seriesinstanceuids", "numberimages"), ("imageclass", "imagetype")
        )
        classes, types = (table.optional(name) for name in ("imageclass", "imagetype"))
        return listing(
            {
                "series": table.uids("seriesinstanceuids"),
                "study": table.uids("studyuid"),
                "patient": table.identifiers("pid"),
                "modality": ["CT"] * len(table),
                "localizer": [
                    code in ("0", "0.0") or "LOCALIZER" in kind.upper() or "TOP" in kind.upper()
                    for code, kind in zip(classes, types)
                ],
                "reformat": ["REFORMATTED" in kind.upper() for kind in types],
                "slices": table.integers("numberimages"),
            }
        )

    def _table(self, name: str, columns: Collection[str], optional: Collection[str] = ()) -> Table:
        return Table.read(find_table(self.tables, FILES[name], f"{name}.csv"), columns, optional)

    def _read(self) -> list[bool]:
        """Return whether each exam could be read."""
        return [quality != NON_DIAGNOSTIC for quality in self._screen.integers("ctdxqual")]

    def _results(self) -> dict[ExamKey, int | None]:
        """Return the result of each exam as prsn has it; none without its columns."""
        return {
            (pid, year): result
            for year, column in enumerate(RESULTS)
            if column in self._prsn.cells
            for pid, result in zip(self._pids, self._prsn.integers(column))
        }

    def _people(self) -> dict[str, _Person]:
        """Return the screened participants."""
        screened = {pid for pid, _ in self._exam_keys}
        prsn = self._prsn.where([pid in screened for pid in self._pids])
        pids = prsn.identifiers("pid")
        values = {element.name: _values(prsn, element) for element in ELEMENTS.values()}
        scans = [prsn.integers(f"scr_days{year}", DAYS) for year in YEARS_OF_STUDY]
        followup, death = (prsn.integers(f"{name}_days", DAYS) for name in ("fup", "death"))
        causes, cancers = prsn.matching("dcficd", ICD10, "a code of ICD-10"), self._cancers(prsn, pids)
        return {
            pid: _Person(
                elements={
                    name: value for name, column in values.items() if (value := column[row]) is not None
                },
                scan_days=tuple(days[row] for days in scans),
                cancer_day=cancers[row][0],
                cancer_side=cancers[row][1],
                followup_day=followup[row],
                death_day=death[row],
                cardiovascular_death_day=labels.cardiovascular_death_day(
                    causes[row], death[row], self.choices.cardiovascular_icd10
                ),
            )
            for row, pid in enumerate(pids)
        }

    def _cancers(self, prsn: Table, pids: list[str]) -> list[tuple[int | None, str | None]]:
        """Return day and lung of each participant's first lung cancer: from prsn, or else from canc."""
        first: dict[str, tuple[int, str | None]] = {}
        canc = self._extras.get("canc")
        if canc is not None:
            days = canc.integers("candx_days", DAYS)
            for pid, day, side in zip(canc.identifiers("pid"), days, _sides(canc)):
                if day is not None and (pid not in first or day < first[pid][0]):
                    first[pid] = (day, side)
        from_canc = [first.get(pid, (None, None)) for pid in pids]
        from_prsn = zip(prsn.integers("candx_days", DAYS), _sides(prsn))
        return [
            (other[0] if day is None else day, side or other[1])
            for (day, side), other in zip(from_prsn, from_canc)
        ]

    def _abnormalities(self) -> tuple[dict[ExamKey, list[int]], dict[ExamKey, list[Nodule]]]:
        """Return the codes of the abnormalities in each exam's report, and its nodules."""
        ctab, new = self._ctab, self._new_abnormalities()
        columns = zip(
            self._numbered,
            ctab.coded("sct_ab_desc", ABNORMALITY_CODES),
            ctab.integers("sct_slice_num", SLICES),
            ctab.coded("sct_epi_loc", {**labels.LOBES, 8: None}),
            ctab.numbers("sct_long_dia", DIAMETERS_MM),
            ctab.numbers("sct_perp_dia", DIAMETERS_MM),
            ctab.coded("sct_margins", labels.MARGINS),
            ctab.coded("sct_pre_att", labels.ATTENUATIONS),
        )
        codes: dict[ExamKey, list[int]] = defaultdict(list)
        nodules: dict[ExamKey, list[Nodule]] = defaultdict(list)
        for numbered, code, slice_number, lobe, long_mm, short_mm, margin, attenuation in columns:
            pid, year, number = numbered
            if code is None:
                continue
            codes[pid, year].append(code)
            if code in labels.NODULES:
                nodules[pid, year].append(
                    Nodule(
                        number=number,
                        lobe=lobe,
                        slice_number=None if slice_number == SLICE_MISSING else slice_number,
                        long_mm=long_mm,
                        short_mm=short_mm,
                        margin=margin,
                        attenuation=attenuation,
                        new=numbered in new,
                    )
                )
        return codes, nodules

    def _new_abnormalities(self) -> set[tuple[str, int, int]]:
        """Return the abnormalities that a comparison did not find in earlier exams."""
        preexisted = self._ctabc.coded("sct_ab_preexist", {1: False, 2: True})
        numbered = _numbered(self._ctabc)
        self._ctabc.check_consistent(numbered, preexisted, "sct_ab_preexist")
        return {key for key, before in zip(numbered, preexisted) if before is False}

    def _studies(self) -> dict[ExamKey, str]:
        """Return the StudyInstanceUID of each exam whose series are all of one study."""
        table = self._extras.get("ct_image")
        found: dict[ExamKey, set[str]] = defaultdict(set)
        if table is not None:
            keys, uids = _exam_keys(table), table.uids("studyuid")
            studies = [uid or key for uid, key in zip(uids, keys)]
            table.check_consistent(studies, [pid for pid, _ in keys], "pid")
            for key, uid in zip(keys, uids):
                found[key].add(uid)
        return {key: next(iter(uids)) for key, uids in found.items() if len(uids) == 1}

    def _covid(self) -> dict[ExamKey, int]:
        """Return 1 for each exam with a positive test, 0 with only negative ones."""
        table = self._extras.get("covid")
        found: dict[ExamKey, int] = {}
        if table is not None:
            for key, positive in zip(_exam_keys(table), table.named("result", COVID_RESULTS)):
                if positive is not None:
                    found[key] = max(found.get(key, 0), positive)
        return found

    def _lung_rads(self) -> dict[ExamKey, int]:
        """Return the category that each exam's report states, 1 to 4."""
        table = self._extras.get("lungrads")
        if table is None:
            return {}
        keys, categories = _exam_keys(table), table.lung_rads("lung_rads")
        table.check_consistent(keys, categories, "lung_rads")
        return {key: category for key, category in zip(keys, categories) if category is not None}


def _exam_keys(table: Table) -> list[ExamKey]:
    return list(zip(table.identifiers("pid"), table.keys("study_yr", YEARS_OF_STUDY)))


def _numbered(table: Table) -> list[tuple[str, int, int]]:
    """Return exam and number of each abnormality."""
    numbers = table.keys("sct_ab_num", ABNORMALITIES)
    return [(*key, number) for key, number in zip(_exam_keys(table), numbers)]


def _sides(table: Table) -> list[str | None]:
    """Return the lung of each row's cancer."""
    flags = {column: table.coded(column, {0: False, 1: True}) for column in _LOCATIONS}
    return [
        labels.cancer_side(column for column, values in flags.items() if values[row])
        for row in range(len(table.cells))
    ]


def _values(prsn: Table, element: Element) -> list[Value | None]:
    """Return an element's values, one per participant."""
    if element.kind == "number":
        return list(prsn.numbers(element.columns[0], element.possible))
    values = prsn.coded(element.columns[0], element.codes)
    if element.kind != "diagnosis":
        return values
    ages = prsn.numbers(element.columns[1], element.possible)
    return [age if age is not None and value == AGE_UNKNOWN else value for value, age in zip(values, ages)]
