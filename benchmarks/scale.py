"""A dataset of the paper's size, rows only: `make bench-scale` (or `python benchmarks/scale.py [SERIES]`).

163,725 series with the labels of all 17 tasks go through the code that curation, validation, training and
comparison use: tables, splits, the search for leaks, Great Expectations, the MQA index, the difference of
two datasets. There is one volume, of which all series claim to be. Prints seconds and the most memory of
each stage; every stage is a process of its own.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import BOXES, SCREENING, TASKS
from m3fm.cohort.keys import Link
from m3fm.config.presets import TINY_SCALES
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import seal
from m3fm.core.files import file_digest, text_digest
from m3fm.ct.arrange import Geometry
from m3fm.ct.plausible import HuFigures
from m3fm.ct.store import write_volume
from m3fm.ct.volume import Series
from m3fm.dataset import examine
from m3fm.dataset.curate import write_tables
from m3fm.dataset.tables import Record
from m3fm.privacy.identifiers import Seen
from m3fm.privacy.pseudonyms import Salt

PAPER = 163_725
"""Series."""
SERIES_PER_EXAM, EXAMS_PER_PATIENT = 2, 3
SHAPE = (64, 8, 8)
SECONDS, MEGABYTES = 300, 4000
"""What all stages together, and each of them, may take."""


GEOMETRY = Geometry(
    files=90,
    copies=0,
    slices=90,
    rows=64,
    columns=64,
    voxel_z=2.0,
    voxel_y=0.7,
    voxel_x=0.7,
    orientation=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    oblique_degrees=0.0,
    tilt_degrees=0.0,
    shift_mm=0.0,
    step_min_mm=2.0,
    step_max_mm=2.0,
    gaps=0,
    duplicates=0,
)
HU = HuFigures(air_hu=-1000.0, air_fraction=0.3, soft_fraction=0.4, jump_hu=50.0, hu_low=-1024, hu_high=1500)


class Trial:
    """A source without images: `series` series of made-up patients."""

    name = "trial"
    test_only = False
    simulated = True

    def __init__(self, series: int) -> None:
        self.series = series

    def site(self, patient: str) -> str:
        """Return one of 33 centres."""
        return f"trial-{int(patient or 0) % 33}"

    def links(self) -> list[Link]:
        """Return nothing: there are no tables."""
        return []

    def image_paths(self) -> Iterable[Path]:
        """Return no path."""
        return []

    def digest(self) -> str:
        """Return a digest that never changes."""
        return text_digest(f"trial of {self.series}")

    def listing(self) -> pa.Table:
        """Return nothing: what is kept is known from the records."""
        return pa.table({})

    def exam(self, number: int) -> tuple[str, int, str]:
        """Return patient, screening year and study of an exam."""
        patient, year = divmod(number, EXAMS_PER_PATIENT)
        return str(500_000 + patient), year, f"1.2.826.0.1.3680043.8.498.5.{number}"

    def exams(self) -> list[ExamRecord]:
        """Return every exam, with all that a report and a record can hold."""
        rng = np.random.default_rng(7)
        return [self._record(number, rng) for number in range(-(-self.series // SERIES_PER_EXAM))]

    def _record(self, number: int, rng: np.random.Generator) -> ExamRecord:
        patient, year, study = self.exam(number)
        event = int(rng.integers(0, 6)) if rng.random() < 0.05 else None
        binary = [name for name in SCREENING if TASKS[name].binary and name != "covid19"]
        return ExamRecord(
            patient_id=patient,
            timepoint=year,
            study_uid=study,
            elements={name: _value(name, rng) for name in ELEMENTS},
            findings=dict(zip(binary, rng.integers(0, 2, len(binary)).tolist())),
            nodules=[_nodule(index, rng) for index in range(int(rng.integers(0, 4)))],
            risks={"lung_cancer_risk": _risk(event), "cvd_mortality": _risk(None)},
            cancer_side="left" if event is not None else None,
            covid19=int(rng.integers(0, 2)),
            lung_rads=int(rng.integers(1, 5)),
        )

    def records(self, salt: Salt) -> Iterator[Record]:
        """Make the records of all series, as examining them would leave them; one in ten is rejected."""
        voxels = np.zeros(SHAPE, np.int16)
        boxes = dict.fromkeys(BOXES, (8, 56, 1, 7, 1, 7))
        for number in range(self.series):
            patient, year, study = self.exam(number // SERIES_PER_EXAM)
            scan = Series(
                voxels=voxels,
                voxel_size=(2.0, 0.7, 0.7),
                origin_mm=(0.0, 0.0, 0.0),
                series_uid=f"1.2.826.0.1.3680043.8.498.7.{number}",
                study_uid=study,
                patient_id=patient,
                timepoint=f"T{year}",
                manufacturer="Maker",
                model=f"Model {number % 9}",
                kernel=("STANDARD", "B50f", "LUNG", "FC51")[number % 4],
            )
            reason = "" if number % 10 else "gap"
            detail = "" if number % 10 else f"6.00 mm after slice {number % 90}, usually 2.00"
            geometry = replace(GEOMETRY, gaps=int(bool(reason)))
            record = examine.make_record(scan, salt, reason, detail, boxes, geometry, HU)
            if not reason:
                record |= {"volume": "volumes/one.npy", "digest": text_digest(scan.series_uid)}
            yield record

    def seen(self) -> Iterator[Seen]:
        """Make the hashes of each series' headers: 24, none of which a dataset holds."""
        rng = np.random.default_rng(8)
        for marks in rng.integers(0, 2**63, (self.series, 24), np.int64).tolist():
            yield Seen(
                {"PatientID": marks[:8], "StudyDate": marks[8:16]}, {"StudyDescription": marks[16:]}, []
            )


