"""A task that no model was trained on, for some of the cohort's patients (paper, Fig. 7).

Immunotherapy-induced pneumonitis, as in the paper: 90 patients, 49 of whom get it, a CT before the therapy
and five clinical variables. Whether a patient gets it depends on the findings in the CT, on the clinical
variables, and on chance. The CT is the first screening exam; nothing else in the cohort depends on the task.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m3fm.simulate.course import Course
from m3fm.simulate.people import Code

NAME = "immunotherapy_pneumonitis"
PATIENTS, POSITIVE = 90, 49
"""Numbers of the paper; in a smaller cohort all patients, and the same fraction of them."""
BY_FINDING = {"reticular_fibrosis_scar": 2.2, "consolidation": 1.8, "emphysema": 1.4}
"""Weight of a finding in the risk; it counts 1 + severity times."""
CHANCE = 1.5
"""Standard deviation of the unexplained part of the risk."""

TASK = """\
# A new task for `m3fm finetune`; docs/transfer.md says what the keys mean. Simulated patients.
name: immunotherapy_pneumonitis
title: Immunotherapy-induced pneumonitis
answers: ["no", "yes"]
questions:
  - Will the immunotherapy induce pneumonitis?
  - Does this patient get pneumonitis from the immunotherapy?
  - Is pneumonitis to be expected under immune checkpoint inhibitors?
region: both_lungs
scale: both_lungs
table:
  file: immunotherapy_pneumonitis.csv
  patient: pid
  timepoint: study_yr
  label: pneumonitis
clinical:
  io_cycles: The patient has received {} cycles of immuno-oncology therapy.
  pack_years: Smoking duration is {} pack years.
  bmi: Body mass index is {}.
  age_at_diagnosis: The cancer was diagnosed at {} years old.
  prior_radiation: "Radiation before the immunotherapy: {}."
"""


class Candidate(NamedTuple):
    """A patient's row of the table without the label, and the risk of pneumonitis."""

    row: dict[str, Code]
    risk: float


def draw_candidate(course: Course, rng: np.random.Generator) -> Candidate:
    """Draw the clinical variables of a patient and the risk of pneumonitis, a score without a unit."""
    person, exam = course.person, course.exams[0]
    cycles, radiation = int(rng.integers(1, 31)), bool(rng.random() < 0.4)
    seen = exam.findings.severity
    from_image = sum(weight * (1 + seen[name]) for name, weight in BY_FINDING.items() if name in seen)
    from_text = (cycles - 15) / 8 + 2.0 * radiation + (person.pack_years - 50) / 40 + (person.bmi - 27) / 8
    row: dict[str, Code] = {
        "pid": person.pid,
        "study_yr": exam.timepoint,
        "io_cycles": cycles,
        "pack_years": person.pack_years,
        "bmi": round(person.bmi, 1),
        "age_at_diagnosis": person.age,
        "prior_radiation": "yes" if radiation else "no",
    }
    return Candidate(row, from_image + from_text + float(rng.normal(0, CHANCE)))


def write_transfer(folder: Path, candidates: Iterable[Candidate]) -> dict[str, int]:
    """Write the task's file and table to a folder; return the numbers of patients and of positive ones.

    The patients of highest risk are positive, so their labels may differ in a cohort of another size.
    """
    chosen = list(candidates)[:PATIENTS]
    positive = round(len(chosen) * POSITIVE / PATIENTS)
    order = sorted(range(len(chosen)), key=lambda place: -chosen[place].risk)
    ill = set(order[:positive])
    rows = [
        {**candidate.row, "pneumonitis": "yes" if place in ill else "no"}
        for place, candidate in enumerate(chosen)
    ]
    folder.mkdir(parents=True)
    (folder / f"{NAME}.yaml").write_text(TASK)
    with (folder / f"{NAME}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return {"patients": len(rows), "positive": positive}
