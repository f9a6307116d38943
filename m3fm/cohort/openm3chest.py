"""The source `openm3chest`: labels as the authors released them, one JSON per task, and DICOM.

Below `labels` are TASK_trainval.json and TASK_test.json, TASK a key of TASK_NAMES; below `images` are the
series of NLST and MIDRC that they name. A file is a list of records, or an object of equally long lists. The
keys of a record that are read:

keys or SeriesInstanceUID, pids or pid (patients are linked by `m3fm.cohort.keys.normal`)
data_path        its T0, T1 or T2 is the screening year; without one, the exam is found by the image's header
labels           0 or 1; for a risk an object with y_seq and y_mask, 6 years each; for lung_cancer_risk also
                 loc_dict (NLST's loc* flags) and nodules (slice, loc, att, margin; -1 is missing)
clinical_data    demo, smoking, disease_his, cancer_his, fam_lc; -1, "None" and null are missing

The codes of loc, att and margin are not documented. They are read as counting from 0 in the order of
sct_epi_loc and of the tasks' answers, as the values suggest. The files of nodule_location,
nodule_attenuation, nodule_margin and nodule_size do not state the nodule's place, and are not read. Patients
of the test files only test.
"""

import functools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, Value
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import TASKS, YEARS
from m3fm.cohort import labels
from m3fm.cohort.dicom_folder import listing_of_headers
from m3fm.cohort.keys import Link, normal, plain
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import SLICES
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, read_json

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

T = TypeVar("T")
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
YEAR = re.compile(r"[/\\]T([0-2])(?:[/\\]|$)", re.IGNORECASE)
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


def _not_text(given: Any) -> Any:
    """Pass on a number; raises ValueError at anything else, which pydantic might convert."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError("not a number")
    return given


Number = Annotated[float, BeforeValidator(_not_text), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_not_text)]
Flag = Annotated[Whole, Field(ge=0, le=1)]


class GivenNodule(BaseModel):
    """A nodule of a record; -1 is missing."""

    loc: Whole = -1
    slice: Annotated[Whole, Field(ge=-1, le=SLICES[1])] = -1
    att: Whole = -1
    margin: Whole = -1


class GivenRisk(BaseModel):
    """The labels of a risk that are an object."""

    y_seq: Annotated[list[Flag], Field(min_length=YEARS, max_length=YEARS)]
    y_mask: Annotated[list[Flag], Field(min_length=YEARS, max_length=YEARS)]
    loc_dict: dict[str, Annotated[Whole, Field(ge=-1, le=1)]] | None = None
    nodules: list[GivenNodule] | None = None


NUMBER, FLAG, RISK = TypeAdapter(Number), TypeAdapter(Flag), TypeAdapter(GivenRisk)
MISSING = (-1, "None", None)


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

    def site(self, patient: str) -> str:
        """Return the source's name; the release does not name institutions."""
        return self.name

    def exams(self) -> list[ExamRecord]:
        """Return every exam that a file names; raises InputError where a record has another form."""
        found: dict[tuple[str, int | str], _Exam] = defaultdict(_Exam)
        for path, (task, test) in self.files.items():
            for where, record, key in self._keyed(path):
                if key is None:
                    continue  # neither the record nor an image identifies the exam: `links` counts it
                exam = found[_patient(record, where), key]
                exam.test |= test
                exam.study = key if isinstance(key, str) else None
                _add(exam, task, record, where)
        numbers: dict[str, int] = defaultdict(lambda: LAST_SCREENING_YEAR)
        records = []
        for (patient, key), exam in sorted(found.items(), key=lambda item: (item[0][0], str(item[0][1]))):
            if isinstance(key, str):
                numbers[patient] += 1
            records.append(_exam_record(patient, key if isinstance(key, int) else numbers[patient], exam))
        return records

    def links(self) -> list[Link]:
        """Return the link of each file's records to their exams: by a screening year, or else an image."""
        found = []
        for path in self.files:
            rows = [(where, _patient(record, where), key) for where, record, key in self._keyed(path)]
            unlinked = tuple((where.split(", ")[-1], patient) for where, patient, key in rows if key is None)
            found.append(Link(path.stem, path, "images", len(rows), unlinked))
        return found

    def _keyed(self, path: Path) -> Iterator[tuple[str, Record, int | str | None]]:
        """Yield each record of a file with its place, and its exam's year or StudyInstanceUID or None."""
        for where, record in _records(path):
            year = YEAR.search(_text(record.get("data_path"), f"{where}, data_path"))
            yield where, record, int(year[1]) if year else self._studies.get(_series(record, where))

    @functools.cached_property
    def _studies(self) -> dict[str, str]:
        """The StudyInstanceUID of every series of the images."""
        rows = listing_of_headers(self.image_paths())
        return dict(zip(rows["series"].to_pylist(), rows["study"].to_pylist()))

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
                year = YEAR.search(_text(record.get("data_path"), f"{where}, data_path"))
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
    return plain(_identifier(record, where, "keys", "SeriesInstanceUID"))


def _patient(record: Record, where: str) -> str:
    return normal(_identifier(record, where, "pids", "pid"))


