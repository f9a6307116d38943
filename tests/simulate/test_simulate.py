import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from m3fm.config.sections import SimulateConfig
from m3fm.core.artifacts import check_files
from m3fm.ct.dicom import read_series
from m3fm.ct.geometry import Rejected
from m3fm.simulate import simulate
from m3fm.simulate.cohort import write_exam
from m3fm.simulate.course import draw_course
from m3fm.simulate.findings import (
    ABNORMALITIES,
    FAT,
    GROUND_GLASS,
    MIXED,
    SMOOTH,
    SOFT_TISSUE,
    SimulatedNodule,
)
from m3fm.simulate.lungrads import lung_rads
from m3fm.simulate.transfer import BY_FINDING, draw_candidate, write_transfer

pytestmark = pytest.mark.integration

CONFIG = SimulateConfig(patients=8, rows=64, slices=(40, 44), broken_fraction=0.25)
MISSING = {"", ".M", ".N"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulate") / "cohort"
    simulate(out, CONFIG, workers=2)
    return out


@pytest.fixture(scope="module")
def courses():
    return {course.person.pid: course for course in (draw_course(CONFIG, n) for n in range(CONFIG.patients))}


@pytest.fixture(scope="module")
def many():
    """Courses are cheap: enough of them to see fractions."""
    return [draw_course(SimulateConfig(), number) for number in range(400)]


def table(cohort: Path, name: str) -> list[dict[str, str]]:
    with (cohort / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def broken(cohort: Path) -> dict[str, str]:
    return json.loads((cohort / "cohort.json").read_text())["broken"]


def files_of(cohort: Path, row: dict[str, str]) -> list[Path]:
    """The files of a row of ct_image, in the order of their names."""
    return sorted((cohort / "images" / row["pid"] / row["studyuid"] / row["seriesinstanceuids"]).iterdir())


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def sound_series(cohort: Path, sharp: bool = False):
    """(row of ct_image, Series) of every exam's soft or sharp reconstruction, unless that is broken."""
    bad = broken(cohort)
    for row in table(cohort, "ct_image"):
        is_sharp = row["reconfilter"] in ("LUNG", "B50f", "D", "FC51")
        if row["imageclass"] == "1" and is_sharp == sharp and row["seriesinstanceuids"] not in bad:
            yield row, read_series(files_of(cohort, row))


def mean_hu(series, exam, point, radius=7.0):
    """Mean HU of a ball around a point given in the exam's anatomy: (z, y, x) in mm."""
    shift = np.array([exam.table_z, *exam.centre])
    first = np.array(series.origin_mm[::-1]) - shift
    axes = (
        start + np.arange(n) * step - p
        for start, n, step, p in zip(first, series.voxels.shape, series.voxel_size, point)
    )
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return float(series.voxels[z**2 + y**2 + x**2 < radius**2].mean())


# Deterministic


def test_a_patient_is_the_same_whatever_the_size_of_the_cohort_and_the_workers(cohort, tmp_path):
    simulate(tmp_path / "three", CONFIG.model_copy(update={"patients": 3}), workers=1)
    small, large = contents(tmp_path / "three" / "images"), contents(cohort / "images")
    assert small
    assert small == {path: data for path, data in large.items() if path.split("/")[0] in _pids(3)}
    for name in ("prsn", "screen", "ctab", "ctabc", "canc", "ct_image", "covid", "lungrads"):
        rows = [row for row in table(cohort, name) if row["pid"] in _pids(3)]
        assert table(tmp_path / "three", name) == rows


def _pids(count):
    return {str(100001 + number) for number in range(count)}


def test_same_seed_same_bytes_other_seed_other_patients(tmp_path):
    config = SimulateConfig(patients=1, rows=32, slices=(16, 18))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / name, config.model_copy(update={"seed": seed}), workers=1)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    same = {path for path in a if path.startswith(("tables/", "transfer/"))}
    assert a.keys() & c.keys() == {"cohort.json", *same}
    assert a["tables/prsn.csv"] != c["tables/prsn.csv"]


# DICOM


def test_simpleitk_agrees_on_geometry_and_hu(cohort, courses):
    for row, series in sound_series(cohort):
        exam = courses[int(row["pid"])].exams[int(row["study_yr"])]
        folder = files_of(cohort, row)[0].parent
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        assert image.GetSize()[::-1] == (exam.grid.slices, CONFIG.rows, CONFIG.rows)
        assert image.GetSpacing()[::-1] == pytest.approx(exam.grid.voxel_size)
        assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), series.voxels)

        def at(z, y, x, image=image, exam=exam):
            point = (x + exam.centre[1], y + exam.centre[0], z + exam.table_z)
            return image.GetPixel(image.TransformPhysicalPointToIndex(point))

        a = exam.anatomy
        assert at(*a.heart) == pytest.approx(45, abs=120)
        assert at(1.1 * a.length, -8, 0) < -700, "the trachea, above the lungs"
        assert at(-10, 0, -0.5 * a.half_width) == pytest.approx(62, abs=120), "the liver, on the right"
        assert at(0.5 * a.length, -a.half_depth - 50, 0) < -850, "the air in front of the patient"


