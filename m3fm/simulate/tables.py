"""The cohort's tables, in the columns and codes of NLST's own CSV files.

Two tables are not NLST's: `covid` stands for the laboratory tests of MIDRC and `lungrads` for the
categories in a hospital's reports; NLST has neither.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from m3fm.simulate.dicom import description, image_type
from m3fm.simulate.exam import SimulatedExam
from m3fm.simulate.findings import ABNORMALITIES, EXAMS
from m3fm.simulate.lungrads import lung_rads
from m3fm.simulate.outcomes import LUNG_CANCER_CAUSE, TUMOUR_PLACES, Cancer, Outcome
from m3fm.simulate.people import MISSING, NOT_APPLICABLE, Code, Person

CsvRow = dict[str, Code]
VERSION = "simulated"
NODULE = 51
LOCATIONS = (
    "loccar",
    "loclhil",
    "loclin",
    "locllow",
    "loclmsb",
    "loclup",
    "locmed",
    "locoth",
    "locrhil",
    "locrlow",
    "locrmid",
    "locrmsb",
    "locrup",
    "locunk",
)
TOPOGRAPHY = {
    "locrup": "C341",
    "loclup": "C341",
    "loclin": "C341",
    "locrmid": "C342",
    "locrlow": "C343",
    "locllow": "C343",
}
HISTOLOGY = {8041: 1, 8070: 2, 8140: 3, 8012: 5}
"""Codes of histology_cat by ICD-O-3 morphology."""

TABLES = ("prsn", "screen", "ctab", "ctabc", "canc", "ct_image", "covid", "lungrads")


def patient_rows(
    person: Person, outcome: Outcome, exams: list[SimulatedExam], numbers_of_images: Mapping[str, int]
) -> dict[str, list[CsvRow]]:
    """Return a patient's rows by table; `numbers_of_images` are by SeriesInstanceUID."""
    rows: dict[str, list[CsvRow]] = {name: [] for name in TABLES}
    rows["prsn"] = [_prsn(person, outcome, exams)]
    if outcome.cancer is not None:
        rows["canc"] = [_canc(person, outcome.cancer)]
    for index, exam in enumerate(exams):
        key: CsvRow = {"pid": person.pid, "study_yr": exam.timepoint}
        rows["screen"].append(key | _screen(exam))
        rows["ctab"] += [key | row for row in _abnormalities(exam)]
        rows["ctabc"] += [key | row for row in _comparison(exam, exams[:index])]
        rows["ct_image"] += [key | row for row in _images(exam, numbers_of_images)]
        rows["lungrads"].append(key | {"lung_rads": lung_rads(exam.findings.nodules, exam.timepoint)})
        if exam.findings.covid_tested:
            positive = "covid19" in exam.findings.severity
            method = "RT-PCR" if person.pid % 2 else "Rapid antigen test"
            rows["covid"].append(
                key | {"test_method": method, "result": "Positive" if positive else "Negative"}
            )
    return rows


def write_tables(folder: Path, patients: Iterable[dict[str, list[CsvRow]]]) -> dict[str, int]:
    """Write one CSV file per table, and return the number of rows of each."""
    folder.mkdir(parents=True)
    rows: dict[str, list[CsvRow]] = {name: [] for name in TABLES}
    for patient in patients:
        for name in TABLES:
            rows[name] += patient[name]
    for name in TABLES:
        columns = list(rows[name][0]) if rows[name] else MAY_BE_EMPTY[name]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[name])
    return {name: len(rows[name]) for name in TABLES}


def _locations(cancer: Cancer | None) -> CsvRow:
    if cancer is None:
        return dict.fromkeys(LOCATIONS, NOT_APPLICABLE)
    return {name: int(name == TUMOUR_PLACES[cancer.lobe]) for name in LOCATIONS}


def _tumour(cancer: Cancer | None) -> CsvRow:
    """Return the columns that the tables of patients and of cancers share."""
    if cancer is None:
        return {
            "candx_days": NOT_APPLICABLE,
            "de_grade": NOT_APPLICABLE,
            "de_stag": NOT_APPLICABLE,
            "de_stag_7thed": NOT_APPLICABLE,
            "de_type": NOT_APPLICABLE,
            "lesionsize": NOT_APPLICABLE,
            **_locations(None),
        }
    return {
        "candx_days": cancer.day,
        "de_grade": cancer.grade,
        "de_stag": cancer.stage,
        "de_stag_7thed": cancer.stage,
        "de_type": cancer.tumour_type,
        "lesionsize": cancer.size_mm,
        **_locations(cancer),
    }


