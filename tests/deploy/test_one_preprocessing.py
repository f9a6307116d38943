"""Evaluation and serving make the same sample of an exam, bit for bit, from the same files."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from tokenizers import Tokenizer

from m3fm.clinical.tasks import SCREENING, TASKS
from m3fm.cohort.source import open_source
from m3fm.config.sections import CurateConfig, RegionsConfig, SimulateConfig
from m3fm.core.artifacts import read_manifest, seal
from m3fm.core.errors import InputError
from m3fm.ct.masks import TOTAL
from m3fm.ct.read import read_ct
from m3fm.ct.regions import find_regions
from m3fm.ct.volume import Series, to_nifti
from m3fm.dataset.batch import collate
from m3fm.dataset.curate import curate
from m3fm.dataset.mqa import Mqa
from m3fm.deploy.predictor import Predictor
from m3fm.model.checkpoint import load_config
from m3fm.simulate import simulate

pytestmark = pytest.mark.integration

SPLITS = ("train", "val", "test")


def write_label_map(series: Series, path: Path) -> None:
    """Write a label map whose boxes are a little smaller than those that would be found without it."""
    labels = np.zeros(series.voxels.shape, np.int16)
    boxes = find_regions(series.voxels, series.voxel_size)
    for value, name in TOTAL.items():
        side = "heart" if name == "heart" else f"{name.rsplit('_', 1)[1]}_lung"
        z0, z1, y0, y1, x0, x1 = boxes[side]
        labels[z0 + 2 : z1 - 2, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = value
        if name == "heart":
            labels[z0 + 3 : z1 - 3, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = value
        elif name.startswith("lung_upper"):
            labels[(z0 + z1) // 2 :, y0:y1, x0:x1][labels[(z0 + z1) // 2 :, y0:y1, x0:x1] > 0] = value
    image = to_nifti(series)
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), image.affine), path)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One simulated patient, with a label map of every axial series."""
    out = tmp_path_factory.mktemp("cohort") / "cohort"
    simulate(out, SimulateConfig(patients=3, rows=48, slices=(64, 64), broken_fraction=0.0), 1)
    for folder in sorted(path for path in (out / "images").glob("*/*/*") if path.is_dir()):
        if len(list(folder.iterdir())) > 2:
            write_label_map(read_ct(folder), out / "images" / f"{folder.name}.nii.gz")
    return out


