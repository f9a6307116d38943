"""Patients of a new task: their dataset, in which ill lungs are denser, and the table of their clinic."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from m3fm.clinical.elements import ELEMENTS
from m3fm.config.presets import preset
from m3fm.core.artifacts import seal
from m3fm.core.files import file_digest
from m3fm.ct import store
from m3fm.dataset.mqa import NODULE
from m3fm.privacy.pseudonyms import Salt

SALT = Salt("m3fm")
RUN = preset("tiny")
PATIENTS = 24
VOXEL_MM = (2.5, 4.0, 4.0)

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
    """A dataset of an exam for each patient, all in the test split but the first."""
    (root / "volumes").mkdir(parents=True)
    boxes = {
        "left_lung": [2, 22, 3, 22, 12, 22],
        "right_lung": [2, 22, 3, 22, 2, 12],
        "both_lungs": [2, 22, 3, 22, 2, 22],
        "heart": [4, 16, 6, 18, 8, 18],
    }
    rows, exams = [], []
    for number in range(patients):
        patient = SALT.hashed("patient", raw(number))
        rng = np.random.default_rng(number)
        voxels = rng.normal(-800 + 250 * is_ill(number), 150, (24, 24, 24)).astype(np.int16)
        store.write_volume(root / f"volumes/{number}.npy", voxels)
        key = {"exam": f"{number:016x}", "patient": patient, "split": "test" if number else "train"}
        exams.append({**key, "timepoint": 0, **dict.fromkeys(ELEMENTS)})
        rows.append(
            {
                **key,
                "series": SALT.hashed("series", f"1.2.{number}"),
                "timepoint": 0,
                "status": "kept",
                "preferred": True,
                "volume": f"volumes/{number}.npy",
                "digest": file_digest(root / f"volumes/{number}.npy"),
                "slices": 24,
                **dict(zip(("voxel_z", "voxel_y", "voxel_x"), VOXEL_MM)),
                "instance_first": 1,
                "instance_last": 24,
                **boxes,
            }
        )
    pd.DataFrame(rows).to_parquet(root / "series.parquet")
    pd.DataFrame(exams).to_parquet(root / "exams.parquet")
    pd.DataFrame([{**exams[0], **dict.fromkeys(NODULE)}])[["exam", "patient", "split", *NODULE]].to_parquet(
        root / "nodules.parquet"
    )
    label = {"task": "emphysema", "side": "", "nodule": -1, "slice_number": -1, "label": [0.0], "mask": [1.0]}
    pd.DataFrame([{**exam, **label} for exam in exams])[["exam", "patient", "split", *label]].to_parquet(
        root / "labels.parquet"
    )
    pd.DataFrame([{"patient": exam["patient"], "split": exam["split"]} for exam in exams]).to_parquet(
        root / "splits.parquet"
    )
    seal(root, "dataset.json", {"source": {"name": "drawn", "digest": "0" * 64, "simulated": True}})
    return root


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