def _study_year(day: int) -> int:
    return min(day // 365, 7)


def _prsn(person: Person, outcome: Outcome, exams: list[SimulatedExam]) -> CsvRow:
    cancer, death = outcome.cancer, outcome.death
    row: CsvRow = {
        "pid": person.pid,
        "cen": f"C{person.centre}",
        "dataset_version": VERSION,
        "elig": 2,
        "rndgroup": 1,
        "study": 1 + person.centre % 3,
        **person.answers,
    }
    for timepoint in range(EXAMS):
        exam = next((exam for exam in exams if exam.timepoint == timepoint), None)
        row[f"scr_days{timepoint}"] = NOT_APPLICABLE if exam is None else exam.day
        row[f"scr_iso{timepoint}"] = _isolated_result(exam) if exam else _not_screened(outcome, timepoint)
        row[f"scr_res{timepoint}"] = (
            _compared_result(exam, exams) if exam else _not_screened(outcome, timepoint)
        )
    nodules = any(exam.findings.nodules for exam in exams)
    row |= {
        "scr_group": (1 if _can_scr(cancer, exams) == 1 else 5) if cancer else (2 if nodules else 3),
        "last_screen_studyyr": exams[-1].timepoint,
        "anyscr_has_nodule": int(nodules),
        "conflc": int(cancer is not None),
        "can_scr": _can_scr(cancer, exams),
        "cancyr": _study_year(cancer.day) if cancer else NOT_APPLICABLE,
        "canc_free_days": cancer.day if cancer else outcome.followup_day,
        "fup_days": outcome.followup_day,
        **_tumour(cancer),
        "histology_cat": HISTOLOGY[cancer.tumour_type] if cancer else NOT_APPLICABLE,
        "contactstatus": 2 if death else 1,
        "deathstat": 2 if death else 0,
        "deathcutoff": int(death is not None),
        "death_days": death.day if death else NOT_APPLICABLE,
        "dcficd": death.icd10 if death else "",
        "dcfdeathlc": int(death.icd10 == LUNG_CANCER_CAUSE) if death else NOT_APPLICABLE,
        "finaldeathlc": int(death.icd10 == LUNG_CANCER_CAUSE) if death else NOT_APPLICABLE,
    }
    return row


def _canc(person: Person, cancer: Cancer) -> CsvRow:
    return {
        "pid": person.pid,
        "study_yr": _study_year(cancer.day),
        "dataset_version": VERSION,
        "first_lc": 1,
        "lc_order": 1,
        "lc_behav": 3,
        "lc_grade": cancer.grade if cancer.grade <= 4 else 9,
        "lc_morph": cancer.tumour_type,
        "lc_topog": TOPOGRAPHY[TUMOUR_PLACES[cancer.lobe]],
        **_tumour(cancer),
    }


def _can_scr(cancer: Cancer | None, exams: list[SimulatedExam]) -> int:
    """Return can_scr: the cancer followed a positive or a negative screen, or came over a year later."""
    if cancer is None:
        return 0
    if cancer.day - exams[-1].day > 365:
        return 4
    return 1 if exams[-1].findings.nodules else 2


def _isolated_result(exam: SimulatedExam) -> int:
    """Return the result of the exam alone: positive with a nodule, else negative with or without findings."""
    if exam.findings.nodules:
        return 4
    return 3 if exam.findings.severity.keys() - {"covid19"} else 1


def _compared_result(exam: SimulatedExam, exams: list[SimulatedExam]) -> int:
    """Return the result compared with earlier exams: a positive one may show no significant change."""
    alone = _isolated_result(exam)
    earlier = [other for other in exams if other.timepoint < exam.timepoint]
    if alone != 4 or not earlier:
        return alone
    before = {nodule.number: nodule.long_mm for nodule in earlier[-1].findings.nodules}
    same = all(before.get(nodule.number) == nodule.long_mm for nodule in exam.findings.nodules)
    return 5 if same else 6


def _not_screened(outcome: Outcome, timepoint: int) -> int:
    """Return the reason for a missing exam: cancer, death, or else the patient refused."""
    due = 365 * timepoint
    if outcome.cancer is not None and outcome.cancer.day < due + 60:
        return 13 if outcome.cancer.day < due - 30 else 23
    if outcome.death is not None and outcome.death.day < due + 60:
        return 14 if outcome.death.day < due - 30 else 24
    return 15


def _screen(exam: SimulatedExam) -> CsvRow:
    filters = [plan.kernel.filter_code for plan in exam.series if plan.kernel is not None]
    columns: list[Code] = [*filters, MISSING, MISSING]
    return {
        "dataset_version": VERSION,
        **{f"ct_recon_filter{number}": code for number, code in enumerate(columns, 1)},
        "ctdxqual": 1,
        "image_has": 1,
        "num_axial_series": len(filters),
        "num_localizer_series": len(exam.series) - len(filters),
        "num_image_series": len(exam.series),
    }


def _abnormalities(exam: SimulatedExam) -> list[CsvRow]:
    rows: list[CsvRow] = [
        {
            "dataset_version": VERSION,
            "sct_ab_num": nodule.number,
            "sct_ab_desc": NODULE,
            "sct_slice_num": exam.slice_number(nodule),
            "sct_epi_loc": nodule.lobe,
            "sct_long_dia": nodule.long_mm,
            "sct_perp_dia": nodule.short_mm,
            "sct_margins": nodule.margin,
            "sct_pre_att": nodule.attenuation,
            "sct_found_after_comp": 0,
        }
        for nodule in exam.findings.nodules
    ]
    number = 1 + max((nodule.number for nodule in exam.findings.nodules), default=0)
    for kind in ABNORMALITIES:
        if kind.code is not None and kind.name in exam.findings.severity:
            described: CsvRow = {"dataset_version": VERSION, "sct_ab_num": number, "sct_ab_desc": kind.code}
            rows.append({**dict.fromkeys(CTAB, NOT_APPLICABLE), **described, "sct_found_after_comp": 0})
            number += 1
    return rows


def _comparison(exam: SimulatedExam, earlier: list[SimulatedExam]) -> list[CsvRow]:
    """Return a row for each nodule, compared with the exam before; none for the first exam."""
    if not earlier:
        return []
    before = {nodule.number: nodule for nodule in earlier[-1].findings.nodules}
    rows: list[CsvRow] = []
    for nodule in exam.findings.nodules:
        old = before.get(nodule.number)
        grown = old is not None and nodule.long_mm > old.long_mm
        rows.append(
            {
                "dataset_version": VERSION,
                "sct_ab_num": nodule.number,
                "sct_ab_code": NODULE,
                "visible_days": exam.day - earlier[-1].day if old else NOT_APPLICABLE,
                "sct_ab_preexist": 2 if old else 1,
                "sct_ab_gwth": (2 if grown else 1) if old else NOT_APPLICABLE,
                "sct_ab_attn": 1 if old else NOT_APPLICABLE,
                "sct_ab_invg": 2 if grown or not old else 1,
            }
        )
    return rows


def _images(exam: SimulatedExam, numbers_of_images: Mapping[str, int]) -> list[CsvRow]:
    step, pixel, _ = exam.grid.voxel_size
    rows: list[CsvRow] = []
    for plan in exam.series:
        kernel = plan.kernel
        rows.append(
            {
                "dataset_version": VERSION,
                "seriesinstanceuids": plan.uid,
                "studyuid": exam.study_uid,
                "visit": exam.timepoint,
                "seriesdescription": description(exam, plan),
                "imagetype": image_type(plan),
                "imageclass": 0 if kernel is None else 1,
                "numberimages": numbers_of_images[plan.uid],
                "manufacturer": exam.scanner.manufacturer,
                "manufacturers_model_name": exam.scanner.model,
                "reconfilter": "" if kernel is None else kernel.name,
                "reconthickness": "" if kernel is None else kernel.thickness_mm,
                "reconinterval": "" if kernel is None else step,
                "reconstruction_diameter": round(exam.grid.rows * pixel),
                "kvp": 120,
            }
        )
    return rows


CTAB = (
    "dataset_version",
    "sct_ab_num",
    "sct_ab_desc",
    "sct_slice_num",
    "sct_epi_loc",
    "sct_long_dia",
    "sct_perp_dia",
    "sct_margins",
    "sct_pre_att",
    "sct_found_after_comp",
)
CTABC = (
    "dataset_version",
    "sct_ab_num",
    "sct_ab_code",
    "visible_days",
    "sct_ab_preexist",
    "sct_ab_gwth",
    "sct_ab_attn",
    "sct_ab_invg",
)
CANC = ("dataset_version", "first_lc", "lc_order", "lc_behav", "lc_grade", "lc_morph", "lc_topog")
MAY_BE_EMPTY = {
    "ctab": ("pid", "study_yr", *CTAB),
    "ctabc": ("pid", "study_yr", *CTABC),
    "canc": ("pid", "study_yr", *CANC, *_tumour(None)),
    "covid": ("pid", "study_yr", "test_method", "result"),
}
"""Columns of the tables that may have no rows in a small cohort."""
