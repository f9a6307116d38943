"""The predictor answers as torch does on the same series, alone and without torch."""

import builtins
import dataclasses
import json
import shutil
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from deploy_samples import ELEMENTS, NODULE

from m3fm.clinical.records import Nodule
from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.core.artifacts import seal
from m3fm.core.errors import InputError
from m3fm.ct.regions import find_regions
from m3fm.ct.volume import Series, write_nifti
from m3fm.dataset.batch import collate, model_inputs
from m3fm.dataset.mqa import Mqa
from m3fm.deploy.answer import Answer, to_table
from m3fm.deploy.inputs import example
from m3fm.deploy.predictor import PRESENCE, Predictor, load, number
from m3fm.model import checkpoint as checkpoints
from m3fm.questions.bank import QUESTIONS

REAL_CT = Path(__file__).parents[2].parent / "shared/data/chest_ct_A0001_B_64sl.tar.gz"
REPORT = [Nodule(**NODULE, margin="smooth", attenuation="solid")]


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor(bundle)


def with_torch(checkpoint: Path, dataset: Path, task: str, side: str) -> np.ndarray:
    """What training's own pipeline gives for the phantom's row of a task."""
    model, tokenizer = checkpoints.load(checkpoint)
    mqa = Mqa(dataset, ("test",), model.config.scales)
    (row,) = [row for row in mqa.rows[task] if row.side == side]
    inputs = model_inputs(collate([mqa.sample(task, row, 0)], tokenizer, model.config))
    return model.predict(task, **inputs).numpy()[0]


@pytest.mark.parametrize("task", SCREENING)
def test_answers_are_those_of_the_torch_pipeline(
    predictor: Predictor, checkpoint: Path, dataset: Path, series: Series, task: str
) -> None:
    # Slice numbers of the phantom count down from 72 at its lowest slice.
    place = ("left", 72 - NODULE["slice_number"])
    (answer,) = predictor.predict(series, ELEMENTS, REPORT, [task], nodule_slice=place).values()
    assert list(answer.probabilities) == list(TASKS[task].answers)
    found = {side: list(lung.values()) for side, lung in answer.by_lung.items()}
    if not found:
        found = {"": list(answer.probabilities.values())}
    for side, probabilities in found.items():
        expected = with_torch(checkpoint, dataset, task, side)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5, rtol=0)


def test_the_larger_risk_of_the_two_lungs_is_the_patients(predictor: Predictor, series: Series) -> None:
    (answer,) = predictor.predict(series, ELEMENTS, tasks=["lung_cancer_risk"]).values()
    left, right = (np.array(list(answer.by_lung[side].values())) for side in ("left", "right"))
    assert not np.allclose(left, right, atol=1e-4)
    np.testing.assert_array_equal(list(answer.probabilities.values()), np.maximum(left, right))


def test_nodules_are_looked_for_in_windows_that_cover_both_lungs(
    predictor: Predictor, series: Series
) -> None:
    found = predictor.predict(series, tasks=["nodule_presence", "nodule_size"])
    presence, size = found["nodule_presence"], found["nodule_size"]
    boxes = find_regions(series.voxels, series.voxel_size)
    best = {}
    for side in ("left", "right"):
        first, last = boxes[f"{side}_lung"][:2]
        middles = (*range(first + 8, last - 8, 8), last - 8)
        asked = [predictor.predict(series, tasks=[PRESENCE], nodule_slice=(side, i)) for i in middles]
        there = [answers[PRESENCE] for answers in asked]
        seen = {index for answer in there for index in range(*answer.slices[side])}
        assert seen == set(range(first, last))
        best[side] = max(answer.probabilities["yes"] for answer in there)
        assert presence.by_lung[side]["yes"] == pytest.approx(best[side], abs=1e-6)
    likelier = max(best, key=lambda side: best[side])
    assert presence.probabilities == presence.by_lung[likelier]
    assert size.probabilities == size.by_lung[likelier]
    assert size.slices == presence.slices
    assert f"that of the {likelier} lung" in size.note


def test_what_is_not_given_is_skipped_or_left_out(predictor: Predictor, series: Series) -> None:
    found = predictor.predict(series)
    assert list(found) == list(SCREENING)
    assert found["lung_rads"].skipped == "needs a nodule report"
    assert not found["lung_rads"].probabilities
    without = found["emphysema"].probabilities["yes"]
    with_text = predictor.predict(series, ELEMENTS, tasks=["emphysema"])["emphysema"]
    assert abs(with_text.probabilities["yes"] - without) > 1e-4
    no_ct = predictor.predict(None, ELEMENTS, [])
    assert no_ct["lung_rads"].probabilities
    assert no_ct["emphysema"].skipped == "needs a CT"
    asked = predictor.predict(None, ELEMENTS, tasks=["clinical_number"])
    assert asked["clinical_number"].skipped == "needs a question in your words"


def test_an_unknown_task_is_refused(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="no task 'nodules'; there are nodule_presence, "):
        predictor.predict(None, tasks=["nodules"])


