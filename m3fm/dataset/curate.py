"""From a source of exams to a dataset: one Ray task per series, then the tables.

All tables of the source are read and checked before any image. A series is kept, or rejected for a named
reason; none is lost. What an interrupted run has done is not done again: every series leaves a record beside
the volumes until the tables are written. The records depend on the images alone, so a table that is corrected
meanwhile changes none. The dataset depends on the source, the configuration, the salt and this code, not on
the number of workers or the order of their work. It is not written where anything that the source says of its
patients is found in it.
"""

import logging
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from m3fm.clinical.records import ExamRecord
from m3fm.clinical.tasks import SCREENING
from m3fm.cohort.source import Source, images_digest
from m3fm.cohort.splits import patient_strata, split_patients
from m3fm.config.sections import CurateConfig
from m3fm.config.steps import CURATE, EXAMINE
from m3fm.core.artifacts import seal, written_whole
from m3fm.core.errors import InputError
from m3fm.core.files import text_digest, to_json, write_json
from m3fm.core.progress import tracked
from m3fm.core.ray import ray_cluster
from m3fm.ct import masks
from m3fm.ct.arrange import Geometry
from m3fm.ct.headers import index
from m3fm.ct.plausible import HuFigures
from m3fm.ct.unread import Unread, count_beside, find_unread, reasons_of
from m3fm.dataset import examine
from m3fm.dataset.examine import CRASHED, WORK
from m3fm.dataset.links import check_links, check_spellings, check_studies, counts_of_links
from m3fm.dataset.tables import (
    SCHEMA_VERSION,
    SPLITS,
    Exam,
    Record,
    exam_row,
    label_rows,
    nodule_rows,
    write_table,
)
from m3fm.privacy.identifiers import in_tables
from m3fm.privacy.leaks import Leaks
from m3fm.privacy.pseudonyms import Salt, check_fingerprint, with_fingerprint

log = logging.getLogger(__name__)

FOLDERS_LOGGED = 20
"""Most folders that are named in the log for files that cannot be read."""
FILES_PER_TASK = 2000
"""Headers that one task reads to find the series."""
SHARP_KERNEL = re.compile(r"BONE|LUNG|EDGE|DETAIL|\b[BIQ][A-Z]?[5-9]\d|FC[58]\d|FC3[01]|^[DEL]$")
"""Reconstruction kernels for lung and bone, as GE, Siemens, Toshiba and Philips name them."""

OF_TABLES = frozenset({"labels", "max_unlinked", "seed", "test_fraction", "val_fraction"})
"""Fields of the configuration that change the tables alone, and no record of a series."""

Call = tuple[Any, ...]


def curate(source: Source, out: Path, config: CurateConfig, workers: int) -> None:
    """Write the dataset of a source to `out`, all of it or nothing, with `workers` processes.

    The salt of all hashes is the environment's. Raises InputError where that is not the configured one, where
    rows of the source's tables link to nothing, where the source has no series, where TotalSegmentator is
    asked for and not there, and where the dataset would identify its patients. After an interruption, the
    same call resumes.
    """
    config = with_fingerprint(config)
    salt = check_fingerprint(config.salt_fingerprint)
    listed = source.exams()
    check_links(source.links(), config.max_unlinked, salt)
    inputs = CURATE.depends_on(None, source=source.digest(), config=config.digest())
    if config.regions.source == "totalsegmentator":
        masks.check_totalsegmentator()
    done = out.with_name(f".{out.name}.done")
    with written_whole(out, resume=True) as partial:
        if done.is_dir() and not (partial / WORK).exists():
            done.rename(partial / WORK)  # it ended between its last two steps
        _start(partial, _images(source, config))
        names, files = _examine_all(source, partial, config, workers, salt)
        records = [examine.read_record(partial, name) for name in sorted(names)]
        counts, leaks = write_tables(partial, source, listed, records, config, salt)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "source": {"name": source.name, "digest": inputs["source"], "simulated": source.simulated},
            "config": inputs["config"],
            "regions": config.regions.model_dump(mode="json"),
            "counts": {**files, **counts},
        }
        seal(partial, "dataset.json", manifest, unlisted=("volumes", WORK))
        for name in names:
            leaks.add(examine.read_seen(partial, name))
        try:
            leaks.check(partial, skipped=[WORK])
        except InputError:
            for path in filter(Path.is_file, partial.iterdir()):
                path.unlink()
            raise
        shutil.rmtree(done, ignore_errors=True)
        (partial / WORK).rename(done)
    shutil.rmtree(done)