def _value(name: str, rng: np.random.Generator) -> float | str | bool:
    element = ELEMENTS[name]
    low, high = element.bounds
    match element.kind:
        case "number" | "diagnosis":
            return float(rng.integers(int(max(low, 0)), int(high) + 1))
        case "category":
            values = list(element.codes.values())
            return str(values[rng.integers(len(values))])
    return bool(rng.random() < 0.5)


def _nodule(number: int, rng: np.random.Generator) -> Nodule:
    def one_of(task: str) -> str:
        return TASKS[task].answers[rng.integers(len(TASKS[task].answers))]

    return Nodule(
        number=number,
        lobe=one_of("nodule_location"),
        slice_number=int(rng.integers(1, 64)),
        long_mm=float(rng.integers(4, 31)),
        short_mm=4.0,
        margin=one_of("nodule_margin"),
        attenuation=one_of("nodule_attenuation"),
    )


def _risk(event: int | None) -> Risk:
    if event is None:
        return Risk(labels=(0,) * 6, mask=(1, 1, 1, 1, 1, 0))
    return Risk(
        labels=tuple(int(year >= event) for year in range(6)),
        mask=tuple(int(year <= event) for year in range(6)),
    )


def build(dataset: Path, series: int) -> str:
    """Write tables, splits and manifest from records, and search them for leaks."""
    salt, source, began = Salt("benchmark"), Trial(series), time.monotonic()
    (dataset / "volumes").mkdir(parents=True)
    write_volume(dataset / "volumes" / "one.npy", np.zeros(SHAPE, np.int16))
    records = list(source.records(salt))
    made = time.monotonic()
    counts, leaks = write_tables(dataset, source, source.exams(), records, CurateConfig(), salt)
    seal(dataset, "dataset.json", {"counts": counts, "source": source.name, "config": ""})
    written = time.monotonic()
    for seen in source.seen():
        leaks.add(seen)
    leaks.check(dataset)
    checked = time.monotonic()
    labels = sum(sum(splits.values()) for splits in counts["labels"].values())
    return (
        f"{counts['series_seen']} series, {counts['exams']} exams, {counts['patients']} patients,"
        f" {labels} labels;"
        f" records {made - began:.0f} s, tables and splits {written - made:.0f} s,"
        f" search for leaks {checked - written:.0f} s"
    )


def validate(dataset: Path, series: int) -> str:
    """Run all suites of Great Expectations, with their pages."""
    from m3fm.dataset.validate import validate as check

    check(dataset, dataset.with_name("validation"))
    return "passes"


def index(dataset: Path, series: int) -> str:
    """Build the MQA index of the training set, and draw a thousand rows of each task."""
    from m3fm.dataset.mqa import Mqa

    began = time.monotonic()
    mqa = Mqa(dataset, ("train",), TINY_SCALES)
    made = time.monotonic()
    rng = np.random.default_rng(0)
    texts = [mqa.text(task, mqa.draw(task, rng)) for task in SCREENING for _ in range(1000)]
    rows = sum(len(mqa.rows[task]) for task in SCREENING)
    drawn = (time.monotonic() - made) / len(texts) * 1e6
    return f"{rows} rows in {made - began:.0f} s; a row drawn with its text in {drawn:.0f} us"


def difference(dataset: Path, series: int) -> str:
    """Compare the dataset with itself, row by row."""
    from m3fm.dataset.diff import compare

    changes = compare(dataset, dataset)
    assert not changes["series"]["columns"]
    return f"{changes['series']['after']} series and all labels compared"


def measured(stage: Callable[[Path, int], str], dataset: Path, series: int) -> tuple[str, float, float]:
    """Run a stage; return its summary, its seconds, and the most megabytes of this process."""
    began = time.monotonic()
    said = stage(dataset, series)
    return said, time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run every stage; exit code 1 where the time or the memory is more than the paper's size may take."""
    series = int(sys.argv[1]) if len(sys.argv) > 1 else PAPER
    context = multiprocessing.get_context("spawn")
    seconds = most = 0.0
    with tempfile.TemporaryDirectory() as directory:
        dataset = Path(directory) / "dataset"
        for stage in (build, validate, index, difference):
            with ProcessPoolExecutor(1, context) as alone:
                said, took, memory = alone.submit(measured, stage, dataset, series).result()
            seconds, most = seconds + took, max(most, memory)
            print(f"{stage.__name__:<12}{took:6.1f} s {memory:6.0f} MB  {said}", flush=True)
        print(f"{'all':<12}{seconds:6.1f} s {most:6.0f} MB  of at most {SECONDS} s and {MEGABYTES} MB")
        print(f"labels.parquet has SHA-256 {file_digest(dataset / 'labels.parquet')[:16]}")
    sys.exit(seconds > SECONDS or most > MEGABYTES)


if __name__ == "__main__":
    main()