def test_a_question_is_answered_by_its_task_or_refused(
    predictor: Predictor, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The weights are random, so what a question is taken for is arbitrary and never sure: every class must do
    # as it should.
    monkeypatch.setattr("m3fm.deploy.predictor.SURE", 0.0)
    understood: dict[int, str] = {}
    for question in (question for questions in QUESTIONS.values() for question in questions):
        chosen = int(predictor.encode_question(question)[1].argmax())
        understood.setdefault(chosen, question)
    for chosen, question in understood.items():
        if chosen == len(TASKS):
            with pytest.raises(InputError, match=r"this model cannot answer .*; ask about: Nodule pres"):
                predictor.ask(question, series)
        else:
            answer = predictor.ask(question, series, ELEMENTS, REPORT)
            assert answer.task == list(TASKS)[chosen]
            assert answer.question == question
            assert answer.probabilities
    assert {len(TASKS)} < understood.keys()


def test_a_question_that_may_be_of_several_tasks_is_refused(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = predictor.encode_question("Is it there?")
    logits = np.full((1, len(TASKS) + 1), -30.0, dtype=np.float32)
    monkeypatch.setattr(predictor, "encode_question", lambda question: (token, logits))
    names = list(TASKS)
    logits[0, names.index("emphysema")] = 0.0
    logits[0, names.index("atelectasis")] = -0.1
    assert predictor.ask("Is it there?").task == "emphysema", "with a probability of 0.52"
    logits[0, names.index("consolidation")] = -0.1
    with pytest.raises(InputError, match="this model cannot answer"):
        predictor.ask("Is it there?")


def test_a_changed_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "bundle"
    shutil.copytree(bundle, changed)
    with (changed / "weights.bin").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x01")
    with pytest.raises(InputError, match=r"weights\.bin was changed"):
        Predictor(changed)
    (changed / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"weights\.bin is missing"):
        Predictor(changed)
    with pytest.raises(InputError, match="is not a bundle"):
        Predictor(tmp_path)


def test_a_bundle_of_another_preprocessing_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    manifest = json.loads((other / "bundle.json").read_text())
    seal(other, "bundle.json", {**manifest, "preprocessing_version": "0"})
    with pytest.raises(InputError, match=r"preprocessing_version is 0, this m3fm does .*export the model"):
        Predictor(other)


def test_files_in_json_and_a_table_out(bundle: Path, series: Series, tmp_path: Path) -> None:
    from rich.console import Console

    write_nifti(series, tmp_path / "ct.nii.gz")
    (tmp_path / "patient.json").write_text(json.dumps({"clinical": ELEMENTS, "nodules": [NODULE]}))
    (tmp_path / "clinical.json").write_text(json.dumps(ELEMENTS))
    model = load(bundle)
    answers = model.predict(tmp_path / "ct.nii.gz", tmp_path / "clinical.json", tmp_path / "patient.json")
    assert answers == model.predict(tmp_path / "ct.nii.gz", ELEMENTS, [NODULE])
    assert list(answers) == list(SCREENING)
    plain = {name: answer.to_dict() for name, answer in answers.items()}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    notice = answers["emphysema"].notice
    assert notice.startswith("Research software, not a medical device. Trained on simulated")
    console = Console(width=160, record=True, file=(tmp_path / "out.txt").open("w"))
    console.print(to_table(answers, notice))
    shown = console.export_text()
    assert "Research software, not a medical device" in shown
    yes = answers["emphysema"].probabilities["yes"]
    assert f"yes {yes:.3f}" in shown
    assert all(answer.answer in shown for answer in answers.values() if not answer.skipped)
    for page in (answers._repr_html_(), answers["emphysema"]._repr_html_()):
        assert f"yes {yes:.3f}" in page
        assert "not a medical device" in page


def test_an_answer_cannot_be_changed(predictor: Predictor) -> None:
    answer = predictor.predict(None, ELEMENTS, [])["lung_rads"]
    assert answer.answer in TASKS["lung_rads"].answers
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.answer = "4"  # type: ignore[misc]
    assert answer == Answer(**{**answer.to_dict(), "slices": {}})


@pytest.mark.parametrize(
    ("clinical", "report", "message"),
    [
        ({"agee": 61}, None, "clinical: no element is called 'agee'"),
        ({"age": "61"}, None, "clinical: age is '61', expected a number"),
        (None, [{"lobe": "RXL"}], "report, nodule 1: lobe is 'RXL'"),
        (None, [{"lobe": "RUL"}, {"lobe": "RXL"}], "report, nodule 2: lobe is 'RXL'"),
        (None, [Nodule(number=1, lobe="RXL")], "report, nodule 1: lobe is 'RXL'"),
        (None, [Nodule(number=1, long_mm=float("nan"))], "report, nodule 1: long_mm is nan"),
        (None, Nodule(number=1), "report is not a list of nodules"),
        (None, {"lobe": "RUL"}, "report is not a list of nodules"),
        ([61], None, "clinical is a list; pass elements by name"),
    ],
)
def test_what_python_hands_over_is_checked_like_a_file(predictor, clinical, report, message) -> None:
    with pytest.raises(InputError, match=message):
        predictor.predict(None, clinical, report)


def test_a_report_is_the_same_as_a_file_or_handed_over(predictor: Predictor, tmp_path: Path) -> None:
    entries = [{"lobe": "RUL", "long_mm": 7}, {"lobe": "LLL", "long_mm": 9}]
    (tmp_path / "report.json").write_text(json.dumps({"nodules": entries}))
    nodules = [Nodule(number=number, **entry) for number, entry in enumerate(entries, 1)]
    reports = [tmp_path / "report.json", entries, tuple(entries), {"nodules": entries}, nodules]
    answers = [predictor.predict(report=report, tasks=["lung_rads"]) for report in reports]
    assert answers == answers[:1] * len(reports)


def test_the_content_of_an_input_file_is_taken_as_it_is(predictor: Predictor) -> None:
    given = example()
    answers = predictor.predict(clinical=given, report=given)
    assert answers == predictor.predict(clinical=given["clinical"], report=given["nodules"])
    assert not answers["lung_rads"].skipped


def test_numbers_of_numpy_are_numbers(predictor: Predictor) -> None:
    given = {"age": np.int64(61), "pack_years": np.float32(40), "copd": np.bool_(True)}
    plain = {name: value.item() for name, value in given.items()}
    answers = [
        predictor.predict(None, clinical, [{"long_mm": size}])
        for clinical, size in ((given, np.float64(7)), (plain, 7.0))
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("left", 99999), r"nodule_slice is 99999: the slices of the CT are 0 to \d+"),
        (("left", -5), "nodule_slice is -5"),
        (("Left", 3), r"pass \"left\" or \"right\" and a slice index"),
        (("left", 3.5), "and a slice index"),
        ("left", "and a slice index"),
    ],
)
def test_a_nodule_s_slice_must_be_of_the_ct(predictor: Predictor, series: Series, place, message) -> None:
    with pytest.raises(InputError, match=message):
        predictor.predict(series, tasks=["nodule_margin"], nodule_slice=place)


