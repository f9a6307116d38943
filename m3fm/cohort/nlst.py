"""The source `nlst`: the National Lung Screening Trial, or a cohort in its format.

CSV tables are below `tables`, DICOM files below `images`. The tables prsn, screen, ctab and ctabc are
required; canc (for cancers that prsn lacks), ct_image (studies and series), covid and lungrads (not in NLST)
are optional. An exam is a row of screen. Names of files and columns are in any case, and files may keep the
names of the archive, as in nlst_564_ct_ab_20191001.csv.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, Element, Value
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.cohort import labels
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import Table, find_table
from m3fm.core.artifacts import is_simulated
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, files_below

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig
    from m3fm.ct.volume import Series

ExamKey = tuple[str, int]
"""Participant and study year."""

YEARS_OF_STUDY = range(3)
"""Screening took place in the study years 0, 1 and 2."""
ABNORMALITIES = range(1000)
"""Range of the numbers of abnormalities in an exam."""
NON_DIAGNOSTIC = 3
"""Code of ctdxqual for an unreadable exam: an abnormality that its report lacks may still be present."""
SLICE_MISSING = 999

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
        self._prsn = self._table("prsn", _PERSON_COLUMNS, optional=("cen",))
        self._ctab = self._table("ctab", _ABNORMALITY_COLUMNS)
        self._ctabc = self._table("ctabc", (*_EXAM, "sct_ab_num", "sct_ab_preexist"))
        self._screen.check_unique(*_EXAM)
        self._prsn.check_unique("pid")
        self._ctab.check_unique(*_EXAM, "sct_ab_num")
        centres = self._prsn.texts("cen") if "cen" in self._prsn.cells else []
        self._centres = {
            pid: f"nlst-{centre}" for pid, centre in zip(self._prsn.texts("pid"), centres) if centre
        }

    def site(self, series: "Series") -> str:
        """Return the participant's centre, as prsn.csv numbers it."""
        return self._centres.get(series.patient_id, self.name)

    def exams(self) -> list[ExamRecord]:
        """Return every exam of screen.csv, in the order of participant and year."""
        people = self._people()
        codes, nodules = self._abnormalities()
        studies, covid, lung_rads = self._studies(), self._covid(), self._lung_rads()
        records = []
        for key, quality in sorted(zip(_exam_keys(self._screen), self._screen.integers("ctdxqual"))):
            pid, timepoint = key
            read = quality != NON_DIAGNOSTIC
            records.append(
                ExamRecord(
                    patient_id=pid,
                    timepoint=timepoint,
                    study_uid=studies.get(key),
                    elements=people[pid].elements_at(timepoint),
                    findings=labels.findings(codes[key]) if read else {},
                    nodules=nodules[key] if read else [],
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
        blank = [""] * len(table.cells)
        classes, types = (
            table.texts(name) if name in table.cells else blank for name in ("imageclass", "imagetype")
        )
        return listing(
            {
                "series": table.texts("seriesinstanceuids"),
                "study": table.texts("studyuid"),
                "patient": table.texts("pid"),
                "modality": ["CT"] * len(blank),
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

    def _table_if_there(self, name: str, columns: Collection[str]) -> Table | None:
        there = find_table(self.tables, FILES[name], f"{name}.csv").is_file()
        return self._table(name, columns) if there else None

    def _people(self) -> dict[str, _Person]:
        """Return the screened participants; raises InputError where one is not in prsn.csv."""
        screened = self._screen.cells["pid"]
        absent = ~screened.isin(self._prsn.cells["pid"])
        self._screen.refuse("pid", absent, "in prsn.csv")
        prsn = self._prsn.where(self._prsn.cells["pid"].isin(screened))
        values = {element.name: _values(prsn, element) for element in ELEMENTS.values()}
        scans = [prsn.integers(f"scr_days{year}") for year in YEARS_OF_STUDY]
        followup, death = (prsn.integers(f"{name}_days") for name in ("fup", "death"))
        causes, cancers = prsn.texts("dcficd"), self._cancers(prsn)
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
            for row, pid in enumerate(prsn.texts("pid"))
        }

    def _cancers(self, prsn: Table) -> list[tuple[int | None, str | None]]:
        """Return day and lung of each participant's first lung cancer: from prsn, or else from canc."""
        first: dict[str, tuple[int, str | None]] = {}
        canc = self._table_if_there("canc", ("pid", "candx_days", *_LOCATIONS))
        if canc is not None:
            for pid, day, side in zip(canc.texts("pid"), canc.integers("candx_days"), _sides(canc)):
                if day is not None and (pid not in first or day < first[pid][0]):
                    first[pid] = (day, side)
        from_canc = [first.get(pid, (None, None)) for pid in prsn.texts("pid")]
        from_prsn = zip(prsn.integers("candx_days"), _sides(prsn))
        return [
            (other[0] if day is None else day, side or other[1])
            for (day, side), other in zip(from_prsn, from_canc)
        ]

    def _abnormalities(self) -> tuple[dict[ExamKey, list[int]], dict[ExamKey, list[Nodule]]]:
        """Return the codes of the abnormalities in each exam's report, and its nodules."""
        ctab, new = self._ctab, self._new_abnormalities()
        columns = zip(
            _exam_keys(ctab),
            ctab.keys("sct_ab_num", ABNORMALITIES),
            ctab.integers("sct_ab_desc"),
            ctab.integers("sct_slice_num"),
            ctab.coded("sct_epi_loc", {**labels.LOBES, 8: None}),
            ctab.numbers("sct_long_dia"),
            ctab.numbers("sct_perp_dia"),
            ctab.coded("sct_margins", labels.MARGINS),
            ctab.coded("sct_pre_att", labels.ATTENUATIONS),
        )
        codes: dict[ExamKey, list[int]] = defaultdict(list)
        nodules: dict[ExamKey, list[Nodule]] = defaultdict(list)
        for key, number, code, slice_number, lobe, long_mm, short_mm, margin, attenuation in columns:
            if code is None:
                continue
            codes[key].append(code)
            if code in labels.NODULES:
                nodules[key].append(
                    Nodule(
                        number=number,
                        lobe=lobe,
                        slice_number=None if slice_number == SLICE_MISSING else slice_number,
                        long_mm=long_mm,
                        short_mm=short_mm,
                        margin=margin,
                        attenuation=attenuation,
                        new=(*key, number) in new,
                    )
                )
        return codes, nodules

    def _new_abnormalities(self) -> set[tuple[str, int, int]]:
        """Return the abnormalities that a comparison did not find in earlier exams."""
        preexisted = self._ctabc.coded("sct_ab_preexist", {1: False, 2: True})
        rows = zip(_exam_keys(self._ctabc), self._ctabc.keys("sct_ab_num", ABNORMALITIES), preexisted)
        return {(*key, number) for key, number, before in rows if before is False}

    def _studies(self) -> dict[ExamKey, str]:
        """Return the StudyInstanceUID of each exam whose series are all of one study."""
        table = self._table_if_there("ct_image", (*_EXAM, "studyuid"))
        found: dict[ExamKey, set[str]] = defaultdict(set)
        if table is not None:
            for key, uid in zip(_exam_keys(table), table.texts("studyuid")):
                found[key].add(uid)
        return {key: next(iter(uids)) for key, uids in found.items() if len(uids) == 1}

    def _covid(self) -> dict[ExamKey, int]:
        """Return 1 for each exam with a positive test, 0 with only negative ones."""
        table = self._table_if_there("covid", (*_EXAM, "result"))
        found: dict[ExamKey, int] = {}
        if table is not None:
            for key, result in zip(_exam_keys(table), table.texts("result")):
                if result.lower() in ("positive", "negative"):
                    found[key] = max(found.get(key, 0), int(result.lower() == "positive"))
        return found

    def _lung_rads(self) -> dict[ExamKey, int]:
        """Return the category that each exam's report states, 1 to 4."""
        table = self._table_if_there("lungrads", (*_EXAM, "lung_rads"))
        if table is None:
            return {}
        texts = table.texts("lung_rads")
        categories = [labels.lung_rads(text) for text in texts]
        unclear = [text[:1].isdigit() and text[:1] not in "01234" for text in texts]
        table.refuse("lung_rads", unclear, "a category, 0 to 4X, or a report's text")
        return {key: category for key, category in zip(_exam_keys(table), categories) if category is not None}


def _exam_keys(table: Table) -> list[ExamKey]:
    return list(zip(table.texts("pid"), table.keys("study_yr", YEARS_OF_STUDY)))


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
        return list(prsn.numbers(element.columns[0]))
    values = prsn.coded(element.columns[0], element.codes)
    if element.kind != "diagnosis":
        return values
    ages = prsn.numbers(element.columns[1])
    return [age if age is not None and value == AGE_UNKNOWN else value for value, age in zip(values, ages)]