def test_series_are_what_a_scanner_writes(cohort):
    with pydicom.config.strict_reading():
        for row in table(cohort, "ct_image"):
            if row["seriesinstanceuids"] in broken(cohort):
                continue
            slices = [pydicom.dcmread(file) for file in files_of(cohort, row)]
            for key in ("SOPInstanceUID", "InstanceNumber"):
                assert len({str(one[key].value) for one in slices}) == len(slices), key
            for one in slices:
                assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
                assert pydicom.uid.UID(one.SOPInstanceUID).is_valid
                assert one.PatientID == row["pid"]
                assert one.ClinicalTrialTimePointID == f"T{row['study_yr']}"
                assert one.StudyDate == ("19990102", "20000102", "20010102")[int(row["study_yr"])]
            if row["imageclass"] == "0":
                assert "LOCALIZER" in slices[0].ImageType
                assert len(slices) <= 2
                continue
            from_feet = sorted(slices, key=lambda one: float(one.ImagePositionPatient[2]))
            assert [one.InstanceNumber for one in from_feet] == list(range(len(slices), 0, -1))
            assert slices != from_feet, "file names give the order away"
            step = from_feet[1].ImagePositionPatient[2] - from_feet[0].ImagePositionPatient[2]
            assert abs(step - slices[0].SliceThickness) > 0.5


def test_the_sharp_kernel_is_noisier(cohort, courses):
    for row, sharp in sound_series(cohort, sharp=True):
        for other, soft in sound_series(cohort):
            if row["studyuid"] == other["studyuid"]:
                corner = np.s_[:, :6, :6]
                assert sharp.voxels[corner].std() > 1.3 * soft.voxels[corner].std()
                return
    pytest.fail("no exam with two sound reconstructions")


# Broken series


def test_every_broken_series_is_recorded_and_refused_for_its_fault(cohort):
    bad, reasons = broken(cohort), Counter()
    for row in table(cohort, "ct_image"):
        files, fault = files_of(cohort, row), bad.get(row["seriesinstanceuids"])
        fault = "localizer" if row["imageclass"] == "0" else fault
        if fault is None:
            assert len(read_series(files, min_slices=CONFIG.slices[0]).voxels) == int(row["numberimages"])
        else:
            with pytest.raises(Rejected) as refused:
                read_series(files, min_slices=CONFIG.slices[0])
            assert refused.value.reason == fault
            reasons[fault] += 1
    assert len(reasons) > 3, "several kinds of faults"
    assert sum(reasons.values()) == len(bad) + reasons["localizer"]
    exams = Counter(row["studyuid"] for row in table(cohort, "ct_image") if row["seriesinstanceuids"] in bad)
    assert set(exams.values()) == {1}, "one sound reconstruction of every exam is left"


def test_the_fraction_of_broken_series(many):
    plans = [plan for course in many for exam in course.exams for plan in exam.series if plan.kernel]
    assert sum(plan.fault is not None for plan in plans) / len(plans) == pytest.approx(0.03, abs=0.012)


# The tables say what is drawn


def test_nodules_are_where_the_table_says(tmp_path, many):
    """Draw an exam with a nodule and without: what differs is the nodule."""
    config = SimulateConfig(rows=80)
    seen = 0
    for number in range(14):
        course = draw_course(config, number)
        exam = course.exams[0]
        plan = replace(next(plan for plan in exam.series if plan.kernel), fault=None)
        exam = replace(exam, series=(plan,))
        for nodule in exam.findings.nodules:
            others = tuple(one for one in exam.findings.nodules if one != nodule)
            without = replace(exam, findings=replace(exam.findings, nodules=others))
            volumes = []
            for name, version in (("with", exam), ("without", without)):
                folder = tmp_path / f"{number}.{nodule.number}.{name}"
                write_exam(folder, course.person, version, [config.seed, number])
                volumes.append(read_series(list(folder.rglob("*.dcm"))))
            _check_nodule(*volumes, nodule, exam.slice_number(nodule))
            seen += 1
    assert seen > 10