@pytest.fixture(scope="module", params=["built_in", "segmentations"])
def source(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def curated(cohort: Path, source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curated") / "dataset"
    config = CurateConfig(regions=RegionsConfig(source=source))
    curate(open_source("nlst", cohort), out, config, 1)
    assert read_manifest(out)["regions"] == {"source": source, "labels": "total"}
    return out


def with_regions(bundle: Path, source: str, out: Path) -> Path:
    """Copy a bundle as one of a model that was trained on regions from another source."""
    shutil.copytree(bundle, out)
    manifest = json.loads((out / "bundle.json").read_text())
    seal(out, "bundle.json", {**manifest, "regions": {"source": source, "labels": "total"}})
    return out


class Recorder:
    """The graphs of a bundle, and what each was given, call by call."""

    def __init__(self, graphs: Any) -> None:
        self._graphs = graphs
        self.given: dict[str, list[tuple[Any, ...]]] = {}

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._graphs, name)

        def record(*inputs: Any) -> Any:
            self.given.setdefault(name, []).append(inputs)
            return function(*inputs)

        return record


def series_folder(cohort: Path, dataset: Path, exam: str) -> Path:
    """Find the DICOM of an exam's preferred series: the one whose voxels are stored for it."""
    import pyarrow.parquet as pq

    rows = pq.read_table(dataset / "series.parquet").to_pylist()
    (row,) = (row for row in rows if row["exam"] == exam and row["preferred"])
    stored = np.load(dataset / row["volume"])
    for folder in sorted(path for path in (cohort / "images").glob("*/*/*") if path.is_dir()):
        if len(list(folder.iterdir())) > 2 and np.array_equal(read_ct(folder).voxels, stored):
            return folder
    raise AssertionError("the preferred series is not among the images")


def test_samples_are_equal_bit_for_bit(
    cohort: Path, curated: Path, source: str, bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    config = load_config(checkpoint)
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    predictor = Predictor(with_regions(bundle, source, tmp_path / "bundle"))
    mqa = Mqa(curated, SPLITS, config.scales)
    compared = set()
    for task in SCREENING:
        # A lung without a nodule is looked at in a random slice, which serving does not do.
        rows = [row for row in mqa.rows[task] if TASKS[task].scale != "nodule" or row.slice_number >= 0]
        for row in rows[:2]:
            folder = series_folder(cohort, curated, row.exam)
            label_map = cohort / "images" / f"{folder.name}.nii.gz"
            expected = collate([mqa.sample(task, row, 0)], tokenizer, config)
            place = (row.side, 64 - row.slice_number) if row.slice_number >= 0 else None
            graphs = Recorder(predictor.graphs)
            predictor.graphs, kept = graphs, predictor.graphs
            predictor.predict(
                folder,
                mqa.elements(row.exam),
                mqa.nodules(row.exam),
                [task],
                nodule_slice=place,
                segmentations=[label_map] if source == "segmentations" else (),
            )
            predictor.graphs = kept
            both_lungs = TASKS[task].scale == "lung_cancer"
            assert_same(expected, graphs.given, 1 if both_lungs and row.side == "right" else 0)
            compared.add(task)
    assert compared == set(SCREENING)


def assert_same(expected: dict[str, Any], given: dict[str, list[tuple[Any, ...]]], lung: int) -> None:
    """Compare what evaluation's batch holds with what the graphs were given; the left lung comes first."""
    columns = {"text": ("text_ids", "text_mask"), "question": ("question_ids", "question_mask")}
    for graph, names in columns.items():
        assert (graph in given) == (names[0] in expected)
        for array, name in zip(given.get(graph, [()])[0], names):
            np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)
    assert ("image" in given) == ("images" in expected)
    if "images" in expected:
        _, images, voxel_size, mask = given["image"][lung]
        np.testing.assert_array_equal(images, expected["images"].numpy(), strict=True)
        np.testing.assert_array_equal(voxel_size, expected["voxel_size"].numpy(), strict=True)
        assert (mask is None) == ("lung_mask" not in expected)
        if mask is not None:
            np.testing.assert_array_equal(mask, expected["lung_mask"].numpy(), strict=True)


def test_the_two_sources_give_other_regions(cohort: Path) -> None:
    """The comparison above could not tell them apart if they were the same."""
    folder = next(path for path in sorted((cohort / "images").glob("*/*/*")) if len(list(path.iterdir())) > 2)
    series = read_ct(folder)
    from m3fm.ct.boxes import region_boxes

    label_map = cohort / "images" / f"{folder.name}.nii.gz"
    found = region_boxes(series, RegionsConfig(source="segmentations"), [label_map])
    assert found != region_boxes(series, RegionsConfig())


def test_without_its_segmentations_a_ct_is_refused(cohort: Path, bundle: Path, tmp_path: Path) -> None:
    predictor = Predictor(with_regions(bundle, "segmentations", tmp_path / "bundle"))
    folder = next(path for path in sorted((cohort / "images").glob("*/*/*")) if len(list(path.iterdir())) > 2)
    with pytest.raises(InputError, match=r"regions from segmentations, .* --segmentation"):
        predictor.predict(folder, tasks=["emphysema"])
    beside = tmp_path / "folder"
    shutil.copytree(folder, beside)
    shutil.copy(cohort / "images" / f"{folder.name}.nii.gz", beside)
    assert predictor.predict(beside, tasks=["emphysema"])["emphysema"].answer


def test_the_segmentation_of_another_series_is_not_taken(cohort: Path, bundle: Path, tmp_path: Path) -> None:
    predictor = Predictor(with_regions(bundle, "segmentations", tmp_path / "bundle"))
    folder = next(path for path in sorted((cohort / "images").glob("*/*/*")) if len(list(path.iterdir())) > 2)
    beside = tmp_path / "folder"
    shutil.copytree(folder, beside)
    own = cohort / "images" / f"{folder.name}.nii.gz"
    shutil.copy(own, beside / "1.2.3.999.nii.gz")
    with pytest.raises(InputError, match="regions from segmentations"):
        predictor.predict(beside, tasks=["emphysema"])
    expected = predictor.predict(beside, tasks=["emphysema"], segmentations=[str(own)])
    shutil.copy(own, beside)
    assert predictor.predict(beside, tasks=["emphysema"]) == expected
