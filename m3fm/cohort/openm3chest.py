"""The source `openm3chest`: labels as the authors released them, one JSON per task, and DICOM.

Below `labels` are TASK_trainval.json and TASK_test.json, TASK a key of TASK_NAMES; below `images` are the
series of NLST and MIDRC that they name. A file is a list of records, or an object of equally long lists. The
keys of a record that are read:

keys or SeriesInstanceUID, pids or pid
data_path        its T0, T1 or T2 is the screening year; without one, the exam is found by the image's header
labels           0 or 1; for a risk an object with y_seq and y_mask, 6 years each; for lung_cancer_risk also
                 loc_dict (NLST's loc* flags) and nodules (slice, loc, att, margin)
clinical_data    demo, smoking, disease_his, cancer_his, fam_lc; -1, "None" and null are missing

The codes of loc, att and margin are not documented. They are read as counting from 0 in the order of
sct_epi_loc and of the tasks' answers, as the values suggest. The files of nodule_location,
nodule_attenuation, nodule_margin and nodule_size do not state the nodule's place, and are not read. Patients
of the test files only test.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, Value
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import TASKS, YEARS
from m3fm.cohort import labels
from m3fm.cohort.dicom_folder import listing_of_headers
from m3fm.cohort.source import images_below, listing_digest
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, read_json

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig
    from m3fm.ct.volume import Series

Record = Mapping[str, Any]

TASK_NAMES = {
    "nodule_presence": "nodule_presence",
    **{f"chest_abn_{code}": task for code, task in labels.CHEST_FINDINGS.items() if task != "cvd_diagnosis"},
    "CVD_diagnosis": "cvd_diagnosis",
    "CVD_mortality": "cvd_mortality",
    "lung_cancer_risk": "lung_cancer_risk",
    "covid19": "covid19",
}
"""Tasks of `m3fm.clinical.tasks` by the release's names."""
NOT_READ = ("nodule_location", "nodule_attenuation", "nodule_margin", "nodule_size")
FILE = re.compile(r"(?P<task>\w+)_(?P<part>trainval|test)\.json", re.IGNORECASE)
YEAR = re.compile(r"/T([0-2])/")
LAST_SCREENING_YEAR = 2
"""Last screening year; exams without a year are numbered from the next one on."""

COLUMNS = {
    "demo": {
        **{name: name for name in ("age", "gender", "race", "ethnic", "height", "weight")},
        "educat": "education",
    },
    "smoking": {
        "cigsmok": "smoking_status",
        "pkyr": "pack_years",
        "smokeday": "smoke_day",
        "age_quit": "age_quit",
    },
}
"""Elements by the groups and keys of clinical_data."""
STEMS = {
    "disease_his": {
        **{"childhood": "asthma_childhood", "asthma": "asthma_adult", "asbest": "asbestosis"},
        **{"bronchiect": "bronchiectasis", "bronchitis": "chronic_bronchitis", "copd": "copd"},
        **{"diabet": "diabetes", "emphysema": "emphysema", "fibrosis": "lung_fibrosis"},
        **{"heart": "heart_disease", "hypertens": "hypertension", "pneumonia": "pneumonia"},
        **{"sarcoid": "sarcoidosis", "silicosis": "silicosis", "stroke": "stroke"},
        **{"tubercul": "tuberculosis"},
    },
    "cancer_his": {
        **{"bladder": "bladder_cancer", "breast": "breast_cancer", "cervi": "cervical_cancer"},
        **{"colo": "colorectal_cancer", "esoph": "esophageal_cancer", "kidney": "kidney_cancer"},
        **{"laryn": "larynx_cancer", "lung": "lung_cancer", "nasal": "nasal_cancer", "oral": "oral_cancer"},
        **{"pancrea": "pancreatic_cancer", "pharyn": "pharynx_cancer", "stomach": "stomach_cancer"},
        **{"thyroid": "thyroid_cancer", "transitional": "transitional_cell_cancer"},
    },
    "fam_lc": {name.removeprefix("family_"): name for name in ELEMENTS if name.startswith("family_")},
}
"""Elements by a part of the names in clinical_data; the first match counts."""


@dataclass
class _Exam:
    """The content of all records of an exam."""

    elements: dict[str, Value] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    risks: dict[str, Risk] = field(default_factory=dict)
    nodules: list[Nodule] = field(default_factory=list)
    cancer_side: str | None = None
    study: str | None = None
    test: bool = False


