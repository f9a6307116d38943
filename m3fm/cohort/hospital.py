"""The source `hospital`: a hospital's own table, read by a mapping file, and DICOM below `images`.

The folder holds mapping.yaml, the table of exams (CSV or parquet) that it names, the table of nodules if one
is mapped, and the images. `m3fm.cohort.mapping` documents the mapping. Columns that it does not name are not
read, so names and dates do not enter the program. Patients and exams are linked by `m3fm.cohort.keys.normal`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER, Element, Value
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import LUNGS, TASKS
from m3fm.cohort import labels
from m3fm.cohort.dicom_folder import listing_of_headers
from m3fm.cohort.keys import Link
from m3fm.cohort.mapping import FINDINGS, UNITS, YES_NO, Column, RiskColumns, read_mapping
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import DAYS, DAYS_AROUND, DIAMETERS_MM, Table, find_columns
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig

T = TypeVar("T")

MAPPING = "mapping.yaml"
MOST_SLICES = 100_000
"""Largest InstanceNumber of a nodule's slice."""
EXACT = 2**53
"""Largest number up to which a float holds every whole number."""


class HospitalSource:
    """A table of exams, its mapping, and images."""

    def __init__(self, root: Path, choices: "LabelConfig") -> None:
        """Open the folder; raises InputError where the mapping, a table or a column is missing.

        The table states the events itself, so none of the `choices` applies.
        """
        self.root, self.images = root, root / "images"
        self.mapping = read_mapping(root / MAPPING)
        self.name, self.test_only = self.mapping.name, self.mapping.test_only
        self.simulated = False
        mapping = self.mapping
        keys = [mapping.patient_id, mapping.study_uid, mapping.exam]
        columns = [*mapping.elements.values(), *mapping.labels.values()]
        columns += [mapping.cancer_side] if mapping.cancer_side else []
        days = [day for risk in mapping.risks.values() for day in (risk.event_days, risk.followup_days)]
        self._exams = self._table(mapping.table, keys, columns, [mapping.timepoint, *days])
        self._patients = self._exams.patients(mapping.patient_id.lower())
        for key in (mapping.study_uid, mapping.exam):
            if key:
                self._exams.check_unique(self._exams.identifiers(key.lower()), key.lower())

    def site(self, patient: str) -> str:
        """Return the name that the mapping states."""
        return self.name

    def links(self) -> list[Link]:
        """Return an empty list: a nodule without an exam is refused."""
        return []

    def exams(self) -> list[ExamRecord]:
        """Return an exam for every row of the table, in the order of patient and timepoint."""
        table, mapping = self._exams, self.mapping
        elements = {
            name: _element(table, ELEMENTS[name], column) for name, column in mapping.elements.items()
        }
        findings = {
            name: _texts(table, column, YES_NO) for name, column in mapping.labels.items() if name in FINDINGS
        }
        risks = {name: _risks(table, columns) for name, columns in mapping.risks.items()}
        sides = _optional(table, mapping.cancer_side, {side: side for side in (*LUNGS, "both")})
        studies: Sequence[str | None] = [None] * len(table)
        if mapping.study_uid:
            studies = table.uids(mapping.study_uid.lower())
        nodules = self._nodules()
        if "nodule_presence" in findings:
            denied = [
                bool(listed) and present is False
                for listed, present in zip(nodules, findings["nodule_presence"])
            ]
            column = mapping.labels["nodule_presence"].column.lower()
            table.refuse(column, denied, "what the table of nodules says, which lists some of the exam")
        categories = self._lung_rads(nodules)
        records = []
        for row, (patient, timepoint) in enumerate(zip(self._patients, self._timepoints())):
            found = {
                name: int(value) for name, values in findings.items() if (value := values[row]) is not None
            }
            records.append(
                ExamRecord(
                    patient_id=patient,
                    timepoint=timepoint,
                    study_uid=studies[row],
                    elements=_known(elements, row),
                    findings={name: value for name, value in found.items() if name != "covid19"},
                    # A nodule without a place: no lung is then known to be clear.
                    nodules=nodules[row] or [Nodule(number=1)] * found.get("nodule_presence", 0),
                    risks=_known(risks, row),
                    cancer_side=sides[row],
                    covid19=found.get("covid19"),
                    lung_rads=categories[row],
                )
            )
        return sorted(records, key=lambda record: (record.patient_id, record.timepoint))

    def image_paths(self) -> Iterable[Path]:
        """Return every file below `images`."""
        return images_below(self.images)

    def digest(self) -> str:
        """Return the SHA-256 of the mapping's and the tables' bytes, and of the images' names and sizes."""
        nodules = [self.mapping.nodules.table] if self.mapping.nodules else []
        names = [MAPPING, self.mapping.table, *nodules]
        contents = [f"{name} {file_digest(self.root / name)}" for name in names]
        return listing_digest(self.root, self.image_paths(), contents)

    def listing(self) -> "pa.Table":
        """Return every series of the images, from the headers: the table lists exams alone."""
        return listing_of_headers(self.image_paths())

    def _table(
        self,
        name: str,
        keys: Sequence[str | None],
        columns: Sequence[Column],
        others: Sequence[str | None] = (),
    ) -> Table:
        """Read the mapped columns of a table; cells that the mapping calls missing become empty."""
        identifying = {key.lower() for key in keys if key}
        wanted = identifying | {name.lower() for name in others if name}
        wanted |= {column.column.lower() for column in columns}
        wanted |= {column.age_column.lower() for column in columns if column.age_column}
        path, read = self.root / name, _read_parquet if name.endswith(".parquet") else Table.read
        table = read(path, sorted(wanted), identifying=identifying)
        if not len(table):
            raise InputError(f"{path} has no rows: add them, or leave the table out of {MAPPING}")
        missing = {text.lower() for text in self.mapping.missing}
        cells = table.cells.apply(lambda column: column.mask(column.str.lower().isin(missing), ""))
        return Table(path, cells, identifying)

    def _timepoints(self) -> list[int]:
        """Return the mapped numbers; without a mapping, count each patient's exams from 0."""
        if self.mapping.timepoint:
            numbers = self._exams.keys(self.mapping.timepoint.lower(), range(100))
            keys = [self.mapping.patient_id.lower(), self.mapping.timepoint.lower()]
            self._exams.check_unique(zip(self._patients, numbers), *keys)
            return numbers
        seen: Counter[str] = Counter()
        numbers = []
        for patient in self._patients:
            numbers.append(seen[patient])
            seen[patient] += 1
        return numbers

    def _lung_rads(self, nodules: list[list[Nodule]]) -> list[int | None]:
        """Return the categories that the reports state; without a described nodule, 1 alone is a label."""
        column = self.mapping.labels.get("lung_rads")
        if column is None:
            return [None] * len(nodules)
        categories = self._exams.lung_rads(column.column.lower())
        return [category if found or category == 1 else None for category, found in zip(categories, nodules)]

    def _nodules(self) -> list[list[Nodule]]:
        """Return each exam's nodules, in the table's order; raises InputError where one has no exam."""
        mapped, exam = self.mapping.nodules, self.mapping.exam
        if mapped is None or exam is None:
            return [[] for _ in self._patients]
        named = (mapped.lobe, mapped.attenuation, mapped.margin, mapped.new)
        counted = (mapped.long_mm, mapped.short_mm, mapped.slice_number)
        table = self._table(mapped.table, [mapped.exam], [c for c in (*named, *counted) if c])
        tasks = ("nodule_location", "nodule_attenuation", "nodule_margin")
        lobes, attenuations, margins = (
            _optional(table, column, {answer: answer for answer in TASKS[task].answers})
            for column, task in zip(named, tasks)
        )
        new = _optional(table, mapped.new, YES_NO)
        unknown: list[Any] = [None] * len(table)
        long_mm, short_mm = (
            table.numbers(column.column.lower(), DIAMETERS_MM) if column else unknown
            for column in counted[:2]
        )
        slices = unknown
        if mapped.slice_number:
            slices = table.integers(mapped.slice_number.column.lower(), (0, MOST_SLICES))
        exams = {name: row for row, name in enumerate(self._exams.identifiers(exam.lower()))}
        names = table.identifiers(mapped.exam.lower())
        table.refuse(mapped.exam.lower(), [name not in exams for name in names], f"in {self._exams.path}")
        found: dict[int, list[Nodule]] = defaultdict(list)
        for row, name in enumerate(names):
            nodule = Nodule(
                number=len(found[exams[name]]) + 1,
                lobe=lobes[row],
                slice_number=slices[row],
                long_mm=long_mm[row],
                short_mm=short_mm[row],
                margin=margins[row],
                attenuation=attenuations[row],
                new=bool(new[row]),
            )
            found[exams[name]].append(nodule)
        return [found[row] for row in range(len(self._exams))]


