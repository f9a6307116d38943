"""What links to nothing is counted or refused, and correcting a table keeps the work on images."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import chests
import pytest
from chests import PATIENTS, STRANGERS, Chests

from m3fm.cohort.keys import Link, normal
from m3fm.cohort.source import images_digest, open_source
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.dataset.curate import curate
from m3fm.dataset.links import check_links, check_spellings, check_studies, counts_of_links
from m3fm.dataset.tables import Exam
from m3fm.privacy.pseudonyms import Salt

SALT = Salt("a salt for tests")


def linked(unlinked: int, rows: int = 100) -> Link:
    """A table of which some rows link to nothing."""
    examples = tuple((f"line {row + 2}", str(100900 + row)) for row in range(unlinked))
    return Link("ctab", Path("tables/ctab.csv"), "screen", rows, examples)


def test_rows_without_a_link_are_refused_above_the_limit_with_hashed_examples():
    check_links([linked(1), linked(0, 0)], 0.01, SALT)
    with pytest.raises(InputError) as refusal:
        check_links([linked(1), linked(5)], 0.01, SALT)
    message = str(refusal.value)
    assert message.startswith("tables/ctab.csv: 5 of 100 rows link to no row of screen, more than 0.01")
    assert f"line 2 (patient {SALT.hashed('patient', '100900')})" in message
    assert message.count("(patient ") == 3
    assert "1009" not in message
    assert "\n" not in message


def test_links_are_counted_by_table():
    assert counts_of_links([linked(1)], 0.02) == {
        "ctab": {"rows": 1, "fraction": 0.01, "limit": 0.02, "empty": False}
    }
    assert counts_of_links([linked(0, 0)], 0.02)["ctab"] == {
        "rows": 0,
        "fraction": 0.0,
        "limit": 0.02,
        "empty": True,
    }


def hashed_exams() -> list[Exam]:
    """The exams of the tables as curation hashes them."""
    return [
        Exam(
            f"exam {number}",
            "site",
            replace(
                listed,
                patient_id=SALT.hashed("patient", listed.patient_id),
                study_uid=SALT.hashed("study", listed.study_uid) if listed.study_uid else None,
            ),
        )
        for number, listed in enumerate(chests.records(PATIENTS))
    ]


def image(patient: str, study: str) -> dict[str, str]:
    """The identifiers in the record of a series."""
    return {
        "patient": SALT.hashed("patient", normal(patient)),
        "spelled": SALT.hashed("patient", patient),
        "study": SALT.hashed("study", study),
    }


STUDY = chests.study_uid("100200", 0)


def test_two_spellings_of_a_patient_need_a_listed_study_each():
    exams = hashed_exams()
    check_spellings([image("100200", STUDY), image("0100200", STUDY)], exams)
    check_spellings([image("0100200", "unlisted"), image("0100200", "another")], exams)
    for images in (
        [image("100200", STUDY), image("0100200", "unlisted")],
        [image("7", "unlisted"), image("07", "another")],
        [image("p1", "unlisted"), image("P1", "another")],
    ):
        with pytest.raises(InputError, match="1 patients have PatientIDs that differ only in spelling"):
            check_spellings(images, exams)


def test_a_study_of_another_patient_is_refused_or_counted():
    exams = hashed_exams()
    right = [image(exam.patient_id, exam.study_uid) for exam in chests.records(PATIENTS) if exam.study_uid]
    assert check_studies(right, exams, 0.01) == 0
    wrong = [*right[1:], image("555555", STUDY)]
    assert check_studies(wrong, exams, 0.5) == 1
    with pytest.raises(InputError, match="1 of 4 studies have another PatientID in the images than in the"):
        check_studies(wrong, exams, 0.01)


def test_images_are_known_by_path_size_and_time_in_any_order(tmp_path):
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_text("slice")
    first = images_digest(paths)
    assert images_digest(paths[::-1]) == first
    paths[0].write_text("other")
    assert images_digest(paths) != first


@dataclass
class Elsewhere(Chests):
    """A source whose tables are of other patients than its images."""

    def exams(self):
        return [replace(exam, patient_id=f"7{exam.patient_id}", study_uid=None) for exam in super().exams()]


@pytest.mark.integration
def test_series_without_an_exam_are_counted_and_a_source_of_nothing_else_is_refused(
    images, curated, tmp_path, cluster
):
    counts = read_manifest(curated)["counts"]
    assert counts["series_without_exam"] == len(STRANGERS)
    assert counts["studies_of_other_patients"] == 0
    assert counts["unlinked"]["findings"] == {"rows": 0, "fraction": 0.0, "limit": 0.01, "empty": False}
    with pytest.raises(InputError, match="none of the 16 series belongs to an exam of the source's tables"):
        curate(Elsewhere(images, PATIENTS), tmp_path / "dataset", CurateConfig(), workers=2)


def test_tables_are_refused_before_any_image_is_looked_at(images, tmp_path):
    """No Ray is started: the test does not carry the mark for it."""
    out = tmp_path / "dataset"
    with pytest.raises(InputError, match=r"findings\.csv: 5 of 100 rows link to no row of exams"):
        curate(Chests(images, PATIENTS, orphans=5), out, CurateConfig(), workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_cannot_be_right_is_refused_before_any_image(tmp_path):
    from m3fm.config.sections import SimulateConfig
    from m3fm.simulate.course import draw_course
    from m3fm.simulate.tables import patient_rows, write_tables

    course = draw_course(SimulateConfig(), 0)
    images = {plan.uid: 70 for exam in course.exams for plan in exam.series}
    write_tables(tmp_path / "tables", [patient_rows(course.person, course.outcome, course.exams, images)])
    (tmp_path / "images").mkdir()
    prsn = tmp_path / "tables" / "prsn.csv"
    text = prsn.read_text()
    prsn.write_text(text.replace(",66.0,", ',"66,0",', 1))
    assert prsn.read_text() != text
    with pytest.raises(InputError, match=r"prsn\.csv, line 2, pkyr: '66,0' is not a number"):
        curate(open_source("nlst", tmp_path), tmp_path / "dataset", CurateConfig(), workers=1)
    assert not list(tmp_path.glob(".dataset*"))


class Stopped(BaseException):
    """What no code of ours expects, as a signal would be."""


@pytest.mark.integration
def test_a_corrected_table_keeps_the_records_of_the_images(images, tmp_path, monkeypatch, cluster):
    """Interrupted after the images, with fewer patients in its tables; then the tables are completed."""

    def stop(*arguments: object) -> None:
        raise Stopped

    out = tmp_path / "dataset"
    with monkeypatch.context() as patched:
        patched.setattr("m3fm.dataset.curate.write_tables", stop)
        with pytest.raises(Stopped):
            curate(Chests(images, PATIENTS - 1), out, CurateConfig(), workers=2)
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob(".dataset.partial/records/*.json")}
    assert len(done) > 10
    volumes = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob(".dataset.partial/volumes/*")}
    curate(Chests(images, PATIENTS), out, CurateConfig(seed=7, max_unlinked=0.5), workers=2)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "volumes").iterdir()} == volumes
    fresh = tmp_path / "fresh"
    curate(Chests(images, PATIENTS), fresh, CurateConfig(seed=7, max_unlinked=0.5), workers=2)
    for path in fresh.glob("*.*"):
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.integration
def test_a_changed_image_is_read_again(images, tmp_path, monkeypatch, cluster):
    def stop(*arguments: object) -> None:
        raise Stopped

    root, out = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(images / "images" / "100200" / "0", root / "images" / "100200" / "0")
    with monkeypatch.context() as patched:
        patched.setattr("m3fm.dataset.curate.write_tables", stop)
        with pytest.raises(Stopped):
            curate(Chests(root, PATIENTS), out, CurateConfig(), workers=2)
    (before,) = tmp_path.glob(".dataset.partial/volumes/*")
    written = before.stat().st_mtime_ns
    slice_ = next(root.rglob("*.dcm"))
    slice_.write_bytes(slice_.read_bytes())
    curate(Chests(root, PATIENTS), out, CurateConfig(), workers=2)
    (after,) = (out / "volumes").iterdir()
    assert after.stat().st_mtime_ns != written