def _check_nodule(there, away, nodule, slice_number):
    change = np.abs(there.voxels.astype(int) - away.voxels)
    by_slice = change.sum(axis=(1, 2))
    number = there.instance_first - int(by_slice.argmax())
    assert abs(number - slice_number) <= 1
    x = there.origin_mm[0] + np.arange(change.shape[2]) * there.voxel_size[2]
    side = float((change.sum(axis=(0, 1)) * x).sum() / change.sum())
    assert (side < 0) == (nodule.lobe <= 3), "lobes 1 to 3 are of the right lung, where x is negative"
    if nodule.margin == SMOOTH and nodule.attenuation == SOFT_TISSUE and nodule.long_mm >= 6:
        expected = np.pi / 6 * nodule.long_mm * nodule.short_mm**2
        rise = (there.voxels.astype(int) - away.voxels).sum() * np.prod(there.voxel_size)
        assert rise / (45 + 815) == pytest.approx(expected, rel=0.35), "its volume"


def test_findings_are_in_the_voxels_if_and_only_if_they_are_in_the_table(cohort, courses):
    codes = {(row["pid"], row["study_yr"], row["sct_ab_desc"]) for row in table(cohort, "ctab")}
    measured = {"55": {True: [], False: []}, "59": {True: [], False: []}, "58": {True: [], False: []}}
    for row, series in sound_series(cohort):
        exam = courses[int(row["pid"])].exams[int(row["study_yr"])]
        a = exam.anatomy
        clear_of_nodules = all(nodule.lobe > 3 for nodule in exam.findings.nodules)
        if not clear_of_nodules:
            continue
        upper = [(0.75 * a.length, y * a.half_depth, -0.5 * a.half_width) for y in (-0.3, 0.0, 0.3)]
        values = {
            "55": mean_hu(series, exam, (0.22 * a.length, 0.72 * a.half_depth, -0.45 * a.half_width)),
            "58": mean_hu(series, exam, (0.68 * a.length, -0.05 * a.half_depth, -0.66 * a.half_width), 12),
            "59": min(mean_hu(series, exam, point, 10) for point in upper),
        }
        for code, value in values.items():
            measured[code][(row["pid"], row["study_yr"], code) in codes].append(value)
    for code, denser in (("55", True), ("58", True), ("59", False)):
        there, absent = measured[code][True], measured[code][False]
        assert there, code
        assert absent, code
        assert min(there) > max(absent) if denser else max(there) < min(absent), code


def test_the_table_lists_exactly_what_is_drawn(cohort, courses):
    code_of = {kind.name: str(kind.code) for kind in ABNORMALITIES}
    rows = table(cohort, "ctab")
    for exam in table(cohort, "screen"):
        findings = courses[int(exam["pid"])].exams[int(exam["study_yr"])].findings
        mine = [row for row in rows if (row["pid"], row["study_yr"]) == (exam["pid"], exam["study_yr"])]
        drawn = Counter(code_of[name] for name in findings.severity if name != "covid19")
        drawn["51"] = len(findings.nodules)
        assert Counter(row["sct_ab_desc"] for row in mine) == +drawn
        for test in table(cohort, "covid"):
            if (test["pid"], test["study_yr"]) == (exam["pid"], exam["study_yr"]):
                assert (test["result"] == "Positive") == ("covid19" in findings.severity)


