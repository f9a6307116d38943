"""The command line: quick, light, and one line for bad input."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.core.artifacts import Reference, seal
from m3fm.core.state import State

pytestmark = pytest.mark.integration

COMMANDS = [
    "demo",
    "run",
    "cohort",
    "simulate",
    "curate",
    "validate",
    "pretrain",
    "train",
    "finetune",
    "evaluate",
    "export",
    "register",
    "plan",
    "dataset",
    "pull",
    "predict",
    "info",
]
HEAVY = {
    "torch",
    "ray",
    "pandas",
    "pyarrow",
    "kfp",
    "mlflow",
    "dvc",
    "great_expectations",
    "numpy",
    "sklearn",
}


def m3fm(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from m3fm.cli import main; main()", *arguments]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    for name in ("M3FM_STATE", "M3FM_SALT"):
        environment.pop(name, None)
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def test_help_lists_every_command_in_half_a_second():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = m3fm("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of processor time, which other programs on the machine do not change.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("│ ")]
    assert [name for name in listed if not name.startswith("-") and name != "│"] == COMMANDS


def test_commands_are_imported_without_heavy_libraries():
    code = "import sys, m3fm.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_writes_nothing(command, tmp_path):
    done = m3fm(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--help" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "out", "--params", "missing.yaml"], "missing.yaml"),
        (["simulate", "out", "--params", "wrong.yaml"], "wrong.yaml, simulate.patient"),
        (["curate", "nowhere", "out"], "nowhere"),
        (["curate", "empty", "out", "--kind", "tables"], "tables"),
        (["curate", "empty", "empty"], "empty already exists"),
        (["cohort", "tables", "empty"], "no source is of kind 'tables'"),
        (["cohort", "nlst"], "m3fm cohort nlst DIRECTORY"),
        (["cohort", "nlst", "empty", "--index", "x"], "--index and --download only work with idc"),
        (["cohort", "idc", "--index", "nowhere"], "nowhere is missing"),
        (["curate", "empty", "out", "--params", "salted.yaml"], "set the environment variable M3FM_SALT"),
        (["dataset", "diff", "empty", "empty"], "empty is not a finished"),
        (["dataset", "diff", "empty", "nowhere"], "nowhere is not a directory"),
        (["evaluate", "cohort", "cohort", "out"], "cohort is not a finished `m3fm train` output"),
        (["run", "screening", "--state", "a?b"], "give another --state"),
        (["pull", "m3fm", "empty"], "empty already exists"),
        (["plan", "--workers", "2,many"], "pass positive integers"),
        (["plan", "--workers", "0"], "pass positive integers"),
        (["validate", "nowhere", "out"], "nowhere is not a directory"),
        (["train", "empty", "out"], "empty is not a finished"),
        (["finetune", "empty", "task.yaml", "out"], "empty is not a finished `m3fm curate` output"),
        (["pull", "m3fm", "out"], "m3fm"),
        (["predict", "--bundle", "nowhere"], "nowhere is not a"),
        (["run", "screening", "--source", "nowhere"], "nowhere is not a directory"),
        (["dataset", "salt"], "M3FM_SALT is not set"),
        (["run", "screening", "--backend", "kfp"], "--host"),
    ],
)
def test_bad_input_gets_one_line_and_code_2(arguments, said, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cohort").mkdir()
    seal(tmp_path / "cohort", "cohort.json", {})
    (tmp_path / "wrong.yaml").write_text("preset: tiny\nsimulate: {patient: 3}\n")
    (tmp_path / "salted.yaml").write_text("preset: tiny\ncurate: {salt: of the earth}\n")
    done = m3fm(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("m3fm: ")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_second_run_on_a_state_directory_is_refused(tmp_path):
    state = State(tmp_path / "state")
    state.enter()
    with state.locked():
        done = m3fm("run", "screening", "--state", str(state.root), cwd=tmp_path)
    assert done.returncode == 2
    assert f"in use by process {os.getpid()}" in done.stderr


def test_info_knows_the_tasks():
    found = json.loads(m3fm("info", "--json").stdout)
    assert list(found["tasks"]) == list(TASKS)
    assert found["packages"]["torch"].startswith("2.")


def test_compile_writes_the_pipeline(tmp_path):
    for name, options in (("screening", []), ("screening-of", ["--source", "anywhere"])):
        done = m3fm("run", "screening", "--compile", "ir.yaml", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"name: {name}\n" in (tmp_path / "ir.yaml").read_text()


def test_simulate_writes_what_params_say_and_nothing_outside(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "preset: tiny\nsimulate: {patients: 1, rows: 32, slices: [64, 64]}\n"
    )
    done = m3fm("simulate", "cohort", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["digest"] == Reference.to(tmp_path / "cohort").digest
    assert said["counts"]["prsn"] == 1
    manifest = json.loads((tmp_path / "cohort" / "cohort.json").read_text())
    assert manifest["config"] == {
        **preset("tiny").simulate.model_dump(mode="json"),
        "patients": 1,
        "rows": 32,
        "slices": [64, 64],
    }
    assert {path.name for path in tmp_path.iterdir()} == {"cohort", "params.yaml", ".m3fm"}


def test_environment_keeps_a_command_in_the_state_directory(tmp_path):
    command = [sys.executable, "-m", "m3fm.core.state", sys.executable, "-c"]
    code = "import os, tempfile; print(tempfile.gettempdir(), os.environ['DVC_SITE_CACHE_DIR'])"
    settings = State(tmp_path).settings()
    clean = {name: value for name, value in os.environ.items() if name not in settings}
    done = subprocess.run(
        [*command, code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, "M3FM_STATE": str(tmp_path)},
    )
    assert all(Path(path).is_relative_to(tmp_path) for path in done.stdout.split())


def test_cohort_says_what_would_be_kept_and_writes_nothing_but_the_decisions(tmp_path):
    row = {"PatientID": "1", "StudyInstanceUID": "2", "SeriesInstanceUID": "3", "Modality": "CT"}
    row |= {"collection_id": "nlst", "analysis_result_id": None, "sop_class_name": "CT Image Storage"}
    row |= {"SeriesDescription": "0,OPA,GE", "instanceCount": 64}
    few = {**row, "SeriesInstanceUID": "4", "instanceCount": 63}
    pq.write_table(pa.Table.from_pylist([row, few]), tmp_path / "index.parquet")
    done = m3fm("cohort", "idc", "--index", "index.parquet", "--json", "--decisions", "it.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["kept"] == {"series": 1, "patients": 1, "exams": 1, "unclear": 0}
    assert {rule["rule"]: rule["series"] for rule in said["rules"]}["too_few_slices"] == 1
    assert (tmp_path / "it.csv").read_text().split() == [
        '"series","decision"',
        '"3","kept"',
        '"4","too_few_slices"',
    ]
    shown = m3fm("cohort", "idc", "--index", "index.parquet", cwd=tmp_path).stdout
    assert "kept: 1 series of 1 patients, 1 exams" in shown
    (tmp_path / "params.yaml").write_text("preset: tiny\ncurate: {min_slices: 63}\n")
    more = json.loads(m3fm("cohort", "idc", "--index", "index.parquet", "--json", cwd=tmp_path).stdout)
    assert more["kept"]["series"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"index.parquet", "it.csv", "params.yaml"}
