"""Labels out of what is known of an exam."""

from dataclasses import replace

import pytest

from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.clinical.tasks import SCREENING
from m3fm.dataset.curate import SHARP_KERNEL, _preferred
from m3fm.dataset.tables import KEYS, Exam, label_rows, nodule_rows, write_table

CANCER = Risk(labels=(0, 0, 1, 1, 1, 1), mask=(1, 1, 1, 0, 0, 0))
WATCHED = Risk(labels=(0,) * 6, mask=(1, 1, 1, 1, 0, 0))
NODULE = Nodule(
    number=2, lobe="RML", slice_number=31, long_mm=7.5, short_mm=5, margin="spiculated", attenuation="solid"
)
CHEST = {
    "cvd_diagnosis": 1,
    "atelectasis": 0,
    "pleural_thickening_effusion": 1,
    "adenopathy_mass": 0,
    "chest_wall_abnormality": 0,
    "consolidation": 0,
    "emphysema": 1,
    "reticular_fibrosis_scar": 0,
}


def exam(**known) -> Exam:
    return Exam("e", "site", ExamRecord(patient_id="p", timepoint=0, **known))


def labels(split="train", imaged=True, **known) -> list[tuple]:
    rows = label_rows(exam(**known), split, imaged)
    return [(r["task"], r["side"], r["nodule"], r["slice_number"], r["label"], r["mask"]) for r in rows]


def test_all_17_tasks_have_labels():
    rows = labels(
        findings={"nodule_presence": 1, **CHEST},
        nodules=[NODULE],
        risks={"lung_cancer_risk": WATCHED, "cvd_mortality": CANCER},
        covid19=1,
        lung_rads=3,
    )
    assert {row[0] for row in rows} == set(SCREENING)
    found = {row[0]: row[1:] for row in rows if row[1] == ""}
    assert found["emphysema"] == ("", -1, -1, [1.0], [1.0])
    assert found["atelectasis"] == ("", -1, -1, [0.0], [1.0])
    assert found["covid19"] == ("", -1, -1, [1.0], [1.0])
    assert found["lung_rads"] == ("", -1, -1, [2.0], [1.0])
    assert found["cvd_mortality"] == ("", -1, -1, [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0])


def test_nodule_is_in_its_lung_and_the_other_lung_is_clear():
    rows = labels(findings={"nodule_presence": 1}, nodules=[NODULE])
    place = ("right", 2, 31)
    assert sorted(rows) == [
        ("nodule_attenuation", *place, [0.0], [1.0]),
        ("nodule_location", *place, [1.0], [1.0]),
        ("nodule_margin", *place, [0.0], [1.0]),
        ("nodule_presence", "left", -1, -1, [0.0], [1.0]),
        ("nodule_presence", *place, [1.0], [1.0]),
        ("nodule_size", *place, [2.0], [1.0]),
    ]


def test_exam_without_nodules_has_two_clear_lungs():
    rows = labels(findings={"nodule_presence": 0})
    assert [row[:2] for row in rows] == [("nodule_presence", "left"), ("nodule_presence", "right")]


@pytest.mark.parametrize("unknown", [{"lobe": None}, {"slice_number": None}])
def test_nodule_that_cannot_be_found_in_the_image_has_no_label(unknown):
    rows = labels(findings={"nodule_presence": 1}, nodules=[replace(NODULE, **unknown)])
    assert all(row[2] == -1 for row in rows)
    assert len(rows) == (0 if "lobe" in unknown else 1), "with no lobe, neither lung is known to be clear"


def test_exam_that_was_not_read_says_nothing():
    assert labels() == []


@pytest.mark.parametrize(
    ("split", "side", "risk", "expected"),
    [
        ("train", "left", CANCER, {"left": CANCER.labels, "right": WATCHED.labels}),
        ("val", "right", CANCER, {"left": WATCHED.labels, "right": CANCER.labels}),
        ("train", "both", CANCER, {"left": CANCER.labels, "right": CANCER.labels}),
        ("train", None, CANCER, {}),
        ("train", None, WATCHED, {"left": WATCHED.labels, "right": WATCHED.labels}),
        ("test", "left", CANCER, {"left": CANCER.labels, "right": CANCER.labels}),
        ("test", None, CANCER, {"left": CANCER.labels, "right": CANCER.labels}),
    ],
)
def test_cancer_risk_of_each_lung(split, side, risk, expected):
    rows = labels(split, risks={"lung_cancer_risk": risk}, cancer_side=side)
    assert {row[1]: tuple(row[4]) for row in rows} == expected
    assert all(tuple(row[5]) == risk.mask for row in rows)


def test_without_images_only_text_is_asked_about():
    rows = labels(imaged=False, findings=CHEST, lung_rads=4, covid19=0, risks={"cvd_mortality": WATCHED})
    assert [row[0] for row in rows] == ["lung_rads"]


def test_nodule_table_keeps_what_is_known():
    (row,) = nodule_rows(exam(nodules=[replace(NODULE, lobe=None, margin=None)]), "val")
    assert (row["side"], row["lobe"], row["margin"], row["long_mm"], row["number"]) == (
        None,
        None,
        None,
        7.5,
        2,
    )


@pytest.mark.parametrize(
    "kernel", ["BONE", "LUNG", "B50f", "B80f", "Bl57d", "['I70f', '3']", "FC51", "D", "L"]
)
def test_sharp_kernels(kernel):
    assert SHARP_KERNEL.search(kernel.upper())


@pytest.mark.parametrize(
    "kernel", ["STANDARD", "SOFT", "B30f", "Br40d", "['I31f', '3']", "FC10", "C", "B", ""]
)
def test_soft_kernels(kernel):
    assert not SHARP_KERNEL.search(kernel.upper())


def test_a_table_is_the_same_however_many_rows_become_columns_at_once(tmp_path, monkeypatch):
    exams = [
        Exam(f"e{n}", "site", ExamRecord(patient_id="p", timepoint=0, findings=CHEST, nodules=[NODULE]))
        for n in range(7)
    ]
    rows = [row for exam in exams for row in label_rows(exam, "train", imaged=True)]
    written = []
    for at_once in (3, 1000):
        monkeypatch.setattr("m3fm.dataset.tables.ROWS_AT_ONCE", at_once)
        table = write_table(tmp_path, "labels", reversed(rows))
        written.append((tmp_path / "labels.parquet").read_bytes())
    assert written[0] == written[1]
    expected = sorted(rows, key=lambda row: tuple(row[column] for column in KEYS["labels"]))
    assert table.to_pylist() == expected
    assert write_table(tmp_path, "nodules", iter([])).num_rows == 0


def test_preferred_is_soft_then_thin_then_always_the_same():
    def record(series: str, kernel: str, voxel_z: float, status: str = "kept") -> dict:
        return {"series": series, "kernel": kernel, "voxel_z": voxel_z, "status": status}

    records = [
        record("a", "BONE", 1.0),
        record("b", "STANDARD", 2.0),
        record("c", "STANDARD", 1.25),
        record("d", "STANDARD", 1.25),
        record("e", "STANDARD", 0.5, "rejected"),
        record("f", "LUNG", 1.0),
        record("g", "SOFT", 0.0, "rejected"),
    ]
    exam_of = {"a": "x", "b": "x", "c": "x", "d": "x", "e": "x", "f": "y", "g": "z"}
    assert _preferred(records, exam_of) == _preferred(records[::-1], exam_of) == {"x": "c", "y": "f"}