def _read_parquet(path: Path, wanted: Sequence[str], identifying: Collection[str]) -> Table:
    """Read columns of a parquet file as text; `wanted` and the names in the table are in lower case."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path} is missing: put the table there")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error
    names = [name.strip().lower() for name in table.column_names]
    cells = {}
    for name, place in find_columns(path, names, wanted).items():
        values = table.column(place).to_pylist()
        for row, value in enumerate(values, 1):
            if not isinstance(value, _CELLS):
                raise InputError(
                    f"{path}, row {row}, {name}: a {type(value).__name__} is not a cell; flatten it"
                )
        cells[name] = pd.Series(map(_text, values), dtype=object)
    frame = pd.DataFrame(cells, dtype=object)
    return Table(
        path, frame.set_axis([f"row {row}" for row in range(1, len(frame) + 1)], axis=0), identifying
    )


_CELLS = (str, int, float, Decimal, date, type(None))
"""Types of cells, bool (an int) and datetime (a date) included."""


def _text(value: object) -> str:
    """Return a cell as text; whole numbers without a fraction, as integers beside empty cells are floats."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return str(int(value))
    return str(value).strip()


def _known(columns: Mapping[str, list[T | None]], row: int) -> dict[str, T]:
    return {name: value for name, values in columns.items() if (value := values[row]) is not None}


