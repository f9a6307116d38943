"""The multimodal question-answering (MQA) dataset: one split of a dataset, as samples for the model.

A sample is a question to one task with its image region, clinical text and answer (paper, Methods: dataset
construction, step 4). What a sample holds is a function of its row and of one random generator, so any
worker makes the same sample at any time. Without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3fm import clinical
from m3fm.cohort.source import Nodule
from m3fm.config import Scale, TrainConfig
from m3fm.ct import store, transforms
from m3fm.questions import OUT_OF_SCOPE, QUESTIONS
from m3fm.tasks import TASKS, YEARS, Task

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled row of a task."""

    exam: str
    patient: str
    side: str
    nodule: int
    slice_number: int
    label: tuple[float, ...]
    mask: tuple[float, ...]

    @property
    def stratum(self) -> int:
        """What training draws evenly: the class, or whether there was an event."""
        return int(max(self.label)) if len(self.label) == YEARS else int(self.label[0])


@dataclass(frozen=True, slots=True)
class Sample:
    """What the model sees of one row, and the answer."""

    question: str
    text: str
    """Clinical sentences; empty where nothing is known."""
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

    def __init__(self, dataset: Path, splits: tuple[str, ...], scales: Mapping[str, Scale]) -> None:
        self.dataset = dataset
        self.scales = scales
        self.rows: dict[str, list[Row]] = {name: [] for name in TASKS}
        labels = pd.read_parquet(dataset / "labels.parquet")
        for row in labels[labels["split"].isin(splits)].itertuples():
            entry = Row(
                exam=row.exam,
                patient=row.patient,
                side=row.side,
                nodule=int(row.nodule),
                slice_number=int(row.slice_number),
                label=tuple(map(float, row.label)),
                mask=tuple(map(float, row.mask)),
            )
            self.rows[row.task].append(entry)
        series = pd.read_parquet(dataset / "series.parquet")
        series = series[(series["status"] == "kept") & series["split"].isin(splits)]
        series = series.sort_values(["exam", "preferred", "series"], ascending=[True, False, True])
        self.series: dict[str, list[Any]] = {exam: list(g.itertuples()) for exam, g in series.groupby("exam")}
        # An exam whose images were all rejected still serves the tasks that read text alone.
        for name, task in TASKS.items():
            if task.scale is not None:
                self.rows[name] = [row for row in self.rows[name] if row.exam in self.series]
        exams = pd.read_parquet(dataset / "exams.parquet").set_index("exam")
        self.elements = {
            exam: {name: value for name, value in values.items() if not pd.isna(value)}
            for exam, values in exams[list(clinical.ELEMENTS)].to_dict("index").items()
        }
        nodules = pd.read_parquet(dataset / "nodules.parquet")
        self.nodules = {exam: _nodules(group) for exam, group in nodules.groupby("exam")}

    def draw(self, task: str, rng: np.random.Generator) -> Row:
        """A row of a task, every class as often as any other, however rare it is."""
        strata: dict[int, list[Row]] = {}
        for row in self.rows[task]:
            strata.setdefault(row.stratum, []).append(row)
        chosen = strata[sorted(strata)[rng.integers(len(strata))]]
        return chosen[rng.integers(len(chosen))]

    def training_sample(self, task: str, rng: np.random.Generator, config: TrainConfig) -> Sample:
        """A random sample of a task with every random change that training makes."""
        if TASKS[task].kind == "retrieval":
            return retrieval_sample(task, rng)
        row = self.draw(task, rng)
        question = QUESTIONS[task][rng.integers(len(QUESTIONS[task]))]
        text = self.text(task, row, rng, config.element_dropout)
        return self._with_image(TASKS[task], row, question, text, rng, config)

    def sample(self, task: str, row: Row, number: int) -> Sample:
        """The sample of a row as evaluation sees it; `number` seeds what the row leaves open."""
        text = self.text(task, row)
        rng = np.random.default_rng([number])
        return self._with_image(TASKS[task], row, QUESTIONS[task][0], text, rng, None)

    def text(self, task: str, row: Row, rng: np.random.Generator | None = None, dropout: float = 0.0) -> str:
        """The clinical text of a row: all sentences in order, or some of them in random order."""
        if task == "lung_rads":
            return clinical.nodule_report(self.nodules.get(row.exam, []))
        sentences = clinical.sentences(self.elements.get(row.exam, {}))
        if rng is not None:
            kept = [sentence for sentence in sentences if rng.random() >= dropout]
            sentences = [kept[i] for i in rng.permutation(len(kept))]
        return " ".join(sentences)

    def _with_image(
        self,
        task: Task,
        row: Row,
        question: str,
        text: str,
        rng: np.random.Generator,
        config: TrainConfig | None,
    ) -> Sample:
        if task.scale is None:
            return Sample(question=question, text=text, label=row.label, mask=row.mask)
        available = self.series[row.exam]
        series = available[0] if config is None else available[rng.integers(len(available))]
        volume = store.open_volume(self.dataset / series.volume)
        voxel_size = (series.voxel_z, series.voxel_y, series.voxel_x)
        scale = self.scales[task.scale]
        region = f"{row.side}_lung" if task.region == "one_lung" else task.region
        box: Box = tuple(map(int, getattr(series, str(region))))  # type: ignore[assignment]
        if config is not None:
            box = _padded(box, volume.shape, voxel_size, config.padding_mm, rng)
        if task.scale == "nodule":
            box = transforms.nodule_window(box, _nodule_slice(row, series, box, rng, config), scale.shape[0])
        window = scale.hu_window
        if config is not None:
            low, high = rng.uniform(-config.hu_shift, config.hu_shift, size=2)
            window = (window[0] + low, window[1] + high)
        voxels, size = transforms.fit(volume, box, voxel_size, scale.shape)
        if config is not None:
            degrees = rng.uniform(-config.rotation_degrees, config.rotation_degrees)
            voxels = transforms.rotate(voxels, degrees)
        return Sample(
            question=question,
            text=text,
            label=row.label,
            mask=row.mask,
            image=transforms.window(voxels, window),
            voxel_size=np.asarray(size, dtype=np.float32),
            lung_mask=transforms.filled(box, scale.shape) if task.scale == "nodule" else None,
        )