def _identifier(record: Record, where: str, *names: str) -> str:
    """Return the first of the named identifiers; raises InputError where it is missing or is not one."""
    for name in names:
        if name in record:
            value = record[name]
            if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
                raise InputError(f"{where}, {name}: not an identifier; correct the record")
            return str(value)
    raise InputError(f"{where}: {' or '.join(names)} is missing")


def _text(given: Any, where: str) -> str:
    """Return a text, empty for None; raises InputError for anything else."""
    if not isinstance(given, str | None):
        raise InputError(f"{where}: not a text; correct the record")
    return given or ""


def _checked(form: TypeAdapter[T], given: Any, where: str) -> T:
    """Check a value's form; raises InputError that names the place and not the value."""
    try:
        return form.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f".{part}" for part in first["loc"])
        raise InputError(
            f"{where}{place}: {first['msg'].removeprefix('Value error, ')}; correct the record"
        ) from error


def _add(exam: _Exam, task: str, record: Record, where: str) -> None:
    """Add a record to its exam; raises InputError where it contradicts another record of the exam."""
    clinical = _elements(_object(record.get("clinical_data"), f"{where}, clinical_data"), where)
    for name, value in clinical.items():
        if exam.elements.setdefault(name, value) != value:
            raise _contradiction(f"{where}, clinical_data, {name}")
    given = record["labels"]
    if TASKS[task].loss == "hazard":
        _add_risk(exam, task, given, f"{where}, labels")
        return
    if isinstance(given, bool) or given not in (0, 1):
        raise InputError(f"{where}, labels: {str(given)[:40]} is not 0 or 1; correct the record")
    if exam.answers.setdefault(task, int(given)) != given:
        raise _contradiction(f"{where}, labels")


def _add_risk(exam: _Exam, task: str, given: Any, where: str) -> None:
    """Add a risk, and of a cancer its side and the nodules; 0 or 1 alone is the answer of the last year."""
    if isinstance(given, dict):
        found = _checked(RISK, given, where)
        places = {name.lower(): flag for name, flag in (found.loc_dict or {}).items()}
        side = labels.cancer_side(name for name, flag in places.items() if flag == 1)
        if exam.cancer_side not in (None, side) and side is not None:
            raise _contradiction(f"{where}.loc_dict")
        exam.cancer_side = side or exam.cancer_side
        exam.nodules = _nodules(found.nodules or [])
        risk = Risk(tuple(found.y_seq), tuple(found.y_mask))
    else:
        answer = _checked(FLAG, given, where)
        risk = Risk((answer,) * YEARS, (*(0,) * (YEARS - 1), 1))
    if exam.risks.setdefault(task, risk) != risk:
        raise _contradiction(where)


def _contradiction(where: str) -> InputError:
    return InputError(f"{where}: differs from another series of the exam; correct one of them")


def _nodules(given: list[GivenNodule]) -> list[Nodule]:
    lobes = {code - 1: lobe for code, lobe in labels.LOBES.items()}
    attenuations, margins = (
        dict(enumerate(TASKS[task].answers)) for task in ("nodule_attenuation", "nodule_margin")
    )
    return [
        Nodule(
            number=number,
            lobe=lobes.get(nodule.loc),
            slice_number=nodule.slice if nodule.slice > 0 else None,
            attenuation=attenuations.get(nodule.att),
            margin=margins.get(nodule.margin),
        )
        for number, nodule in enumerate(given, 1)
    ]


def _elements(clinical: Record, where: str) -> dict[str, Value]:
    """Return the clinical elements; raises InputError at an unknown disease, cancer or relative."""
    found: dict[str, Value] = {}
    for group, columns in COLUMNS.items():
        given = _object(clinical.get(group), f"{where}, {group}")
        for column, name in columns.items():
            if given.get(column) not in MISSING:
                found[name] = _value(name, given[column], f"{where}, {group}.{column}")
    for group, stems in STEMS.items():
        for key, age in _object(clinical.get(group), f"{where}, {group}").items():
            names = [name for stem, name in stems.items() if stem in key.lower()]
            if not names:
                raise InputError(f"{where}, {group}: {key!r} matches none of {', '.join(stems.values())}")
            place = f"{where}, {group}.{key}"
            if group != "fam_lc":
                found[names[0]] = AGE_UNKNOWN if age in MISSING else _number(names[0], age, place)
            elif age not in MISSING:
                found[names[0]] = bool(_checked(FLAG, age, place))
    return found


def _value(name: str, given: Any, where: str) -> Value:
    """Return a number, or the element's text that equals the given one but for case and blanks."""
    if ELEMENTS[name].kind == "number":
        return _number(name, given, where)
    texts = {_plain(str(text)): text for text in ELEMENTS[name].codes.values()}
    if not isinstance(given, str) or _plain(given) not in texts:
        raise InputError(f"{where}: not one of {', '.join(map(str, texts.values()))}; correct the record")
    return texts[_plain(given)]


def _number(name: str, given: Any, where: str) -> float:
    low, high = ELEMENTS[name].possible
    number = _checked(NUMBER, given, where)
    if not low <= number <= high:
        raise InputError(f"{where}: {number:g} is not a number from {low:g} to {high:g}; correct the record")
    return number


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
