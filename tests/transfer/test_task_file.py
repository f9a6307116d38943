"""A new task's file and table: every error is one line, with file, key and reason."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transfer_samples import PATIENTS, SALT, TASK, is_ill, raw, row, write_task

from m3fm.config.presets import preset
from m3fm.core.errors import InputError
from m3fm.dataset.rows import LabelledRow
from m3fm.privacy.pseudonyms import Salt
from m3fm.transfer.rows import NO_EXAM, NO_LABEL, NO_PATIENT, Case, find_cases, sentences, split_folds
from m3fm.transfer.task_file import TaskFile, read

TABLE = TASK["table"]
SCALE = {"shape": [8, 16, 16], "patch": [4, 8, 8], "hu_window": [-1000, 200]}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Pneumonitis!"}, r"task\.yaml, name: .*pattern"),
    ({"name": "emphysema"}, r"name: emphysema is a task that the model has already"),
    ({"title": None}, r"task\.yaml, title: Field required"),
    ({"answer": ["no", "yes"]}, r"task\.yaml, answer: .* name, title, answers"),
    ({"answers": ["yes"]}, r"task\.yaml, answers: .*at least 2"),
    ({"answers": [False, True]}, r'task\.yaml, answers: .*write \["no", "yes"\]'),
    ({"answers": ["no", "No"]}, r"answers: two of them are the same"),
    ({"questions": []}, r"task\.yaml, questions: .*at least 1"),
    ({"region": "liver"}, r"task\.yaml, region: .*'one_lung', 'heart' or 'both_lungs'"),
    ({"region": "one_lung"}, r"table\.side: name the column of the lung"),
    ({"table": {**TABLE, "side": "lung"}}, r"table\.side: .* only then"),
    ({"scale": {**SCALE, "shape": [9, 16, 16]}}, r"task\.yaml, scale\.new: shape .* is not a whole number"),
    ({"scale": {**SCALE, "window": [0, 1]}}, r"task\.yaml, scale\.new\.window: "),
    (
        {"table": {**TABLE, "colour": "red"}},
        r"task\.yaml, table\.colour: .* file",
    ),
    ({"table": {**TABLE, "timepoint": "t", "series": "s"}}, r"table: give timepoint or series, not both"),
    ({"table": {**TABLE, "label": "MRN"}}, r"MRN identifies the exam"),
    ({"clinical": {"MRN": "Known as {}."}}, r"MRN identifies the exam"),
    ({"clinical": {"ill": "Is ill: {}."}}, r"clinical\.ill: that is the label"),
    ({"clinical": {"cycles": "Cycles."}}, r"clinical\.cycles: the sentence must hold \{\} once"),
    ({"clinical": {"cycles": "{} of {}"}}, r"clinical\.cycles: the sentence must hold \{\} once"),
    ({"clinical": {"cycles": "{0}"}}, r"clinical\.cycles: the sentence must hold \{\} once"),
    ({"clinical": {}}, r"clinical: name at least one column"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG)
def test_a_wrong_file_is_refused_with_the_key(tmp_path, changes, reason):
    with pytest.raises(InputError, match=reason) as refusal:
        read(write_task(tmp_path, **changes))
    assert "\n" not in str(refusal.value)
    assert "task.yaml" in str(refusal.value)


def test_a_file_that_is_not_yaml_is_refused(tmp_path):
    for content in ("- a\n- b", "name: [", b"name: \xff".decode("latin1")):
        (tmp_path / "task.yaml").write_bytes(content.encode("latin1"))
        with pytest.raises(InputError, match=r"task\.yaml"):
            read(tmp_path / "task.yaml")
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        read(tmp_path / "none.yaml")


def test_a_scale_that_the_model_lacks_is_refused(tmp_path):
    model = preset("tiny").model
    for scale, reason in (
        ("liver", "has no scale 'liver'; it has nodule"),
        ("nodule", "needs the slice of a nodule"),
    ):
        with pytest.raises(InputError, match=reason):
            read(write_task(tmp_path, scale=scale)).model(model)
    found = read(write_task(tmp_path, scale=SCALE)).model(model)
    assert found.scales["pneumonitis"].shape == (8, 16, 16)
    assert list(found.scales) == ["pneumonitis"], "the others would not be trained"


def cases(dataset: Path, task: Path, salt: Salt = SALT) -> Any:
    return find_cases(read(task), dataset, salt)


def test_rows_find_their_exams_and_their_clinical_text(dataset, tmp_path):
    task = read(write_task(tmp_path))
    found = find_cases(task, dataset, SALT)
    assert found.left_out == {}
    by_exam = {case.row.exam: case for case in found.cases}
    assert len(by_exam) == PATIENTS
    for number in range(PATIENTS):
        case = by_exam[f"{number:016x}"]
        assert case.row.patient == SALT.hashed("patient", raw(number))
        assert case.answer == is_ill(number)
        cycles = [] if number == 1 else [f"The patient had {3 + number % 7} cycles."]
        assert list(sentences(task, case)) == [*cycles, f"Radiation: {'yes' if number % 2 else 'no'}."]


def test_the_order_of_the_table_does_not_matter(dataset, tmp_path):
    rows = [row(number) for number in range(PATIENTS)]
    assert cases(dataset, write_task(tmp_path / "a", rows)) == cases(
        dataset, write_task(tmp_path / "b", rows[::-1])
    )


def test_rows_without_label_or_exam_are_counted(dataset, tmp_path):
    rows = [row(n) for n in range(PATIENTS)] + [row(900), row(901)]
    rows[4]["ill"], rows[5]["ill"] = "", ".M"
    later = {**TABLE, "timepoint": "year"}
    rows = [{**one, "year": "2" if number == 7 else "0"} for number, one in enumerate(rows)]
    found = cases(dataset, write_task(tmp_path, rows, table=later))
    assert found.left_out == {NO_LABEL: 2, NO_PATIENT: 2, NO_EXAM: 1}
    assert len(found.cases) == PATIENTS - 3


def test_an_exam_can_be_named_by_one_of_its_series(dataset, tmp_path):
    rows = [{**row(n), "uid": f"1.2.{n}" if n != 2 else "1.2.999"} for n in range(PATIENTS)]
    found = cases(dataset, write_task(tmp_path, rows, table={**TABLE, "series": "uid"}))
    assert found.left_out == {NO_EXAM: 1}


def test_each_lung_can_have_a_row(dataset, tmp_path):
    rows = [{**row(n), "lung": side} for n in range(PATIENTS) for side in ("Left", "right")]
    one_lung = {"region": "one_lung", "scale": "lung_cancer", "table": {**TABLE, "side": "lung"}}
    found = cases(dataset, write_task(tmp_path, rows, **one_lung))
    assert {case.row.side for case in found.cases} == {"left", "right"}
    assert len(found.cases) == 2 * PATIENTS
    rows[3]["lung"] = "both"
    with pytest.raises(InputError, match=r"table\.csv, line 5, lung: 'both' is not one of left, right"):
        cases(dataset, write_task(tmp_path, rows, **one_lung))


def test_a_wrong_table_is_refused_with_the_column(dataset, tmp_path):
    rows = [row(n) for n in range(PATIENTS)]
    without = [{key: value for key, value in one.items() if key != "cycles"} for one in rows]
    for wrong, reason in (
        (without, r"table\.csv has no column cycles"),
        ([*rows[:3], row(3, ill="perhaps")], r"table\.csv, line 5, ill: 'perhaps' is not one of no, yes"),
        ([*rows, rows[6]], r"table\.csv, MRN: 1 exams have more than one row"),
        ([row(900)], r"table\.csv, MRN: no row matches an exam of the dataset .*set M3FM_SALT to the salt"),
    ):
        with pytest.raises(InputError, match=reason) as refusal:
            cases(dataset, write_task(tmp_path, wrong))
        assert "70" not in str(refusal.value).replace(str(tmp_path), ""), "the message holds an identifier"
    (tmp_path / "table.csv").unlink()
    with pytest.raises(InputError, match=r"table\.csv is missing"):
        cases(dataset, tmp_path / "task.yaml")


def test_another_salt_finds_no_patient(dataset, tmp_path):
    with pytest.raises(InputError, match="patient not in the dataset: 24"):
        cases(dataset, write_task(tmp_path), Salt("another"))


# Folds


def drawn(answers: list[tuple[int, int]]) -> list[Case]:
    """Rows of (patient, answer), each of an exam of its own."""
    return [
        Case(LabelledRow(f"e{n}", f"p{patient}", "", -1, -1, (float(answer),), (1.0,)), {})
        for n, (patient, answer) in enumerate(answers)
    ]


COHORTS = st.lists(st.integers(1, 3), min_size=20, max_size=40).map(
    lambda exams: drawn([(patient, patient % 2) for patient, many in enumerate(exams) for _ in range(many)])
)
FILE = TaskFile.model_validate(TASK)


@settings(max_examples=25)
@given(COHORTS, st.integers(0, 99))
def test_folds_have_no_patient_in_common_and_are_a_function_of_the_seed(found, seed):
    folds = split_folds(FILE, found, 5, seed)
    assert folds == split_folds(FILE, found, 5, seed)
    assert sorted(place for _, tested in folds for place in tested) == list(range(len(found)))
    for trained, tested in folds:
        assert sorted([*trained, *tested]) == list(range(len(found)))
        assert not {found[n].row.patient for n in trained} & {found[n].row.patient for n in tested}
        assert {found[n].answer for n in tested} == {0, 1}


def test_folds_have_each_answer_about_as_often_and_go_by_the_seed():
    found = drawn([(n, int(n < 49)) for n in range(90)])
    for _, tested in (folds := split_folds(FILE, found, 5, 1)):
        assert 9 <= sum(found[n].answer for n in tested) <= 10
    assert folds != split_folds(FILE, found, 5, 2)


def test_too_few_patients_are_refused():
    found = drawn([(n, int(n < 4)) for n in range(40)])
    with pytest.raises(InputError, match=r"table\.csv, ill: 4 patients .* answer 'yes'; 5 folds"):
        split_folds(FILE, found, 5, 1)
    many = drawn([(n % 30 if n < 30 else 0, int(n >= 30)) for n in range(60)])
    with pytest.raises(InputError, match=r"1 patients .* answer 'yes'"):
        split_folds(FILE, many, 5, 1)