class OpenM3ChestSource:
    """The released labels and the images below one folder."""

    name = "openm3chest"
    test_only = False
    simulated = False

    def __init__(self, root: Path, choices: "LabelConfig") -> None:
        """Open the folder; raises InputError without labels. The labels are given, so no choice applies."""
        self.root, self.labels, self.images = root, root / "labels", root / "images"
        if not self.labels.is_dir():
            raise InputError(f"{self.labels} is missing: put the JSON into labels, the DICOM into images")
        self.files: dict[Path, tuple[str, bool]] = {}
        names = {name.lower(): task for name, task in TASK_NAMES.items()}
        for path in sorted(self.labels.iterdir()):
            match = FILE.fullmatch(path.name)
            task = match["task"].lower() if match else ""
            if match is None or task not in (*names, *NOT_READ):
                raise InputError(
                    f"{path} is not a file of OpenM3Chest: name it TASK_trainval.json or TASK_test.json, "
                    f"TASK one of {', '.join((*TASK_NAMES, *NOT_READ))}"
                )
            if task in names:
                self.files[path] = (names[task], match["part"].lower() == "test")
        if not self.files:
            raise InputError(f"{self.labels} holds no labels: put the released JSON there")

    def site(self, series: "Series") -> str:
        """Return the source's name; the release does not name institutions."""
        return self.name

    def exams(self) -> list[ExamRecord]:
        """Return every exam that a file names; raises InputError where a record has another form."""
        found: dict[tuple[str, int | str], _Exam] = defaultdict(_Exam)
        studies: dict[str, str] | None = None
        for path, (task, test) in self.files.items():
            for where, record in _records(path):
                year = YEAR.search(str(record.get("data_path", "")))
                if year is None and studies is None:
                    rows = listing_of_headers(self.image_paths())
                    studies = dict(zip(rows["series"].to_pylist(), rows["study"].to_pylist()))
                study = None if year else (studies or {}).get(_series(record, where))
                if year is None and study is None:
                    continue  # neither the record nor an image identifies the exam
                exam = found[_patient(record, where), int(year[1]) if year else str(study)]
                exam.test |= test
                exam.study = study
                _add(exam, task, record, where)
        numbers: dict[str, int] = defaultdict(lambda: LAST_SCREENING_YEAR)
        records = []
        for (patient, key), exam in sorted(found.items(), key=lambda item: (item[0][0], str(item[0][1]))):
            if isinstance(key, str):
                numbers[patient] += 1
            records.append(_exam_record(patient, key if isinstance(key, int) else numbers[patient], exam))
        return records

    def image_paths(self) -> Iterable[Path]:
        """Return every file below `images`."""
        return images_below(self.images)

    def digest(self) -> str:
        """Return the SHA-256 of the labels' bytes, and of the images' names and sizes."""
        contents = [f"{path.name} {file_digest(path)}" for path in self.files]
        return listing_digest(self.root, self.image_paths(), contents)

    def listing(self) -> "pa.Table":
        """Return every series that a file names; the release has selected them, and states nothing else."""
        from m3fm.cohort.selection import listing

        rows = {}
        for path in self.files:
            for where, record in _records(path):
                year = YEAR.search(str(record.get("data_path", "")))
                series, patient = _series(record, where), _patient(record, where)
                rows[series] = (patient, f"{patient} {year[1]}" if year else series)
        return listing(
            {
                "series": list(rows),
                "patient": [patient for patient, _ in rows.values()],
                "study": [exam for _, exam in rows.values()],
                "modality": ["CT"] * len(rows),
            }
        )