def _texts(table: Table, column: Column, allowed: Mapping[str, T]) -> list[T | None]:
    """Decode a column's texts by the mapped `values`, or by the names in `allowed` without a mapping."""
    known = {name.lower(): value for name, value in allowed.items()}
    named = {text: known[name.lower()] for text, name in column.values.items()}
    return table.named(column.column.lower(), named or allowed)


def _optional(table: Table, column: Column | None, allowed: Mapping[str, T]) -> list[T | None]:
    return _texts(table, column, allowed) if column else [None] * len(table)


def _element(table: Table, element: Element, column: Column) -> list[Value | None]:
    """Return an element's values, one per exam."""
    match element.kind:
        case "number":
            factor = UNITS.get((element.unit, column.unit), 1.0)
            low, high = element.possible
            numbers = table.numbers(column.column.lower(), (low / factor, high / factor))
            return [None if number is None else number * factor for number in numbers]
        case "category":
            return _texts(table, column, {str(value): value for value in element.codes.values()})
        case "relative":
            return list(_texts(table, column, YES_NO))
    ages: Sequence[float | None] = [None] * len(table)
    if column.age_column:
        ages = table.numbers(column.age_column.lower(), element.possible)
    answers = _texts(table, column, YES_NO)
    return [
        None if had is None else NEVER if not had else AGE_UNKNOWN if age is None else age
        for had, age in zip(answers, ages)
    ]


def _risks(table: Table, columns: RiskColumns) -> list[Risk | None]:
    events = table.integers(columns.event_days.lower(), DAYS_AROUND)  # an event may be before the scan
    followups = table.integers(columns.followup_days.lower(), DAYS)
    return [labels.risk(event, followup, 0) for event, followup in zip(events, followups)]