def _nodules(group: pd.DataFrame) -> list[Nodule]:
    values = group.sort_values("number").replace({np.nan: None}).to_dict("records")
    fields = ("number", "lobe", "slice_number", "long_mm", "short_mm", "margin", "attenuation", "new")
    return [Nodule(**{field: value[field] for field in fields}) for value in values]


def _padded(
    box: Box,
    shape: tuple[int, ...],
    voxel_size: tuple[float, float, float],
    padding_mm: float,
    rng: np.random.Generator,
) -> Box:
    """The box with a random margin on each side, inside the volume."""
    margin = rng.uniform(0.0, padding_mm, size=6)
    sides = []
    for axis in range(3):
        before, after = (round(margin[2 * axis + k] / voxel_size[axis]) for k in (0, 1))
        sides += [max(0, box[2 * axis] - before), min(shape[axis], box[2 * axis + 1] + after)]
    z0, z1, y0, y1, x0, x1 = sides
    return z0, z1, y0, y1, x0, x1


def _nodule_slice(
    row: Row, series: Any, box: Box, rng: np.random.Generator, config: TrainConfig | None
) -> int:
    """Slice index to look at: the nodule's (in training, a few off it), or any of a lung without one."""
    if row.slice_number < 0:
        return int(rng.integers(box[0], box[1]))
    step = (series.instance_last - series.instance_first) / max(series.slices - 1, 1)
    index = round((row.slice_number - series.instance_first) / step)
    return index if config is None else index + int(rng.integers(-4, 5))


def retrieval_sample(task: str, rng: np.random.Generator) -> Sample:
    """A question to simulated clinical text (paper, Fig. 1e, questions 17 and 18)."""
    elements = clinical.simulate_elements(rng)
    question, answer = clinical.retrieval_question(task, elements, rng)
    label = tuple(map(float, answer))
    sentences = clinical.sentences(elements)
    text = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
    return Sample(question=question, text=text, label=label, mask=(1.0,) * len(label))


def corpus(seed: int, texts: int = 3000) -> list[str]:
    """Sentences in the platform's language, from which a tokenizer is learnt: questions and clinical text."""
    rng = np.random.default_rng([seed])
    sentences = [question for questions in QUESTIONS.values() for question in questions]
    sentences += OUT_OF_SCOPE
    for number in range(texts):
        task = ("clinical_yes_no", "clinical_number")[number % 2]
        sample = retrieval_sample(task, rng)
        sentences += [sample.question, sample.text]
    return sentences
