"""The source `hospital`: a hospital's own table, read by a mapping file, and DICOM below `images`.

The folder holds mapping.yaml, the table of exams (CSV or parquet) that it names, the table of nodules if one
is mapped, and the images. `m3fm.cohort.mapping` documents the mapping. Columns that it does not name are not
read, so names and dates do not enter the program.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, NEVER, Element, Value
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import LUNGS, TASKS
from m3fm.cohort import labels
from m3fm.cohort.dicom_folder import listing_of_headers
from m3fm.cohort.mapping import FINDINGS, UNITS, YES_NO, Column, RiskColumns, read_mapping
from m3fm.cohort.source import images_below, listing_digest
from m3fm.cohort.tables import Table
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from m3fm.config.sections import LabelConfig
    from m3fm.ct.volume import Series

T = TypeVar("T")

MAPPING = "mapping.yaml"


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
        keys = [mapping.patient_id, mapping.study_uid, mapping.timepoint, mapping.exam]
        columns = [*mapping.elements.values(), *mapping.labels.values()]
        columns += [mapping.cancer_side] if mapping.cancer_side else []
        days = [day for risk in mapping.risks.values() for day in (risk.event_days, risk.followup_days)]
        self._exams = self._table(mapping.table, keys, columns, days)
        self._require_identifiers(self._exams, mapping.patient_id)
        for key in (mapping.study_uid, mapping.exam):
            if key:
                self._require_identifiers(self._exams, key)
                self._require_unique(key)

    def site(self, series: "Series") -> str:
        """Return the name that the mapping states."""
        return self.name

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
        studies = table.texts(mapping.study_uid.lower()) if mapping.study_uid else [None] * len(table.cells)
        nodules = self._nodules()
        categories = self._lung_rads(nodules)
        records = []
        for row, (patient, timepoint) in enumerate(zip(self._patients(), self._timepoints())):
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
        self, name: str, keys: Sequence[str | None], columns: Sequence[Column], days: Sequence[str] = ()
    ) -> Table:
        """Read the mapped columns of a table; cells that the mapping calls missing become empty."""
        wanted = {key.lower() for key in (*keys, *days) if key}
        wanted |= {column.column.lower() for column in columns}
        wanted |= {column.age_column.lower() for column in columns if column.age_column}
        path = self.root / name
        table = _read_parquet(path, wanted) if path.suffix == ".parquet" else Table.read(path, wanted)
        missing = {text.lower() for text in self.mapping.missing}
        cells = table.cells.apply(lambda column: column.mask(column.str.lower().isin(missing), ""))
        return Table(path, cells)

    def _require_identifiers(self, table: Table, column: str) -> None:
        """Raise InputError where a row has no identifier."""
        for row, text in enumerate(table.texts(column.lower())):
            if not text:
                raise InputError(
                    f"{table.path}, row {row + 1}, {column}: empty; every row needs an identifier"
                )

    def _require_unique(self, column: str) -> None:
        """Raise InputError where two exams have the same identifier."""
        again = [text for text, count in Counter(self._exams.texts(column.lower())).items() if count > 1]
        if again:
            raise InputError(
                f"{self._exams.path}, {column}: identifiers that several rows have: {len(again)};"
                " give each exam one row"
            )

    def _patients(self) -> list[str]:
        return self._exams.texts(self.mapping.patient_id.lower())

    def _timepoints(self) -> list[int]:
        """Return the mapped numbers; without a mapping, count each patient's exams from 0."""
        if self.mapping.timepoint:
            numbers = self._exams.keys(self.mapping.timepoint.lower(), range(100))
            if len(set(zip(self._patients(), numbers))) < len(numbers):
                raise InputError(
                    f"{self._exams.path}, {self.mapping.timepoint}: a patient has two exams with one number"
                )
            return numbers
        seen: Counter[str] = Counter()
        numbers = []
        for patient in self._patients():
            numbers.append(seen[patient])
            seen[patient] += 1
        return numbers

    def _lung_rads(self, nodules: list[list[Nodule]]) -> list[int | None]:
        """Return the categories that the reports state; without a described nodule, 1 alone is a label."""
        column = self.mapping.labels.get("lung_rads")
        if column is None:
            return [None] * len(nodules)
        categories = map(labels.lung_rads, self._exams.texts(column.column.lower()))
        return [category if found or category == 1 else None for category, found in zip(categories, nodules)]

    def _nodules(self) -> list[list[Nodule]]:
        """Return each exam's nodules, in the table's order; raises InputError where one has no exam."""
        mapped, exam = self.mapping.nodules, self.mapping.exam
        if mapped is None or exam is None:
            return [[] for _ in self._exams.cells.index]
        named = (mapped.lobe, mapped.attenuation, mapped.margin, mapped.new)
        counted = (mapped.long_mm, mapped.short_mm, mapped.slice_number)
        table = self._table(mapped.table, [mapped.exam], [c for c in (*named, *counted) if c])
        tasks = ("nodule_location", "nodule_attenuation", "nodule_margin")
        lobes, attenuations, margins = (
            _optional(table, column, {answer: answer for answer in TASKS[task].answers})
            for column, task in zip(named, tasks)
        )
        new = _optional(table, mapped.new, YES_NO)
        long_mm, short_mm, slices = (
            table.numbers(column.column.lower()) if column else [None] * len(table.cells)
            for column in counted
        )
        exams = {name: row for row, name in enumerate(self._exams.texts(exam.lower()))}
        found: dict[int, list[Nodule]] = defaultdict(list)
        for row, name in enumerate(table.texts(mapped.exam.lower())):
            if name not in exams:
                raise InputError(
                    f"{table.path}, row {row + 1}, {mapped.exam}: not an exam of {self._exams.path}"
                )
            slice_number = slices[row]
            nodule = Nodule(
                number=len(found[exams[name]]) + 1,
                lobe=lobes[row],
                slice_number=None if slice_number is None else int(slice_number),
                long_mm=long_mm[row],
                short_mm=short_mm[row],
                margin=margins[row],
                attenuation=attenuations[row],
                new=bool(new[row]),
            )
            found[exams[name]].append(nodule)
        return [found[row] for row in range(len(self._exams.cells))]


