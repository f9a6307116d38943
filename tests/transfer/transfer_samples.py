"""Patients of a new task: their dataset, in which ill lungs are denser, and the table of their clinic."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import written_dataset
import yaml
from written_dataset import WrittenExam

from m3fm.config.presets import preset
from m3fm.privacy.pseudonyms import Salt

SALT = Salt("m3fm")
RUN = preset("tiny")
PATIENTS = 24

TASK: dict[str, Any] = {
    "name": "pneumonitis",
    "title": "Pneumonitis",
    "answers": ["no", "yes"],
    "questions": ["Will there be pneumonitis?", "Is pneumonitis to be expected?"],
    "region": "both_lungs",
    "scale": "both_lungs",
    "table": {"file": "table.csv", "patient": "MRN", "label": "ill"},
    "clinical": {"cycles": "The patient had {} cycles.", "radiation": "Radiation: {}."},
}


def raw(number: int) -> str:
    """What the clinic calls a patient."""
    return f"MRN-{70000 + number}"


def is_ill(number: int) -> bool:
    return number % 3 == 0


def write_dataset(root: Path, patients: int = PATIENTS) -> Path:
    """Write a dataset of an exam for each patient, all in the test split but the first."""
    boxes = {
        "left_lung": [2, 22, 3, 22, 12, 22],
        "right_lung": [2, 22, 3, 22, 2, 12],
        "both_lungs": [2, 22, 3, 22, 2, 22],
        "heart": [4, 16, 6, 18, 8, 18],
    }
    exams = []
    for number in range(patients):
        rng = np.random.default_rng(number)
        exam = WrittenExam(
            exam=f"{number:016x}",
            patient=SALT.hashed("patient", raw(number)),
            split="test" if number else "train",
            labels=[{"task": "emphysema", "label": [0.0]}],
            voxels=rng.normal(-800 + 250 * is_ill(number), 150, (24, 24, 24)).astype(np.int16),
            boxes=boxes,
            series={"series": SALT.hashed("series", f"1.2.{number}")},
        )
        exams.append(exam)
    return written_dataset.write_dataset(root, exams)


def row(number: int, **changes: str) -> dict[str, str]:
    """What the clinic's table says of a patient."""
    cycles = "" if number == 1 else str(3 + number % 7)
    radiation = "yes" if number % 2 else "no"
    known = {"MRN": raw(number), "ill": "yes" if is_ill(number) else "no"}
    return {**known, "cycles": cycles, "radiation": radiation, **changes}


def write_task(folder: Path, rows: list[dict[str, str]] | None = None, **changes: Any) -> Path:
    """Write the task's file, with other keys where they are given, and its table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(number) for number in range(PATIENTS)] if rows is None else rows
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    content = {key: value for key, value in {**TASK, **changes}.items() if value is not None}
    (folder / "task.yaml").write_text(yaml.safe_dump(content))
    return folder / "task.yaml"
