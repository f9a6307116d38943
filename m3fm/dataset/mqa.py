"""The multimodal question-answering (MQA) dataset: one split of a dataset, as samples for the model.

A sample is a question to one task with its image region, clinical text and answer (paper, Methods: dataset
construction, step 4). What a sample holds is a function of its row and of one random generator, so any
worker makes the same sample at any time. Without torch.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.records import Nodule
from m3fm.clinical.sentences import clinical_sentences, nodule_report
from m3fm.clinical.tasks import TASKS, Task
from m3fm.config.model import Scale
from m3fm.config.sections import AugmentConfig
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.ct import store, transforms
from m3fm.dataset.instance_numbers import has_instance_numbers, nodule_heights, slice_index
from m3fm.dataset.rows import LabelledRow, Rows, RowsByKey
from m3fm.questions.bank import OUT_OF_SCOPE, QUESTIONS
from m3fm.questions.grammar import task_id_questions
from m3fm.questions.retrieval import retrieval_question, simulate_elements

Box = tuple[int, int, int, int, int, int]

NODULE_SCALE = "nodule"
"""The scale whose volumes are a few slices around a nodule, and whose attention is limited to the lung."""
NODULE = ("number", "lobe", "slice_number", "long_mm", "short_mm", "margin", "attenuation", "new")
"""Columns of nodules.parquet that a report is made of."""
SERIES = (
    "series", "exam", "volume", "slices", "instance_first", "instance_last", "voxel_z", "voxel_y", "voxel_x",
    "left_lung", "right_lung", "both_lungs", "heart",
)  # fmt: skip
"""Columns of series.parquet that a sample is made of."""


def dataset_facts(dataset: Path) -> dict[str, Any]:
    """Return what a model must know of the dataset it is trained on: `regions` and `simulated`."""
    manifest = read_manifest(dataset)
    return {"regions": manifest["regions"], "simulated": manifest["source"]["simulated"]}


def check_trainable(dataset: Path) -> None:
    """Raise InputError where no exam of a training patient has a series that was kept."""
    series = pq.read_table(dataset / "series.parquet", columns=["status", "split"])
    if ("kept", "train") not in zip(series["status"].to_pylist(), series["split"].to_pylist()):
        raise InputError(
            f"{dataset} has no kept series of a training patient, so there is nothing to learn from;"
            " what comes from a plain folder of DICOM is for testing only"
        )


def check_labelled(dataset: Path, tasks: Collection[str]) -> None:
    """Raise InputError where no training patient has a label of one of the tasks."""
    labels = pq.read_table(dataset / "labels.parquet", columns=["task"], filters=[("split", "=", "train")])
    retrieval = {name for name, task in TASKS.items() if task.kind == "retrieval"}
    labelled = retrieval.union(pc.unique(labels["task"]).to_pylist())
    for name in tasks:
        if name not in labelled:
            raise InputError(f"{dataset} has no label of {name} for a training patient: leave the task out")


@dataclass(frozen=True, slots=True)
class Sample:
    """The model's inputs of one row, and the answer."""

    question: str
    text: str | None
    """Clinical sentences; empty where nothing is known, None where the task does not read them."""
    label: tuple[float, ...]
    mask: tuple[float, ...]
    image: np.ndarray | None = None
    """float32 [D, H, W] in [-1, 1]."""
    voxel_size: np.ndarray | None = None
    """float32 [3], mm (slice, row, column)."""
    lung_mask: np.ndarray | None = None
    """bool [D, H, W]: the lung's box, for the nodule scale alone."""