YES_NO = {"0", "1", ".M", ".N"}
RESULTS = {str(code) for code in (1, 2, 3, 4, 5, 6, 10, 11, 13, 14, 15, 17, 23, 24, 95, 97)}
DICTIONARY = {
    "prsn": {
        "gender": {"1", "2"},
        "race": {str(code) for code in (1, 2, 3, 4, 5, 6, 7, 95, 96, 98, 99)},
        "ethnic": {"1", "2", "7", "95", "98", "99"},
        "educat": {str(code) for code in (1, 2, 3, 4, 5, 6, 7, 8, 95, 98, 99)},
        "marital": {"1", "2", "3", "4", "5", "7", "9", ".M"},
        "cigsmok": {"0", "1"},
        "rndgroup": {"1", "2"},
        "elig": {"0", "2"},
        "study": {"1", "2", "3"},
        "scr_group": {"1", "2", "3", "4", "5"},
        "can_scr": {"0", "1", "2", "3", "4"},
        "cancyr": {*map(str, range(8)), ".N"},
        "conflc": {"0", "1", "2", "3", "4"},
        "de_grade": {"1", "2", "3", "4", "5", "6", "8", "9", ".N"},
        "de_stag": {str(code) for code in (110, 120, 210, 220, 310, 320, 400, 888, 900, 994, 999)} | {".N"},
        "de_type": {"8140", "8070", "8041", "8012", ".N"},
        "histology_cat": {*map(str, range(1, 10)), ".N"},
        "contactstatus": {"1", "2", "3", "4"},
        "deathstat": {*map(str, range(8))},
        "deathcutoff": {"0", "1", "2"},
        **{column: RESULTS - {"5", "6"} for column in ("scr_iso0", "scr_iso1", "scr_iso2")},
        **dict.fromkeys(("scr_res0", "scr_res1", "scr_res2"), RESULTS),
        **dict.fromkeys(("dcfdeathlc", "finaldeathlc", "anyscr_has_nodule"), YES_NO),
    },
    "ctab": {
        "sct_ab_desc": {str(code) for code in range(51, 66)},
        "sct_epi_loc": {"1", "2", "3", "4", "5", "6", "8", ".M", ".N"},
        "sct_margins": {"1", "2", "3", "9", ".M", ".N"},
        "sct_pre_att": {"1", "2", "3", "4", "6", "7", "9", ".M", ".N"},
        "sct_found_after_comp": {"0", "1", ".M"},
    },
    "ctabc": {
        "sct_ab_code": {str(code) for code in range(51, 66)},
        "sct_ab_preexist": {"1", "2", "9"},
        **{column: {"1", "2", "9", ".N", ".M"} for column in ("sct_ab_gwth", "sct_ab_attn", "sct_ab_invg")},
    },
    "screen": {
        "ctdxqual": {"1", "2", "3", ".M"},
        **{f"ct_recon_filter{n}": {*map(str, range(1, 13)), ".M"} for n in range(1, 5)},
    },
    "canc": {"lc_behav": {"1", "3", "6"}, "lc_grade": {"1", "2", "3", "4", "9"}, "first_lc": {"0", "1"}},
}


def test_codes_are_those_of_the_dictionary(cohort):
    for name, columns in DICTIONARY.items():
        rows = table(cohort, name)
        assert rows, name
        for column, codes in columns.items():
            assert {row[column] for row in rows} <= codes, (name, column)
    for row in table(cohort, "prsn"):
        for column, value in row.items():
            if column.startswith(("diag", "fam", "loc")) or (len(column) == 8 and column.startswith("canc")):
                assert value in YES_NO, column
            elif column.startswith("age") and value not in MISSING:
                assert 3 <= int(value) <= int(row["age"]), column
        assert sum(column.startswith("diag") for column in row) == 16
        assert sum(column.startswith("loc") for column in row) == 14
        for column, value in row.items():
            key = column.removeprefix("diag").removeprefix("canc")
            if f"age{key}" in row and key != column and value != "1":
                assert row[f"age{key}"] == ".N"


def test_keys_join(cohort):
    persons = {row["pid"]: row for row in table(cohort, "prsn")}
    assert len(persons) == CONFIG.patients
    exams = {(row["pid"], row["study_yr"]) for row in table(cohort, "screen")}
    for name in ("ctab", "ctabc", "ct_image", "covid", "lungrads"):
        keys = {(row["pid"], row["study_yr"]) for row in table(cohort, name)}
        assert keys <= exams, name
        assert keys == exams or name in ("ctab", "ctabc", "covid"), name
    assert {
        (pid, str(t)) for pid, row in persons.items() for t in range(3) if row[f"scr_days{t}"] != ".N"
    } == exams
    described = {(row["pid"], row["study_yr"], row["sct_ab_num"]): row for row in table(cohort, "ctab")}
    assert len(described) == len(table(cohort, "ctab"))
    for row in table(cohort, "ctabc"):
        assert described[row["pid"], row["study_yr"], row["sct_ab_num"]]["sct_ab_desc"] == row["sct_ab_code"]
    for row in table(cohort, "canc"):
        assert row["candx_days"] == persons[row["pid"]]["candx_days"]
    assert {row["pid"] for row in table(cohort, "canc")} == {
        pid for pid, row in persons.items() if row["candx_days"] != ".N"
    }
    folders = {path.name for path in cohort.glob("images/*/*/*")}
    assert folders == {row["seriesinstanceuids"] for row in table(cohort, "ct_image")}
    for row in table(cohort, "ct_image"):
        assert len(files_of(cohort, row)) == int(row["numberimages"])
    for row in described.values():
        if row["sct_ab_desc"] == "51":
            images = [
                r for r in table(cohort, "ct_image") if r["pid"] == row["pid"] and r["imageclass"] == "1"
            ]
            assert 1 <= int(row["sct_slice_num"]) <= max(int(one["numberimages"]) for one in images)