def test_a_notebook_shows_an_answer_once(predictor: Predictor, monkeypatch) -> None:
    """As rich sees one: IPython's shell is that of a kernel."""
    shown = []
    shell = type("ZMQInteractiveShell", (), {})
    notebook = types.ModuleType("IPython.display")
    notebook.display = lambda *values: shown.append(values)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    answers = predictor.predict(None, ELEMENTS, [])
    assert "Lung-RADS" in answers._repr_html_()
    assert shown == []


def test_text_is_not_taken_for_markup() -> None:
    texts = {"title": "[/b]", "question": "[/c]", "notice": "[/d]", "note": "[/e]"}
    page = Answer(task="a", region=None, answer="x", **texts)._repr_html_()
    assert all(text in page for text in texts.values())


def test_a_number_is_its_most_probable_digits() -> None:
    assert number(np.eye(10, dtype=np.float32)[[0, 6, 1]].flatten()) == 61


WITHOUT_TORCH = """
import sys
for name in ("torch", "pandas", "pyarrow", "ray", "transformers", "safetensors", "onnx", "mlflow", "sklearn"):
    sys.modules[name] = None  # importing it raises
import json
import m3fm
model = m3fm.load(sys.argv[1])
answers = model.predict(sys.argv[2])
answers._repr_html_()
print(json.dumps({name: answer.to_dict() for name, answer in answers.items()}))
"""


def run_without_torch(bundle: Path, ct: Path) -> dict:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(bundle), str(ct)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_runs_where_torch_and_pandas_cannot_be_imported(
    bundle: Path, series: Series, predictor: Predictor, tmp_path: Path
) -> None:
    write_nifti(series, tmp_path / "ct.nii")
    alone = run_without_torch(bundle, tmp_path / "ct.nii")
    here = predictor.predict(tmp_path / "ct.nii")
    assert alone.keys() == here.keys()
    for name, answer in here.items():
        assert alone[name]["probabilities"] == pytest.approx(answer.probabilities, abs=1e-5)


@pytest.mark.skipif(not REAL_CT.is_file(), reason=f"{REAL_CT.name} is not beside the repository")
def test_answers_for_a_real_ct(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(REAL_CT) as archive:
        archive.extractall(tmp_path, filter="data")
    answers = run_without_torch(bundle, tmp_path)
    assert list(answers) == list(SCREENING)
    for name, answer in answers.items():
        if name == "lung_rads":
            assert answer["skipped"] == "needs a nodule report"
            continue
        values = np.array(list(answer["probabilities"].values()))
        assert ((values > 0) & (values < 1)).all()
        if TASKS[name].loss == "softmax":
            assert values.sum() == pytest.approx(1.0, abs=1e-5)
        if TASKS[name].region == "one_lung":
            assert answer["by_lung"].keys() == {"left", "right"}