class Mqa:
    """The questions of one split (or several) of a curated dataset."""

    def __init__(
        self,
        dataset: Path,
        splits: tuple[str, ...],
        scales: Mapping[str, Scale],
        tasks: Mapping[str, Task] = TASKS,
    ) -> None:
        self.dataset = dataset
        self.tasks = tasks
        self.scales = scales
        series = pq.read_table(dataset / "series.parquet")
        chosen = pc.and_(pc.equal(series["status"], "kept"), pc.is_in(series["split"], pa.array(splits)))
        order = [("exam", "ascending"), ("preferred", "descending"), ("series", "ascending")]
        kept = series.filter(chosen).sort_by(order).select(SERIES)
        self._series = RowsByKey(kept, "exam")
        self._numbered = RowsByKey(kept.filter(has_instance_numbers(kept)), "exam")
        """Series in which a slice can be found by its InstanceNumber."""
        texts = ["exam", "patient", "side", "task", "split"]
        labels = pq.read_table(dataset / "labels.parquet", read_dictionary=texts)
        labels = labels.filter(pc.is_in(labels["split"], pa.array(splits)))
        # An exam whose images were all rejected still serves the tasks that read text alone.
        imaged = pc.is_in(labels["exam"], pa.array(self._series, pa.string()))
        self.rows = {name: self._rows(name, labels, imaged) for name in tasks}
        """The labelled rows of each task."""
        exams = pq.read_table(dataset / "exams.parquet", columns=["exam", *ELEMENTS])
        self._elements = RowsByKey(exams.sort_by("exam"), "exam")
        nodules = pq.read_table(dataset / "nodules.parquet", columns=["exam", *NODULE])
        self._nodules = RowsByKey(nodules.sort_by([("exam", "ascending"), ("number", "ascending")]), "exam")
        self._heights = nodule_heights(dataset)

    def _rows(self, name: str, labels: pa.Table, imaged: pa.ChunkedArray) -> Rows:
        of_task = pc.equal(labels["task"], name)
        if self.tasks[name].scale is None:
            return Rows(labels.filter(of_task))
        numbered = pc.is_in(labels["exam"], pa.array(self._numbered, pa.string()))
        found = pc.or_(pc.less(labels["slice_number"], 0), numbered)
        return Rows(labels.filter(pc.and_(of_task, pc.and_(imaged, found))))

    def _series_of(self, row: LabelledRow) -> RowsByKey:
        """Return the series to choose from: where a nodule's slice is to be found, those with numbers."""
        return self._series if row.slice_number < 0 else self._numbered

    def elements(self, exam: str) -> dict[str, float | str | bool]:
        """Return the known clinical data of an exam."""
        row = self._elements.row(exam) if exam in self._elements else {}
        return {name: value for name, value in row.items() if name != "exam" and value is not None}

    def nodules(self, exam: str) -> list[Nodule]:
        """List the nodules of an exam."""
        return [Nodule(**{name: row[name] for name in NODULE}) for row in self._nodules.rows(exam)]

    def draw(self, task: str, rng: np.random.Generator) -> LabelledRow:
        """Draw a row of a task, all classes equally often, however rare they are."""
        return self.rows[task].draw(rng)

    def training_sample(self, task: str, rng: np.random.Generator, config: AugmentConfig) -> Sample:
        """Draw a sample of a task, with every random change that training makes."""
        if self.tasks[task].kind == "retrieval":
            return retrieval_sample(task, rng)
        row = self.draw(task, rng)
        question = QUESTIONS[task][rng.integers(len(QUESTIONS[task]))]
        text = self.text(task, row, rng, config.element_dropout)
        return self.with_image(self.tasks[task], row, question, text, rng, config)

    def validation_sample(self, task: str, rng: np.random.Generator) -> Sample:
        """Draw a sample of a task as evaluation sees it."""
        if self.tasks[task].kind == "retrieval":
            return retrieval_sample(task, rng)
        return self.sample(task, self.draw(task, rng), int(rng.integers(2**31)))

    def sample(self, task: str, row: LabelledRow, number: int) -> Sample:
        """Make the sample of a row as evaluation sees it; `number` seeds what the row leaves open."""
        text = self.text(task, row)
        rng = np.random.default_rng([number])
        return self.with_image(self.tasks[task], row, QUESTIONS[task][0], text, rng, None)

    def text(
        self, task: str, row: LabelledRow, rng: np.random.Generator | None = None, dropout: float = 0.0
    ) -> str | None:
        """Write the clinical text of a row: all sentences in order, or some in random order."""
        if not self.tasks[task].text:
            return None
        if task == "lung_rads":
            return nodule_report(self.nodules(row.exam))
        return joined(clinical_sentences(self.elements(row.exam)), rng, dropout)

    def region(self, task: Task, row: LabelledRow, number: int = 0) -> tuple[Any, np.ndarray, Box]:
        """Return a series of the exam (number 0 is preferred), its HU [D, H, W], and the task's box."""
        series = SimpleNamespace(**self._series_of(row).row(row.exam, number))
        name = f"{row.side}_lung" if task.region == "one_lung" else str(task.region)
        box: Box = tuple(map(int, getattr(series, name)))  # type: ignore[assignment]
        return series, store.open_volume(self.dataset / series.volume), box

    def with_image(
        self,
        task: Task,
        row: LabelledRow,
        question: str,
        text: str | None,
        rng: np.random.Generator,
        config: AugmentConfig | None,
    ) -> Sample:
        """Make the sample of a row with an image: of any series, changed, or of the preferred one."""
        if task.scale is None:
            return Sample(question=question, text=text, label=row.label, mask=row.mask)
        series, volume, box = self.crop(task, row, rng, config)
        degrees, hu_shift = 0.0, (0.0, 0.0)
        if config is not None:
            low, high = rng.uniform(-config.hu_shift, config.hu_shift, size=2).tolist()
            hu_shift = low, high
            degrees = float(rng.uniform(-config.rotation_degrees, config.rotation_degrees))
        image = transforms.preprocess(
            volume,
            box,
            (series.voxel_z, series.voxel_y, series.voxel_x),
            self.scales[task.scale],
            masked=task.scale == NODULE_SCALE,
            degrees=degrees,
            hu_shift=hu_shift,
        )
        return Sample(
            question=question,
            text=text,
            label=row.label,
            mask=row.mask,
            image=image.values,
            voxel_size=image.voxel_size,
            lung_mask=image.mask,
        )

    def crop(
        self, task: Task, row: LabelledRow, rng: np.random.Generator, config: AugmentConfig | None
    ) -> tuple[Any, np.ndarray, Box]:
        """Return the series of a row's sample, its HU [D, H, W], and the box that the model sees of it."""
        number = 0 if config is None else int(rng.integers(self._series_of(row).count(row.exam)))
        series, volume, box = self.region(task, row, number)
        index = self._nodule_slice(row, series, box, rng) if task.scale == NODULE_SCALE else None
        if config is not None:
            voxel_size = (series.voxel_z, series.voxel_y, series.voxel_x)
            box = _padded(box, volume.shape, voxel_size, config.padding_mm, rng)
        if index is not None:
            slices = self.scales[NODULE_SCALE].shape[0]
            shift = 0 if config is None else _jitter(config.slice_jitter_mm / series.voxel_z, slices, rng)
            box = transforms.nodule_window(box, index + shift, slices)
        return series, volume, box

    def _nodule_slice(self, row: LabelledRow, series: Any, box: Box, rng: np.random.Generator) -> int:
        """Return the slice index of a row's nodule, or draw one where nodules of that lung lie.

        Were a lung without a nodule shown at any height, the height alone would tell it from the others.
        """
        if row.slice_number >= 0:
            first, last = series.instance_first, series.instance_last
            return int(slice_index(row.slice_number, first, last, series.slices))
        heights = self._heights[row.side]
        height = rng.choice(heights) if len(heights) else rng.random()
        return round(box[0] + height * (box[1] - box[0]))