def _read_parquet(path: Path, wanted: set[str]) -> Table:
    """Read columns of a parquet file as text; `wanted` and the names in the table are in lower case."""
    if not path.is_file():
        raise InputError(f"{path} is missing: put the table there")
    try:
        cells = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error
    cells.columns = cells.columns.str.strip().str.lower()
    absent = sorted(wanted - set(cells.columns))
    if absent:
        raise InputError(f"{path} has no column {', '.join(absent)}: deliver the table with it")
    cells = cells[sorted(wanted)]
    return Table(path, cells.astype(object).where(cells.notna(), "").astype(str))


def _known(columns: Mapping[str, list[T | None]], row: int) -> dict[str, T]:
    return {name: value for name, values in columns.items() if (value := values[row]) is not None}


def _texts(table: Table, column: Column, allowed: Mapping[str, T]) -> list[T | None]:
    """Decode a column's texts by the mapped `values`, or by the names in `allowed` without a mapping."""
    known = {name.lower(): value for name, value in allowed.items()}
    named = {text: known[name.lower()] for text, name in column.values.items()}
    return table.named(column.column.lower(), named or allowed)


def _optional(table: Table, column: Column | None, allowed: Mapping[str, T]) -> list[T | None]:
    return _texts(table, column, allowed) if column else [None] * len(table.cells)


def _element(table: Table, element: Element, column: Column) -> list[Value | None]:
    """Return an element's values, one per exam."""
    match element.kind:
        case "number":
            factor = UNITS.get((element.unit, column.unit), 1.0)
            numbers = table.numbers(column.column.lower())
            return [None if number is None else number * factor for number in numbers]
        case "category":
            return _texts(table, column, {str(value): value for value in element.codes.values()})
        case "relative":
            return list(_texts(table, column, YES_NO))
    ages = table.numbers(column.age_column.lower()) if column.age_column else [None] * len(table.cells)
    answers = _texts(table, column, YES_NO)
    return [
        None if had is None else NEVER if not had else AGE_UNKNOWN if age is None else age
        for had, age in zip(answers, ages)
    ]


def _risks(table: Table, columns: RiskColumns) -> list[Risk | None]:
    days = (table.integers(column.lower()) for column in (columns.event_days, columns.followup_days))
    return [labels.risk(event, followup, 0) for event, followup in zip(*days)]