def _records(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield each record of a file and its place; raises InputError where the file has neither form."""
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("labels"), list):
        size = len(content["labels"])
        columns = {
            name: value if isinstance(value, list) and len(value) == size else [value] * size
            for name, value in content.items()
        }
        content = [dict(zip(columns, row)) for row in zip(*columns.values())]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise InputError(f"{path} is neither a list of records nor an object of lists: use the released file")
    for number, record in enumerate(content):
        if "labels" not in record:
            raise InputError(f"{path}, record {number}: labels is missing")
        yield f"{path}, record {number}", record


def _series(record: Record, where: str) -> str:
    return _identifier(record, where, "keys", "SeriesInstanceUID")


def _patient(record: Record, where: str) -> str:
    return _identifier(record, where, "pids", "pid")


def _identifier(record: Record, where: str, *names: str) -> str:
    for name in names:
        if name in record:
            return str(record[name])
    raise InputError(f"{where}: {' or '.join(names)} is missing")


def _add(exam: _Exam, task: str, record: Record, where: str) -> None:
    """Add a record to its exam; raises InputError where it contradicts another record of the exam."""
    exam.elements |= _elements(_object(record.get("clinical_data"), f"{where}, clinical_data"), where)
    given = record["labels"]
    if TASKS[task].loss == "hazard":
        exam.risks[task] = _risk(given, where)
        if isinstance(given, dict):
            places = _object(given.get("loc_dict"), f"{where}, loc_dict")
            exam.cancer_side = labels.cancer_side(name for name, flag in places.items() if flag == 1)
            exam.nodules = _nodules(given.get("nodules") or [], where)
        return
    if given not in (0, 1) or exam.answers.setdefault(task, int(given)) != given:
        raise InputError(
            f"{where}, labels: {given!r} is not 0 or 1, or differs from another series of the exam"
        )


def _risk(given: Any, where: str) -> Risk:
    """Read y_seq and y_mask of an object; 0 or 1 alone is the answer of the last year."""
    if given in (0, 1):
        return Risk((int(given),) * YEARS, (*(0,) * (YEARS - 1), 1))
    found = [given.get(name) if isinstance(given, dict) else None for name in ("y_seq", "y_mask")]
    risk = []
    for years in found:
        if not isinstance(years, list) or len(years) != YEARS or not set(years) <= {0, 1}:
            raise InputError(f"{where}, labels: y_seq and y_mask must each be {YEARS} times 0 or 1")
        risk.append(tuple(map(int, years)))
    return Risk(*risk)


def _nodules(given: list[Record], where: str) -> list[Nodule]:
    lobes = {code - 1: lobe for code, lobe in labels.LOBES.items()}
    attenuations, margins = (
        dict(enumerate(TASKS[task].answers)) for task in ("nodule_attenuation", "nodule_margin")
    )
    return [
        Nodule(
            number=number,
            lobe=lobes.get(_object(nodule, where).get("loc", -1)),
            slice_number=slice_number if (slice_number := nodule.get("slice", -1)) > 0 else None,
            attenuation=attenuations.get(nodule.get("att", -1)),
            margin=margins.get(nodule.get("margin", -1)),
        )
        for number, nodule in enumerate(given, 1)
    ]


def _elements(clinical: Record, where: str) -> dict[str, Value]:
    """Return the clinical elements; raises InputError at an unknown disease, cancer or relative."""
    found: dict[str, Value] = {}
    for group, columns in COLUMNS.items():
        given = _object(clinical.get(group), f"{where}, {group}")
        for column, name in columns.items():
            if (value := _value(name, given.get(column))) is not None:
                found[name] = value
    for group, stems in STEMS.items():
        for key, age in _object(clinical.get(group), f"{where}, {group}").items():
            names = [name for stem, name in stems.items() if stem in key.lower()]
            if not names:
                raise InputError(f"{where}, {group}: {key!r} matches none of {', '.join(stems.values())}")
            known = isinstance(age, int | float) and age >= 0
            found[names[0]] = True if group == "fam_lc" else float(age) if known else AGE_UNKNOWN
    return found


def _value(name: str, given: Any) -> Value | None:
    """Return a number, or the element's text that equals the given one but for case and blanks, or None."""
    if ELEMENTS[name].kind == "number":
        return float(given) if isinstance(given, int | float) and given >= 0 else None
    texts = {_plain(str(text)): text for text in ELEMENTS[name].codes.values()}
    return texts.get(_plain(str(given)))


def _plain(text: str) -> str:
    return re.sub(r"\s", "", text).lower()


def _object(given: Any, where: str) -> Record:
    """Return an object, parsed if it is JSON text, empty for None; raises InputError for anything else."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        raise InputError(f"{where}: not an object") from error
    if found is not None and not isinstance(found, dict):
        raise InputError(f"{where}: not an object")
    return found or {}


def _exam_record(patient: str, timepoint: int, exam: _Exam) -> ExamRecord:
    present = exam.answers.get("nodule_presence", 0)
    return ExamRecord(
        patient_id=patient,
        timepoint=timepoint,
        study_uid=exam.study,
        elements=exam.elements,
        findings={task: answer for task, answer in exam.answers.items() if task != "covid19"},
        # A nodule without a place: no lung is then known to be clear.
        nodules=exam.nodules or [Nodule(number=1)] * present,
        risks=exam.risks,
        cancer_side=exam.cancer_side,
        covid19=exam.answers.get("covid19"),
        test_only=exam.test,
    )