def joined(sentences: Sequence[str], rng: np.random.Generator | None = None, dropout: float = 0.0) -> str:
    """Join sentences to one text; with `rng` in random order, each left out with `dropout`."""
    if rng is not None:
        kept = [sentence for sentence in sentences if rng.random() >= dropout]
        sentences = [kept[i] for i in rng.permutation(len(kept))]
    return " ".join(sentences)


def _padded(
    box: Box,
    shape: tuple[int, ...],
    voxel_size: tuple[float, float, float],
    padding_mm: float,
    rng: np.random.Generator,
) -> Box:
    """Pad the box by a random margin on each side, inside the volume."""
    margin = rng.uniform(0.0, padding_mm, size=6)
    sides = []
    for axis in range(3):
        before, after = (round(margin[2 * axis + k] / voxel_size[axis]) for k in (0, 1))
        sides += [max(0, box[2 * axis] - before), min(shape[axis], box[2 * axis + 1] + after)]
    z0, z1, y0, y1, x0, x1 = sides
    return z0, z1, y0, y1, x0, x1


def _jitter(largest: float, slices: int, rng: np.random.Generator) -> int:
    """Draw a shift of a window of so many slices by up to `largest` slices, with its middle inside."""
    most = round(min(largest, slices // 2 - 1))
    return int(rng.integers(-most, most + 1))


def retrieval_sample(task: str, rng: np.random.Generator) -> Sample:
    """Make a question to simulated clinical text (paper, Fig. 1e, questions 17 and 18)."""
    elements = simulate_elements(rng)
    question, answer = retrieval_question(task, elements, rng)
    label = tuple(map(float, answer))
    sentences = clinical_sentences(elements)
    text = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
    return Sample(question=question, text=text, label=label, mask=(1.0,) * len(label))


def corpus(seed: int, texts: int = 3000) -> list[str]:
    """Yield sentences from which a tokenizer is learnt: questions and clinical text."""
    rng = np.random.default_rng([seed])
    sentences = [question for questions in QUESTIONS.values() for question in questions]
    sentences += OUT_OF_SCOPE
    sentences += [question for question, _ in task_id_questions(2 * texts, rng)]
    for number in range(texts):
        task = ("clinical_yes_no", "clinical_number")[number % 2]
        sample = retrieval_sample(task, rng)
        sentences += [sample.question, sample.text or ""]
    return sentences
