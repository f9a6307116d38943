"""A task that no model was trained on, for some of the cohort's patients (paper, Fig. 7).

Immunotherapy-induced pneumonitis, as the paper has it: 90 patients, 49 of whom get it, a CT before the
therapy and five clinical variables. Whether a patient gets it depends on what the CT shows, on the clinical
variables, and on chance. The CT is that of the first screening exam; nothing else of the cohort goes by it.
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
"""Of the paper; of a smaller cohort all patients, and the same fraction of them."""
BY_FINDING = {"reticular_fibrosis_scar": 2.2, "consolidation": 1.8, "emphysema": 1.4}
"""What a finding adds to the risk, whatever its severity; that adds as much again where it is worst."""
CHANCE = 1.5
"""Standard deviation of what nothing explains."""

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
    """What the table may say of a patient, and how much is to be said for pneumonitis."""

    row: dict[str, Code]
    risk: float


def draw_candidate(course: Course, rng: np.random.Generator) -> Candidate:
    """The clinical variables of a patient, and the risk of pneumonitis, in no unit: larger is likelier."""
    person, exam = course.person, course.exams[0]
    cycles, radiation = int(rng.integers(1, 31)), bool(rng.random() < 0.4)
    seen = exam.findings.severity
    shown = sum(weight * (1 + seen[name]) for name, weight in BY_FINDING.items() if name in seen)
    said = (cycles - 15) / 8 + 2.0 * radiation + (person.pack_years - 50) / 40 + (person.bmi - 27) / 8
    row: dict[str, Code] = {
        "pid": person.pid,
        "study_yr": exam.timepoint,
        "io_cycles": cycles,
        "pack_years": person.pack_years,
        "bmi": round(person.bmi, 1),
        "age_at_diagnosis": person.age,
        "prior_radiation": "yes" if radiation else "no",
    }
    return Candidate(row, shown + said + float(rng.normal(0, CHANCE)))


def write_transfer(folder: Path, candidates: Iterable[Candidate]) -> dict[str, int]:
    """Write the task's file and its table to a folder; gives the number of patients, and of those who get it.

    Those of highest risk get it, so the labels of a cohort of another size may differ; the rest does not.
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