# The cohort as a whole


def test_fractions_of_findings_and_nodules(many):
    exams = [exam for course in many for exam in course.exams]
    assert len(exams) / len(many) == pytest.approx(2, abs=0.2)
    for kind in ABNORMALITIES:
        fraction = np.mean([kind.name in exam.findings.severity for exam in exams])
        assert 0.15 < fraction < 0.38, kind.name
    nodules = [nodule for exam in exams for nodule in exam.findings.nodules]
    classes = Counter(sum(nodule.long_mm > limit for limit in (4, 6, 8, 15, 30)) for nodule in nodules)
    assert set(classes) == set(range(6))
    for attribute in ("lobe", "margin", "attenuation"):
        fractions = Counter(getattr(nodule, attribute) for nodule in nodules)
        assert min(fractions.values()) > 0.015 * len(nodules), attribute
    assert {len(exam.findings.nodules) for exam in exams} == {0, 1, 2, 3}


def test_risks_depend_on_the_image_and_on_the_clinical_data(many):
    cancer = np.array([course.outcome.cancer is not None for course in many])
    assert 0.18 < cancer.mean() < 0.32
    largest = np.array(
        [max((n.long_mm for n in course.exams[0].findings.nodules), default=0) for course in many]
    )
    assert cancer[largest > 15].mean() > 2.5 * cancer[largest < 8].mean()
    family = np.array([course.person.family for course in many])
    assert cancer[family].mean() > 1.2 * cancer[~family].mean()

    deaths = [course.outcome.death for course in many]
    cvd = np.array([death is not None and death.icd10.startswith("I") for death in deaths])
    assert 0.12 < cvd.mean() < 0.27
    heart = np.array(["hear" in course.person.histories for course in many])
    calcium = np.array(["cvd_diagnosis" in course.exams[0].findings.severity for course in many])
    assert cvd[heart].mean() > 2 * cvd[~heart].mean()
    assert cvd[~heart & calcium].mean() > 2 * cvd[~heart & ~calcium].mean()


