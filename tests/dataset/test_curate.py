"""Curation: nothing is lost, nothing depends on chance, and nobody can be recognised."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chests
import pandas as pd
import pytest
from chests import PATIENTS, Chests

from m3fm.cohort.source import open_source
from m3fm.config.sections import CurateConfig, SimulateConfig
from m3fm.core.artifacts import Reference, read_manifest
from m3fm.core.errors import InputError
from m3fm.dataset.curate import curate
from m3fm.dataset.validate import validate

pytestmark = pytest.mark.integration


def table(dataset: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(dataset / f"{name}.parquet")


def contents(dataset: Path) -> dict[str, bytes]:
    return {str(p.relative_to(dataset)): p.read_bytes() for p in dataset.rglob("*") if p.is_file()}


def test_every_series_is_kept_or_rejected_for_a_reason(curated):
    series = table(curated, "series")
    rejected = series[series["status"] == "rejected"]
    counts = read_manifest(curated)["counts"]
    assert rejected["reason"].value_counts().to_dict() == {
        "localizer": PATIENTS,
        "too_few_slices": 1,
        "gap": 1,
    }
    assert counts["rejected"] == {"localizer": PATIENTS, "too_few_slices": 1, "gap": 1}
    assert counts["kept"] == 2 * PATIENTS + len(chests.STRANGERS)
    assert counts["series_seen"] == len(series) == counts["kept"] + len(rejected)
    assert sorted(p.stem for p in (curated / "volumes").iterdir()) == sorted(
        series.loc[series["status"] == "kept", "series"]
    )
    assert not list(curated.parent.glob(".*")), "what was needed to resume is gone"


def test_series_belong_to_the_exams_of_the_tables(curated):
    series, exams, labels = (table(curated, name) for name in ("series", "exams", "labels"))
    assert len(exams) == PATIENTS + 1 + len(chests.STRANGERS), "one without images, and the strangers'"
    assert series.groupby("exam")["patient"].nunique().max() == 1
    listed = set(exams.loc[exams["age"].notna(), "exam"])
    assert len(listed) == PATIENTS
    assert len(set(series["exam"]) - listed) == len(chests.STRANGERS)
    assert not (set(series["exam"]) - listed) & set(labels["exam"])
    imageless = labels[~labels["exam"].isin(series["exam"])]
    assert imageless["task"].to_list() == ["lung_rads"], "the one task that needs no image"


def test_soft_kernel_is_preferred(curated):
    series = table(curated, "series")
    kept = series[series["status"] == "kept"]
    assert set(kept.loc[kept["preferred"], "kernel"]) == {"STANDARD"}
    assert (kept.groupby("exam")["preferred"].sum() == 1).all()
    assert not series.loc[series["status"] == "rejected", "preferred"].any()


def test_splits_are_those_of_one_table(curated):
    split_of = table(curated, "splits").set_index("patient")["split"]
    for name in ("series", "exams", "nodules", "labels"):
        rows = table(curated, name)
        assert (rows["patient"].map(split_of) == rows["split"]).all()


def test_same_bytes_with_one_worker_in_another_order_over_a_stale_attempt(curated, images, tmp_path):
    stale = tmp_path / ".dataset.partial"
    (stale / "records").mkdir(parents=True)
    (stale / "volumes").mkdir()
    (stale / "records" / "inputs.json").write_text("{}\n")
    (stale / "volumes" / "0123456789abcdef.npy").write_bytes(b"of another source")
    for name in table(curated, "series")["series"]:
        (stale / "records" / f"{name}.json").write_text('{"status": "rejected"}')
    curate(chests.Chests(images, PATIENTS, backwards=True), tmp_path / "dataset", CurateConfig(), workers=1)
    assert contents(tmp_path / "dataset") == contents(curated)


SCRIPT = """
import sys
from pathlib import Path
import chests
from m3fm.config.sections import CurateConfig
from m3fm.dataset.curate import curate
curate(chests.Chests(Path(sys.argv[1]), int(sys.argv[2])), Path(sys.argv[3]), CurateConfig(), 2)
"""


def test_killed_and_resumed_gives_the_same_and_repeats_nothing(curated, images, tmp_path):
    out, partial = tmp_path / "dataset", tmp_path / ".dataset.partial"
    command = [sys.executable, "-c", SCRIPT, str(images), str(PATIENTS), str(out)]

    def finished() -> dict[str, int]:
        done = {path.stem for path in partial.glob("records/[!.]*.json")}
        return {p.name: p.stat().st_mtime_ns for p in partial.glob("volumes/[!.]*.npy") if p.stem in done}

    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(finished()) < 3:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # Ray's processes follow their driver
    untouched = finished()
    damaged, _ = untouched.popitem()
    (partial / "volumes" / damaged).write_bytes(b"half a volume")
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert Reference.to(out).digest == Reference.to(curated).digest
    assert contents(out) == contents(curated)
    assert all((out / "volumes" / name).stat().st_mtime_ns == when for name, when in untouched.items())


@pytest.mark.slow
def test_killed_ten_times_at_random_moments_gives_the_same(curated, images, tmp_path):
    """Whenever it happens: while headers are read, series examined, tables written, folders renamed."""
    seed = time.time_ns()
    print(f"seed {seed}")
    moments = random.Random(seed)
    out = tmp_path / "dataset"
    command = [sys.executable, "-c", SCRIPT, str(images), str(PATIENTS), str(out)]

    def records() -> int:
        return len(list(tmp_path.glob(".dataset.partial/records/[0-9a-f]*[0-9a-f].json")))

    began = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    longest = time.monotonic() - began
    shutil.rmtree(out)
    left = [0]
    while len(left) <= 10:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        more = moments.randint(0, 3)
        while more and process.poll() is None and records() < left[-1] + more:
            time.sleep(0.005)
        try:
            process.wait(timeout=moments.uniform(0, 1 if more else longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            left.append(records())
        else:
            assert process.returncode == 0
            assert Reference.to(out).digest == Reference.to(curated).digest
            shutil.rmtree(out)
            left[-1] = 0
    print(f"series that were done after each: {left}")
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert contents(out) == contents(curated)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


@pytest.mark.parametrize("last", ["search for leaks", "last rename"])
def test_killed_in_its_last_steps_examines_nothing_again(
    curated, images, tmp_path, monkeypatch, last, cluster
):
    class Killed(BaseException):
        """What no code of ours expects, as a signal would be."""

    def kill(*args: object, **options: object) -> None:
        raise Killed

    rename = Path.rename
    out, source = tmp_path / "dataset", Chests(images, PATIENTS)
    with monkeypatch.context() as patched:
        if last == "search for leaks":
            patched.setattr("m3fm.privacy.leaks.Leaks.check", kill)
        else:
            patched.setattr(Path, "rename", lambda path, to: (kill if to == out else rename)(path, to))
        with pytest.raises(Killed):
            curate(source, out, CurateConfig(), workers=2)
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob(".dataset.partial/volumes/*")}
    assert len(written) == 10
    curate(source, out, CurateConfig(), workers=2)
    assert contents(out) == contents(curated)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "volumes").iterdir()} == written
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_a_crash_rejects_one_series_and_not_the_run(images, tmp_path, curated, capfd, cluster, monkeypatch):
    monkeypatch.setattr("m3fm.dataset.examine.examine", chests.examine_with_faults)
    curate(chests.Chests(images, PATIENTS), tmp_path / "dataset", CurateConfig(), workers=2)
    series, usual = table(tmp_path / "dataset", "series"), table(curated, "series")
    crashed = series[series["reason"] == "crashed"]
    details = sorted(crashed["detail"])
    assert len(details) == 2
    assert details[0] == "WorkerCrashedError: the process that examined it died"
    assert details[1].startswith("ZeroDivisionError at m3fm.dataset.examine:")
    shown = "".join(capfd.readouterr()) + "".join(details)
    assert not any(patient in shown for patient in chests.STRANGERS), "the error's message names the patient"
    others = usual[~usual["series"].isin(crashed["series"])]
    pd.testing.assert_frame_equal(
        series[series["reason"] != "crashed"].reset_index(drop=True),
        others.reset_index(drop=True),
        check_dtype=False,  # with a count that is not known, pandas makes floats of all
    )


def test_nothing_in_a_dataset_names_a_patient(curated):
    tables = {
        name: table(curated, name).to_csv() for name in ("series", "exams", "nodules", "labels", "splits")
    }
    everything = {**{name: text.encode() for name, text in tables.items()}, **contents(curated)}
    patients = [str(100200 + number) for number in range(PATIENTS)] + list(chests.STRANGERS)
    for name, data in everything.items():
        for secret in [*patients, chests.UID, "Doe", "19990102", "1999-01-02", "19400229", "T0"]:
            if secret == "T0" and name.endswith((".parquet", ".npy")):
                continue  # two bytes occur by chance in compressed data
            assert secret not in name
            assert secret.encode() not in data, f"{secret} in {name}"


def test_source_without_series_is_refused(tmp_path, cluster):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "readme.txt").write_text("nothing here")
    with pytest.raises(InputError, match="chests holds no DICOM series"):
        curate(chests.Chests(tmp_path, 0), tmp_path / "dataset", CurateConfig(), workers=1)
    assert not (tmp_path / "dataset").exists()


def test_simulated_cohort_becomes_a_valid_dataset(tmp_path, cluster):
    from m3fm.simulate import simulate

    simulate(tmp_path / "cohort", SimulateConfig(patients=6, slices=(64, 65)), workers=2)
    curate(open_source("nlst", tmp_path / "cohort"), tmp_path / "dataset", CurateConfig(), workers=2)
    validate(tmp_path / "dataset", tmp_path / "validation")
    counts = read_manifest(tmp_path / "dataset")["counts"]
    assert counts["patients"] == 6
    assert counts["rejected"]["localizer"] == counts["exams"]
    assert counts["kept"] > counts["exams"]
    assert all(sum(counts["labels"][task].values()) for task in counts["labels"])
    everything = b"".join(contents(tmp_path / "dataset").values()).decode("latin1")
    everything += "".join(
        table(tmp_path / "dataset", name).to_csv() for name in ("series", "exams", "labels")
    )
    for secret in (f"1000{n:02}" for n in range(1, 7)):
        assert secret not in everything
