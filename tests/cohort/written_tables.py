"""Small tables of the simulated cohort, in NLST's form and in a hospital's, for tests to spoil."""

import csv
import io
from dataclasses import dataclass, field, replace
from pathlib import Path

from m3fm.clinical.records import ExamRecord
from m3fm.cohort.labels import SIDES
from m3fm.cohort.source import open_source
from m3fm.config.sections import CurateConfig, SimulateConfig
from m3fm.dataset.links import check_links
from m3fm.privacy.pseudonyms import Salt
from m3fm.simulate.course import draw_course
from m3fm.simulate.tables import TABLES, patient_rows

PATIENTS = 5
SALT = Salt("a salt for tests")
MAPPING = """
name: site-a
table: exams.csv
patient_id: MRN
study_uid: Study UID
timepoint: Visit
exam: Accession
elements:
  age: {column: Age}
  gender: {column: Sex, values: {M: Male, F: Female}}
  height: {column: Height (cm), unit: cm}
  pack_years: {column: Pack years}
labels:
  emphysema: {column: Emphysema, values: {present: yes, absent: no}}
  nodule_presence: {column: Nodule}
  lung_rads: {column: Report}
risks:
  lung_cancer_risk: {event_days: To cancer, followup_days: Followed}
cancer_side: {column: Side, values: {L: left, R: right}}
nodules:
  table: nodules.csv
  exam: Accession
  lobe: {column: Lobe}
  attenuation: {column: Type, values: {GGO: ground glass, SN: solid}}
  long_mm: {column: Diameter}
  slice_number: {column: Image}
"""


@dataclass(frozen=True)
class Sheet:
    """A table as text: its cells, and how they are written."""

    names: list[str]
    rows: list[list[str]]
    delimiter: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"
    lines: tuple[tuple[int, str], ...] = field(default=())
    """Lines to be written in place of others, by their number from 0."""

    def line(self, number: int) -> str:
        """Write a row, or the names for number 0."""
        text = io.StringIO()
        row = [self.names, *self.rows][number]
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerow(row)
        return text.getvalue()[:-1]

    def with_line(self, number: int, text: str) -> "Sheet":
        """Return the table with another text in place of a line."""
        return replace(self, lines=(*self.lines, (number, text)))

    def with_cell(self, row: int, column: int, text: str) -> "Sheet":
        """Return the table with another cell."""
        rows = [list(cells) for cells in self.rows]
        rows[row][column] = text
        return replace(self, rows=rows)

    def written(self) -> bytes:
        """Write all lines."""
        lines = [self.line(number) for number in range(len(self.rows) + 1)]
        for number, text in self.lines:
            lines[number] = text
        return "".join(f"{line}{self.newline}" for line in lines).encode(self.encoding, "replace")


Sheets = dict[str, Sheet]


def nlst_sheets(patients: int = PATIENTS) -> Sheets:
    """Return NLST's tables of the first simulated patients."""
    config = SimulateConfig()
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES}
    for number in range(patients):
        course = draw_course(config, number)
        images = {plan.uid: 70 for exam in course.exams for plan in exam.series}
        for name, found in patient_rows(course.person, course.outcome, course.exams, images).items():
            rows[name] += found
    return {
        f"tables/{name}.csv": Sheet(list(found[0]), [[str(cell) for cell in row.values()] for row in found])
        for name, found in rows.items()
        if found
    }


def hospital_sheets() -> Sheets:
    """Return a hospital's tables of two patients with two exams each, and of one with one."""
    exams, nodules = [], []
    for patient in range(3):
        for visit in range(2 if patient < 2 else 1):
            number = 2 * patient + visit
            sick, side = number % 2, "LR"[patient % 2]
            exams.append(
                [
                    *(str(40017 + patient), f"1.2.840.{number}", str(visit), f"A{number}", str(61 + visit)),
                    *("MF"[patient % 2], f"{168 + patient}.5", f"{30 + number}.25"),
                    *(("absent", "present")[sick], ("no", "yes")[sick], f"Seen. Lung-RADS {2 + sick}"),
                    *(("", "400")[sick], "1500", ("", side)[sick], "Roe, Richard"),
                ]
            )
            if sick:
                nodules += [[f"A{number}", "LUL", "GGO", "12.5", "40"], [f"A{number}", "", "SN", "", ""]]
    names = ["MRN", "Study UID", "Visit", "Accession", "Age", "Sex", "Height (cm)", "Pack years", "Emphysema"]
    names += ["Nodule", "Report", "To cancer", "Followed", "Side", "Name"]
    return {
        "exams.csv": Sheet(names, exams),
        "nodules.csv": Sheet(["Accession", "Lobe", "Type", "Diameter", "Image"], nodules),
    }


def write(root: Path, sheets: Sheets) -> Path:
    """Write tables to a source's folder, with the mapping of the hospital's and without images."""
    for name, sheet in sheets.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sheet.written())
    (root / "images").mkdir(exist_ok=True)
    (root / "mapping.yaml").write_text(MAPPING)
    return root


def read(kind: str, root: Path) -> list[ExamRecord]:
    """Read a source's exams as curation does, before any image; raises InputError as curation would."""
    source = open_source(kind, root)
    exams = source.exams()
    check_links(source.links(), CurateConfig().max_unlinked, SALT)
    return exams


def cancer_sheets(participant: str) -> Sheets:
    """Return NLST's table of cancers with one of a participant, of no known side."""
    places = [column for side in SIDES.values() for column in side]
    names = ["pid", "candx_days", *places]
    return {"tables/canc.csv": Sheet(names, [[participant, "800", *("0" for _ in places)]])}
