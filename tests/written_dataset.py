"""A dataset for tests, written as curation writes one: tables, volumes and manifest.

A test states what matters to it. Everything else has a default, so that `m3fm validate` accepts the result
unless the test states something that it must refuse.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3fm.clinical.elements import ELEMENTS, Elements
from m3fm.clinical.tasks import LUNGS, SCREENING, TASKS, YEARS
from m3fm.cohort.labels import lung_of
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import seal
from m3fm.core.files import file_digest
from m3fm.ct.arrange import Geometry
from m3fm.ct.plausible import measure_hu
from m3fm.ct.store import write_volume
from m3fm.dataset.examine import volume_path
from m3fm.dataset.mqa import NODULE
from m3fm.dataset.tables import SCHEMA_VERSION, SCHEMAS, SPLITS, Record, write_table
from m3fm.privacy.pseudonyms import Salt

SALT = Salt("m3fm")
SHAPE, VOXEL_MM = (24, 32, 32), (2.5, 4.0, 4.0)
SOURCE, SITE = "written", "site-1"
THE_NODULE: Record = {"number": 1, "lobe": "LUL", "slice_number": 9, "long_mm": 7.0, "short_mm": 5.0}


@dataclass(frozen=True, kw_only=True)
class WrittenExam:
    """One exam of one patient with one kept series; hashes of its place in the dataset are the default names.

    `nodules` and `labels` are rows that may leave out columns; a label without `mask` is known in all years.
    """

    exam: str = ""
    patient: str = ""
    split: str = "test"
    elements: Elements = field(default_factory=dict)
    nodules: Sequence[Mapping[str, Any]] = ()
    labels: Iterable[Mapping[str, Any]] = ()
    voxels: NDArray[np.int16] | None = None
    """HU [slices, rows, columns]; noise by default."""
    voxel_size: tuple[float, float, float] = VOXEL_MM
    """mm (slice, row, column)."""
    boxes: Mapping[str, Sequence[int]] | None = None
    """Boxes of the lungs and the heart; by default they are cut from the middle of the volume."""
    series: Mapping[str, Any] = field(default_factory=dict)
    """Further columns of series.parquet."""


def labels_of_all_tasks(nodule: Mapping[str, Any] = THE_NODULE) -> list[Record]:
    """Return a label of every screening task: the given nodule, else the first answer or no event."""
    rows = []
    for name in SCREENING:
        task = TASKS[name]
        place: Record = {}
        if task.scale == "nodule":
            place = {"nodule": nodule["number"], "slice_number": nodule["slice_number"]}
        sides: tuple[str, ...] = ("",)
        if task.region == "one_lung":
            sides = (lung_of(nodule["lobe"]),) if place else LUNGS
        label = [float(name == "nodule_presence")] * (YEARS if task.loss == "hazard" else 1)
        rows += [{"task": name, "side": side, "label": label, **place} for side in sides]
    return rows


def exams_of_all_splits() -> list[WrittenExam]:
    """Return an exam in each split, with a nodule and a label of every screening task."""
    return [
        WrittenExam(
            split=split, elements={"age": 61.0}, nodules=[THE_NODULE], labels=labels_of_all_tasks(THE_NODULE)
        )
        for split in SPLITS
    ]


def write_dataset(root: Path, exams: Sequence[WrittenExam] | None = None) -> Path:
    """Write a dataset of the exams to `root`, by default of one in each split; return `root`."""
    exams = exams_of_all_splits() if exams is None else exams
    (root / "volumes").mkdir(parents=True)
    tables: dict[str, list[Record]] = {name: [] for name in SCHEMAS}
    splits: dict[str, str] = {}
    for number, exam in enumerate(exams):
        key = {
            "exam": exam.exam or SALT.hashed("exam", str(number)),
            "patient": exam.patient or SALT.hashed("patient", str(number)),
            "split": exam.split,
        }
        splits[key["patient"]] = exam.split
        place = {"source": SOURCE, "site": SITE, "timepoint": 0}
        tables["series"].append({**key, **place, **_series(root, exam, number)})
        tables["exams"].append({**key, **place, **dict.fromkeys(ELEMENTS), **exam.elements})
        tables["nodules"] += [{**key, **_nodule(row, n)} for n, row in enumerate(exam.nodules, 1)]
        tables["labels"] += [{**key, **_label(row)} for row in exam.labels]
    tables["splits"] = [{"patient": patient, "split": split} for patient, split in splits.items()]
    for name, rows in tables.items():
        unknown = {column for row in rows for column in row} - set(SCHEMAS[name].names)
        assert not unknown, f"{name}.parquet has no column {', '.join(sorted(unknown))}"
        write_table(root, name, rows)
    labels = Counter((row["task"], row["split"]) for row in tables["labels"])
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "source": {"name": SOURCE, "digest": "0" * 64, "simulated": True},
        "config": CurateConfig().digest(),
        "regions": CurateConfig().regions.model_dump(mode="json"),
        "counts": {
            "files_of_no_series": 0,
            "series_seen": len(exams),
            "kept": len(exams),
            "rejected": {},
            "exams": len(exams),
            "patients": len(splits),
            "labels": {task: {split: labels[task, split] for split in SPLITS} for task in SCREENING},
        },
    }
    seal(root, "dataset.json", manifest)
    return root


def boxes_inside(shape: tuple[int, ...]) -> dict[str, list[int]]:
    """Return boxes of the lungs and the heart that lie in a volume [slices, rows, columns]."""
    (z0, z1), (y0, y1), (x0, x1) = ((size // 8, size - size // 8) for size in shape)
    middle = shape[2] // 2
    return {
        "left_lung": [z0, z1, y0, y1, middle, x1],
        "right_lung": [z0, z1, y0, y1, x0, middle],
        "both_lungs": [z0, z1, y0, y1, x0, x1],
        "heart": [shape[0] // 4, shape[0] // 2, y0, y1, shape[2] // 4, 3 * shape[2] // 4],
    }


def _series(root: Path, exam: WrittenExam, number: int) -> Record:
    """Write the volume of an exam; return the exam's part of series.parquet."""
    voxels = exam.voxels
    if voxels is None:
        voxels = np.random.default_rng(number).normal(-400, 300, SHAPE).astype(np.int16)
    slices, rows, columns = voxels.shape
    z, y, x = exam.voxel_size
    geometry = Geometry(
        files=slices,
        copies=0,
        slices=slices,
        rows=rows,
        columns=columns,
        voxel_z=z,
        voxel_y=y,
        voxel_x=x,
        orientation=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        oblique_degrees=0.0,
        tilt_degrees=0.0,
        shift_mm=0.0,
        step_min_mm=z,
        step_max_mm=z,
        gaps=0,
        duplicates=0,
    )
    name = exam.series.get("series", SALT.hashed("series", str(number)))
    volume = root / volume_path(name)
    write_volume(volume, voxels)
    return {
        "series": name,
        "status": "kept",
        "reason": "",
        "detail": "",
        "preferred": True,
        **asdict(geometry),
        **asdict(measure_hu(voxels)),
        "manufacturer": "Maker",
        "model": "Model 1",
        "kernel": "STANDARD",
        "thickness_mm": z,
        "instance_first": 1,
        "instance_last": slices,
        **(boxes_inside(voxels.shape) if exam.boxes is None else exam.boxes),
        "volume": volume_path(name),
        "digest": file_digest(volume),
        **exam.series,
    }


def _nodule(row: Mapping[str, Any], number: int) -> Record:
    lobe = row.get("lobe")
    side = lung_of(lobe) if lobe else None
    return {**dict.fromkeys(NODULE), "number": number, "side": side, "new": False, **row}


def _label(row: Mapping[str, Any]) -> Record:
    return {"side": "", "nodule": -1, "slice_number": -1, "mask": [1.0] * len(row["label"]), **row}