def test_events_in_every_year_and_none_before_a_scan(many):
    years = {"cancer": Counter(), "cvd": Counter()}
    for course in many:
        outcome = course.outcome
        first, last = outcome.scan_days[0], outcome.scan_days[-1]
        assert last < outcome.followup_day
        if outcome.cancer is not None:
            assert last < outcome.cancer.day <= outcome.followup_day
            years["cancer"][(outcome.cancer.day - first) // 365] += 1
        if outcome.death is not None:
            assert outcome.death.day == outcome.followup_day
            if outcome.death.icd10.startswith("I"):
                years["cvd"][(outcome.death.day - first) // 365] += 1
    for events in years.values():
        assert min(events[year] for year in range(6)) > 0


def test_the_cancer_is_the_most_suspicious_nodule_and_grows(many):
    grown = 0
    for course in many:
        cancer, first = course.outcome.cancer, course.exams[0].findings.nodules
        if cancer is None or not first or cancer.nodule not in {nodule.number for nodule in first}:
            continue
        worst = max(first, key=lambda nodule: nodule.suspicion)
        assert (worst.number, worst.lobe) == (cancer.nodule, cancer.lobe)
        sizes = [
            n.long_mm for exam in course.exams for n in exam.findings.nodules if n.number == cancer.nodule
        ]
        assert sizes == sorted(sizes)
        grown += sizes[-1] > sizes[0]
    assert grown > 10


@pytest.mark.parametrize(
    ("long_mm", "short_mm", "attenuation", "first_exam", "timepoint", "category"),
    [
        (5, 5, SOFT_TISSUE, 0, 0, 2),
        (7, 6, SOFT_TISSUE, 0, 0, 3),
        (8, 8, SOFT_TISSUE, 0, 0, 4),
        (20, 18, SOFT_TISSUE, 0, 0, 4),
        (5, 4, SOFT_TISSUE, 1, 1, 3),
        (6, 6, SOFT_TISSUE, 1, 1, 4),
        (5, 4, SOFT_TISSUE, 1, 2, 2),
        (20, 18, GROUND_GLASS, 0, 0, 2),
        (34, 30, GROUND_GLASS, 0, 0, 3),
        (5, 5, MIXED, 0, 0, 2),
        (5, 5, MIXED, 2, 2, 3),
        (10, 8, MIXED, 0, 0, 3),
        (16, 14, MIXED, 0, 0, 4),
        (20, 20, FAT, 0, 0, 1),
    ],
)
def test_lung_rads(long_mm, short_mm, attenuation, first_exam, timepoint, category):
    nodule = SimulatedNodule(
        number=1,
        lobe=1,
        place=(0.5, 0.0, -0.5),
        angle=0.0,
        long_mm=long_mm,
        short_mm=short_mm,
        margin=SMOOTH,
        attenuation=attenuation,
        first_exam=first_exam,
    )
    assert lung_rads([nodule], timepoint) == category
    assert lung_rads([], timepoint) == 1


# The new task


def test_the_new_task_is_of_the_papers_patients_and_goes_by_image_text_and_chance(many):
    courses = many[:120]
    candidates = [
        draw_candidate(course, np.random.default_rng([1, number])) for number, course in enumerate(courses)
    ]
    rows = _transfer(candidates)
    assert len(rows) == 90
    assert [row["pid"] for row in rows] == [str(course.person.pid) for course in courses[:90]]
    ill = np.array([row["pneumonitis"] == "yes" for row in rows])
    assert ill.sum() == 49
    severe = np.array([len(BY_FINDING.keys() & c.exams[0].findings.severity.keys()) for c in courses[:90]])
    radiated = np.array([row["prior_radiation"] == "yes" for row in rows])
    for cause in (severe > 0, radiated):
        assert ill[cause].mean() > ill[~cause].mean() + 0.1, "neither tells all"
        assert 0 < ill[cause].mean() < 1


def _transfer(candidates):
    with tempfile.TemporaryDirectory() as folder:
        write_transfer(Path(folder) / "transfer", candidates)
        with (Path(folder) / "transfer" / "immunotherapy_pneumonitis.csv").open() as file:
            return list(csv.DictReader(file))


def test_the_new_task_is_written_beside_the_cohort(cohort, courses):
    counts = json.loads((cohort / "cohort.json").read_text())["counts"]["transfer"]
    with (cohort / "transfer/immunotherapy_pneumonitis.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert counts == {"patients": len(rows), "positive": round(len(rows) * 49 / 90)}
    assert [row["bmi"] for row in rows] == [f"{course.person.bmi:.1f}" for course in courses.values()]


# Whole or not at all


def test_the_manifest_seals_the_files(cohort):
    check_files(cohort)
    manifest = json.loads((cohort / "cohort.json").read_text())
    assert manifest["config"]["patients"] == CONFIG.patients
    assert manifest["counts"]["screen"] == len(table(cohort, "screen"))
    assert set(manifest["series"]) == {row["seriesinstanceuids"] for row in table(cohort, "ct_image")}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_killed_and_started_again(tmp_path):
    out = tmp_path / "cohort"
    config = SimulateConfig(patients=24, rows=32, slices=(16, 18))
    code = (
        "from pathlib import Path; from m3fm.config.sections import SimulateConfig;"
        "from m3fm.simulate import simulate;"
        f"simulate(Path({str(out)!r}), SimulateConfig.model_validate_json({config.to_json()!r}), workers=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(tmp_path.rglob("*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    while any(map(_runs, children)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(_runs, children)), "workers write on after their parent's end"

    simulate(out, config, workers=1)
    check_files(out)
    assert len(table(out, "prsn")) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def _children(pid: int) -> list[int]:
    """Processes that a process has started, by their ids."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_failure_leaves_the_earlier_cohort_as_it_was(tmp_path):
    out = tmp_path / "cohort"
    config = SimulateConfig(patients=1, rows=16, slices=(16, 16))
    simulate(out, config, workers=1)
    before = contents(out)
    with pytest.raises(ValueError, match="low >= high"):
        simulate(out, config.model_copy(update={"slices": (20, 10)}), workers=1)
    assert contents(out) == before