def _images(source: Source, config: CurateConfig) -> dict[str, Any]:
    """Return what the records depend on: the images, the code, and the fields that no table needs."""
    chosen = to_json(config.model_dump(mode="json", exclude=set(OF_TABLES)))
    return EXAMINE.depends_on(None, images=images_digest(source.image_paths()), config=text_digest(chosen))


def _start(partial: Path, inputs: dict[str, Any]) -> None:
    """Make a new start, unless what an interrupted run left is of the same images."""
    asked = partial / WORK / "inputs.json"
    if not asked.is_file() or asked.read_text() != to_json(inputs):
        shutil.rmtree(partial)
        (partial / "volumes").mkdir(parents=True)
        (partial / WORK / "seen").mkdir(parents=True)
        write_json(asked, inputs)


def _examine_all(
    source: Source, partial: Path, config: CurateConfig, workers: int, salt: Salt
) -> tuple[list[str], dict[str, Any]]:
    """See to it that every series has a record; gives the series' hashes, and the counts of other files."""
    import ray

    with ray_cluster(workers):
        paths = list(source.image_paths())
        found = _gathered("reading headers", "series", _index, paths, workers)
        unread = find_unread(paths, found)
        if not found:
            reasons = reasons_of(Counter(file.reason for file in unread.values()))
            why = f"holds no DICOM series (its files: {reasons})" if unread else "holds no DICOM series"
            raise InputError(f"the source {source.name} {why}: nothing to curate")
        ignored = {"files_of_no_series": len(paths) - sum(map(len, found.values()))}
        ignored |= _count_unread(paths, unread, salt)
        segmentations = dict[str, list[Path]]()
        if config.regions.source == "segmentations":
            segmentations = _gathered(
                "looking for segmentations", "segmented series", masks.find_segmentations, paths, workers
            )
        beside = {} if config.keep_incomplete else count_beside(unread.values())
        calls: list[Call] = [
            (
                salt.hashed("series", uid),
                uid,
                sorted(files),
                sorted(segmentations.get(uid, ())),
                beside.get(uid, {}),
                partial,
                config,
                salt,
            )
            for uid, files in found.items()
        ]
        counts: Counter[str] = Counter()
        with tracked("curating series", len(calls)) as advance:
            for (name, uid, files, *_), status in _unordered(examine.examine, calls, 4 * workers):
                try:
                    counts[ray.get(status)] += 1
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as death:
                    scan = examine.read_header(uid, files)
                    detail = f"{type(death).__name__}: the process that examined it died"
                    if not examine.seen_path(partial, name).is_file():
                        examine.remember(partial, name, files, salt)
                    record = examine.make_record(
                        scan, salt, CRASHED, detail, {}, Geometry(files=len(files)), HuFigures()
                    )
                    write_json(examine.record_path(partial, name), record)
                    counts["rejected"] += 1
                advance(counts.total(), ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    return [name for name, *_ in calls], ignored


def _count_unread(paths: list[Path], unread: dict[Path, Unread], salt: Salt) -> dict[str, Any]:
    """Count the unread files by reason, and by hash of their folder; give nothing where there are none.

    A path may hold a patient's name, so that none is written; the log of this terminal names the folders.
    """
    if not unread:
        return {}
    folders: dict[Path, Counter[str]] = defaultdict(Counter)
    for path, file in unread.items():
        folders[path.parent][file.reason] += 1
    for folder, counts in islice(sorted(folders.items()), FOLDERS_LOGGED):
        log.warning("Files in %s cannot be read: %s", folder, reasons_of(counts))
    if len(folders) > FOLDERS_LOGGED:
        log.warning("Files in %d more folders cannot be read", len(folders) - FOLDERS_LOGGED)
    root = os.path.commonpath([path.parent for path in paths])
    return {
        "unread": dict(sum(folders.values(), Counter[str]())),
        "unread_by_folder": {
            salt.hashed("folder", os.path.relpath(folder, root)): dict(counts)
            for folder, counts in folders.items()
        },
    }


def _gathered(
    doing: str,
    what: str,
    function: Callable[[list[Path]], dict[str, list[Path]]],
    paths: list[Path],
    workers: int,
) -> dict[str, list[Path]]:
    """Collect the files of every series, by SeriesInstanceUID, found by a function."""
    import ray

    found: dict[str, list[Path]] = defaultdict(list)
    read = 0
    batches = ((paths[start : start + FILES_PER_TASK],) for start in range(0, len(paths), FILES_PER_TASK))
    with tracked(doing, len(paths)) as advance:
        for (batch,), part in _unordered(function, batches, 2 * workers):
            for uid, files in ray.get(part).items():
                found[uid] += files
            read += len(batch)
            advance(read, f"{len(found)} {what}")
    return found


def _index(paths: list[Path]) -> dict[str, list[Path]]:
    with examine.quiet_pydicom():
        return index(paths)


def _unordered(function: Any, calls: Iterable[Call], at_once: int) -> Iterator[tuple[Call, Any]]:
    """Run a function on Ray; gives the arguments and the reference to the result of each call as it ends.

    `at_once` calls are under way at any time, however many there are.
    """
    import ray

    remote = ray.remote(max_retries=1)(function)
    remaining = iter(calls)
    running: dict[Any, Call] = {}
    while True:
        for call in islice(remaining, at_once - len(running)):
            running[remote.remote(*call)] = call
        if not running:
            return
        (done,), _ = ray.wait(list(running))
        yield running.pop(done), done


def write_tables(
    partial: Path,
    source: Source,
    listed: list[ExamRecord],
    records: list[Record],
    config: CurateConfig,
    salt: Salt,
) -> tuple[dict[str, Any], Leaks]:
    """Write the five tables; gives the manifest's counts, and what the source's tables must not leak.

    `listed` are the exams of the source's tables, and `records` those of all series.
    """
    exams = [_exam(source, record, salt) for record in listed]
    tables = list(exams)
    check_spellings(records, tables)
    others = check_studies(records, tables, config.max_unlinked)
    leaks, site = _leaks(listed, salt), {exam.patient: exam.site for exam in tables}
    exam_of = _exam_of(exams, records, salt, source.site(""))
    unlisted = {exam.id for exam in exams[len(tables) :]}
    without = sum(exam in unlisted for exam in exam_of.values()) if tables else 0
    if records and without == len(records):
        raise InputError(
            f"none of the {without} series belongs to an exam of the source's tables: correct their patients,"
            " studies or years"
        )
    strata = patient_strata(
        {exam.patient for exam in exams}, [exam.record for exam in exams], source.test_only
    )
    splits = split_patients(strata, config)
    preferred = _preferred(records, exam_of)
    series = (
        {
            **record,
            "exam": exam_of[record["series"]],
            "source": source.name,
            "site": site.get(record["patient"], source.site("")),
            "split": splits[record["patient"]],
            "preferred": preferred.get(exam_of[record["series"]]) == record["series"],
        }
        for record in records
    )
    rows: dict[str, Iterable[Record]] = {
        "series": series,
        "exams": (exam_row(exam, source.name, splits[exam.patient]) for exam in exams),
        "nodules": (row for exam in exams for row in nodule_rows(exam, splits[exam.patient])),
        "labels": (
            row for exam in exams for row in label_rows(exam, splits[exam.patient], exam.id in preferred)
        ),
        "splits": ({"patient": patient, "split": split} for patient, split in splits.items()),
    }
    per_task: Counter[tuple[str, str]] = Counter()
    for name, part in rows.items():
        table = write_table(partial, name, part)
        if name == "labels":
            counted = table.group_by(["task", "split"]).aggregate([([], "count_all")]).to_pylist()
            per_task.update({(row["task"], row["split"]): row["count_all"] for row in counted})

    rejected = Counter(record["reason"] for record in records if record["status"] == "rejected")
    kept = sum(record["status"] == "kept" for record in records)
    assert kept + rejected.total() == len(records), "a series is neither kept nor rejected"
    return {
        "series_seen": len(records),
        "kept": kept,
        "rejected": dict(rejected),
        "exams": len(exams),
        "patients": len(splits),
        "series_without_exam": without,
        "studies_of_other_patients": others,
        "unlinked": counts_of_links(source.links(), config.max_unlinked),
        "labels": {task: {split: per_task[task, split] for split in SPLITS} for task in SCREENING},
    }, leaks


def _exam(source: Source, listed: ExamRecord, salt: Salt) -> Exam:
    """Return an exam of the tables, with hashes in place of its patient and study."""
    patient = salt.hashed("patient", listed.patient_id)
    study = salt.hashed("study", listed.study_uid) if listed.study_uid else None
    name = salt.hashed("exam", f"{patient} {listed.timepoint}")
    site = source.site(listed.patient_id)
    return Exam(name, site, replace(listed, patient_id=patient, study_uid=study))


def _leaks(listed: list[ExamRecord], salt: Salt) -> Leaks:
    """Remember what the tables call patients and studies as what must not be leaked."""
    leaks = Leaks(salt)
    studies = {exam.study_uid for exam in listed if exam.study_uid}
    leaks.add_table("the patients of its tables", in_tables({exam.patient_id for exam in listed}, salt))
    leaks.add_table("the studies of its tables", in_tables(studies, salt))
    return leaks


def _exam_of(exams: list[Exam], records: list[Record], salt: Salt, site: str) -> dict[str, str]:
    """Return the exam of each series, and add those that the tables do not list.

    A series belongs to the exam of its study, or else of its patient and screening year; where tables know
    of neither, its study is an exam of its own at `site`, without labels.
    """
    by_study = {(exam.patient, exam.record.study_uid): exam for exam in exams}
    by_year = {(exam.patient, exam.record.timepoint): exam for exam in exams}
    exam_of = {}
    for record in records:
        patient, study, timepoint = record["patient"], record["study"], record["timepoint"]
        exam = by_study.get((patient, study)) or by_year.get((patient, timepoint))
        if exam is None:
            unlisted = ExamRecord(patient_id=patient, timepoint=timepoint, study_uid=study)
            exam = Exam(salt.hashed("exam", f"{patient} {study}"), site, unlisted)
            by_study[patient, study] = exam
            exams.append(exam)
        exam_of[record["series"]] = exam.id
    return exam_of


def _preferred(records: list[Record], exam_of: dict[str, str]) -> dict[str, str]:
    """Choose the preferred series of each exam, by exam.

    Of the kept ones that with a soft kernel, because the tasks of the heart need it and those of the lung
    bear it; among these the one with the thinnest spacing; among these any, but always the same.
    """
    kept: dict[str, list[tuple[bool, float, str]]] = defaultdict(list)
    for record in records:
        if record["status"] == "kept":
            sharp = SHARP_KERNEL.search(record["kernel"].upper()) is not None
            kept[exam_of[record["series"]]].append((sharp, record["voxel_z"], record["series"]))
    return {exam: min(choices)[-1] for exam, choices in kept.items()}
