"""The simulated lung cancer screening cohort: DICOM series of chest phantoms, and their tables."""

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m3fm.config.sections import SimulateConfig
from m3fm.core.artifacts import seal, written_whole
from m3fm.core.progress import tracked
from m3fm.simulate.course import draw_course
from m3fm.simulate.dicom import axial_slices, localizer_slices, write_series
from m3fm.simulate.exam import SimulatedExam
from m3fm.simulate.faults import FAULTS
from m3fm.simulate.lesions import draw_findings
from m3fm.simulate.people import Person
from m3fm.simulate.phantom import draw_chest
from m3fm.simulate.scanner import reconstruct
from m3fm.simulate.tables import CsvRow, patient_rows, write_tables
from m3fm.simulate.transfer import Candidate, draw_candidate, write_transfer


class Written(NamedTuple):
    """The records of a patient whose images are written; keys of series are SeriesInstanceUIDs."""

    rows: dict[str, list[CsvRow]]
    """Rows by table."""
    digests: dict[str, str]
    """Digest of each series."""
    broken: dict[str, str]
    """Fault of each broken series."""
    candidate: Candidate
    """Row and risk for the task of `transfer`."""


def simulate(out: Path, config: SimulateConfig, workers: int = 2) -> None:
    """Write a cohort to `out`: cohort.json, tables/, images/<patient>/<study>/<series>/*.dcm, and transfer/.

    The same configuration gives the same bytes with any number of processes, and a patient is the same in a
    cohort of any size. `cohort.json` lists the series that were broken on purpose, and their faults.
    """
    with written_whole(out) as partial:
        patients = list(_written(partial / "images", config, workers))
        counts = write_tables(partial / "tables", (patient.rows for patient in patients))
        transfer = write_transfer(partial / "transfer", (patient.candidate for patient in patients))
        broken = {uid: fault for patient in patients for uid, fault in patient.broken.items()}
        content = {
            "config": config.model_dump(mode="json"),
            "counts": {**counts, "broken": dict(Counter(broken.values())), "transfer": transfer},
            "broken": broken,
            "series": {uid: digest for patient in patients for uid, digest in patient.digests.items()},
        }
        seal(partial, "cohort.json", content)


def _written(images: Path, config: SimulateConfig, workers: int) -> Iterator[Written]:
    """Write the patients' images in several processes, and yield the patients in their order."""
    # Spawned, not forked: the calling process may have threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_end_with_parent)
    try:
        futures = [pool.submit(write_patient, images, config, number) for number in range(config.patients)]
        with tracked("simulated patients", config.patients) as advance:
            for number, future in enumerate(futures, 1):
                yield future.result()
                advance(number, "")
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End a worker when its parent is killed; it would otherwise write into the files of the next run."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_patient(images: Path, config: SimulateConfig, number: int) -> Written:
    """Write the images of one patient below `images`; patients are numbered from 0."""
    course = draw_course(config, number)
    counts: dict[str, int] = {}
    digests: dict[str, str] = {}
    for exam in course.exams:
        folder = images / str(course.person.pid) / exam.study_uid
        for uid, (count, digest) in write_exam(folder, course.person, exam, [config.seed, number]).items():
            counts[uid], digests[uid] = count, digest
    broken = {plan.uid: plan.fault for exam in course.exams for plan in exam.series if plan.fault}
    rows = patient_rows(course.person, course.outcome, course.exams, counts)
    candidate = draw_candidate(course, np.random.default_rng([config.seed, number, 11]))
    return Written(rows, digests, broken, candidate)


def write_exam(
    folder: Path, person: Person, exam: SimulatedExam, seed: list[int]
) -> dict[str, tuple[int, str]]:
    """Draw an exam and write its series; return the number of images and the digest of each series."""
    canvas = draw_chest(exam.anatomy, exam.grid, np.random.default_rng([*seed, 8]))
    draw_findings(canvas, exam.findings, [*seed, 9], exam.timepoint)
    written = {}
    for plan in exam.series:
        rng = np.random.default_rng([*seed, 10, exam.timepoint, plan.number])
        if plan.kernel is None:
            slices = localizer_slices(exam, np.rint(canvas.hu).astype(np.int16))
        else:
            slices = axial_slices(exam, reconstruct(canvas.hu, plan.kernel, rng))
        if plan.fault is not None:
            slices = FAULTS[plan.fault](slices, rng)
        digest = write_series(folder / plan.uid, slices, person, exam, plan, rng)
        written[plan.uid] = len(slices), digest
    return written
