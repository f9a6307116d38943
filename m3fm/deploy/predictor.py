"""Answers about one patient from a bundle: the same preprocessing as in training, and no torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from m3fm.clinical.elements import Elements
from m3fm.clinical.records import Nodule
from m3fm.clinical.sentences import clinical_sentences, nodule_report
from m3fm.clinical.tasks import LUNGS
from m3fm.core.artifacts import Reference
from m3fm.core.errors import InputError
from m3fm.core.tokens import encode
from m3fm.ct import transforms
from m3fm.ct.boxes import region_boxes
from m3fm.ct.geometry import Box, Rejected
from m3fm.ct.read import read_ct, segmentations_of
from m3fm.ct.volume import Series
from m3fm.deploy.answer import Answer, Answers
from m3fm.deploy.bundle import BundleTask, read
from m3fm.deploy.inputs import check_elements, check_nodules, read_elements, read_nodules
from m3fm.deploy.runtime import Device, Tokens, sessions

Probabilities = NDArray[np.float32]
CT = Path | str | Series
Clinical = Path | str | Elements
Report = Path | str | Sequence[Nodule | Mapping[str, Any]]

PRESENCE = "nodule_presence"
REPORT = "lung_rads"
"""The task that reads the nodule report, and no other clinical text."""
NODULE_SCALE = "nodule"
SURE = 0.5
"""Least probability of the Task ID predictor at which a question is taken for a task's: more likely than not.

Chosen on the questions CHOOSING of tests/model/paraphrases.py and four trainings of the tiny preset. In three
that had learnt well it changed little (461 instead of 463 of 471 questions understood; at 0.7, 453). In one
that had not, it refused four of the six questions that were taken for another task's.
"""


def load(bundle: Path | str, device: Device = "cpu") -> "Predictor":
    """Load a bundle that `m3fm.pull` or `m3fm export` wrote, every file of it checked.

    `device` is "cpu", "gpu" or "auto". Raises InputError for a damaged bundle, one of another version, or a
    device that does not work.
    """
    return Predictor(Path(bundle), device)


class Predictor:
    """A verified bundle on one device."""

    def __init__(self, bundle: Path, device: Device = "cpu") -> None:
        """Raise InputError for a damaged bundle, or a device that does not work."""
        self.bundle = read(bundle)
        self.digest = Reference.to(bundle).digest
        self.graphs = sessions(bundle, device)
        self.tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))

    def predict(
        self,
        ct: CT | None = None,
        clinical: Clinical | None = None,
        report: Report | None = None,
        tasks: Iterable[str] | None = None,
        *,
        nodule_slice: tuple[str, int] | None = None,
        segmentations: Sequence[Path | str] = (),
    ) -> Answers:
        """Answer the tasks named, or all that have a question of their own: an `Answer` by task.

        `ct` is a folder of one DICOM series, a NIfTI file, or a series of `m3fm.read_ct`. `clinical` holds
        elements by name, `report` the nodules that Lung-RADS is read from; both may be JSON files of these
        (docs/inputs.md). `nodule_slice` is the lung ("left" or "right") and the slice index that nodule tasks
        look at; without it they search for the place. A model trained on regions from segmentations needs
        those of the CT, in its folder or as `segmentations`. A task that lacks what it reads is skipped, and
        its answer states the reason.
        Raises InputError for a task that the bundle does not have, and for input that cannot be used.
        """
        asked = self.bundle.tasks if tasks is None else [self.bundle.task(name) for name in tasks]
        questions = {task: task.question for task in asked if tasks is not None or task.question is not None}
        exam = self._exam(ct, clinical, report, nodule_slice, segmentations)
        return Answers({task.name: exam.answer(task, question) for task, question in questions.items()})

    def ask(
        self,
        question: str,
        ct: CT | None = None,
        clinical: Clinical | None = None,
        report: Report | None = None,
        *,
        nodule_slice: tuple[str, int] | None = None,
        segmentations: Sequence[Path | str] = (),
    ) -> Answer:
        """Answer a question in the user's words, by the task that it was understood as.

        Takes the inputs of `predict`. Raises InputError for a question of no task, or of an unclear one.
        """
        _, logits = self.encode_question(question)
        probabilities = np.exp(logits[0] - logits[0].max())
        probabilities /= probabilities.sum()
        chosen = int(probabilities.argmax())
        if chosen == len(self.bundle.tasks) or probabilities[chosen] < SURE:
            titles = ", ".join(task.title for task in self.bundle.tasks)
            raise InputError(f"this model cannot answer {question!r}; ask about: {titles}")
        exam = self._exam(ct, clinical, report, nodule_slice, segmentations)
        return exam.answer(self.bundle.tasks[chosen], question)

    def encode_question(self, question: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode a question to its <TASK> token [1, 1, C] and its Task ID logits [1, tasks + 1]."""
        limits = self.bundle.max_question_tokens, self.bundle.close_truncated
        return self.graphs.question(*encode(self.tokenizer, [question], *limits))

    def _exam(
        self,
        ct: CT | None,
        clinical: Clinical | None,
        report: Report | None,
        nodule_slice: tuple[str, int] | None,
        segmentations: Sequence[Path | str],
    ) -> "_Exam":
        """Read and check all that is known of a patient."""
        elements = _elements(clinical)
        nodules = _nodules(report)
        series = ct if ct is None or isinstance(ct, Series) else _read(Path(ct))
        if isinstance(ct, Path | str) and series is not None and not segmentations:
            segmentations = segmentations_of(Path(ct)).get(series.series_uid, [])
        if nodule_slice is not None:
            _check_nodule_slice(nodule_slice, series)
        paths = [Path(path) for path in segmentations]
        return _Exam(self, series, elements, nodules, nodule_slice, paths)


def _check_nodule_slice(nodule_slice: tuple[str, int], series: Series | None) -> None:
    """Raise InputError for anything but a lung and the index of a slice of the series."""
    match nodule_slice:
        case (side, int(index)) if side in LUNGS and not isinstance(index, bool):
            slices = index + 1 if series is None else len(series.voxels)
            if not 0 <= index < slices:
                raise InputError(f"nodule_slice is {index}: the slices of the CT are 0 to {slices - 1}")
        case _:
            raise InputError(
                f'nodule_slice is {nodule_slice!r}; pass "left" or "right" and a slice index, as ("left", 40)'
            )


def _elements(clinical: Clinical | None) -> Elements:
    if isinstance(clinical, Path | str):
        return read_elements(Path(clinical))
    return check_elements(clinical or {})


def _nodules(report: Report | None) -> list[Nodule] | None:
    if report is None:
        return None
    if isinstance(report, Path | str):
        return read_nodules(Path(report))
    return check_nodules(report)


def _read(path: Path) -> Series:
    try:
        return read_ct(path)
    except Rejected as rejected:
        raise InputError(f"{path} cannot be used: {rejected}") from rejected


class _Exam:
    """All inputs of one patient; every part is encoded once, when a task first needs it."""

    def __init__(
        self,
        predictor: Predictor,
        series: Series | None,
        elements: Elements,
        nodules: Sequence[Nodule] | None,
        nodule_slice: tuple[str, int] | None,
        segmentations: Sequence[Path],
    ) -> None:
        self.predictor = predictor
        self.bundle = predictor.bundle
        self.graphs = predictor.graphs
        self.series = series
        self.segmentations = segmentations
        self.sentences = " ".join(clinical_sentences(elements))
        self.report = None if nodules is None else nodule_report(nodules)
        self.nodule_slice = nodule_slice
        self._boxes: dict[str, Box] | None = None
        self._texts: dict[str, Tokens | None] = {}
        self._images: dict[tuple[str, str], Tokens] = {}
        self._windows: dict[str, tuple[Box, Tokens, float]] | None = None

    def answer(self, task: BundleTask, question: str | None) -> Answer:
        """Answer one task, or say why it is skipped."""
        common: dict[str, Any] = {
            "task": task.name,
            "title": task.title,
            "question": question,
            "region": task.region,
            "notice": self.bundle.notice,
        }
        reason = self._obstacle(task, question)
        if reason is not None:
            return Answer(**common, skipped=reason)
        token, _ = self.predictor.encode_question(question or "")
        if task.scale == NODULE_SCALE:
            return self._nodule_answer(task, token, common)
        if task.region == "one_lung":
            lungs = {side: self._probabilities(task, token, f"{side}_lung") for side in LUNGS}
            larger = np.maximum(*lungs.values())
            return Answer(**common, **_answered(task, larger), by_lung=_by_lung(task, lungs))
        return Answer(**common, **_answered(task, self._probabilities(task, token, task.region)))

    def _obstacle(self, task: BundleTask, question: str | None) -> str | None:
        if question is None:
            return "needs a question in your words"
        if task.scale is not None and self.series is None:
            return "needs a CT"
        if task.scale == NODULE_SCALE and self.nodule_slice is None and not self._finds_nodules():
            return f"needs the slice of a nodule: the model has no {PRESENCE}, which would look for one"
        if task.name == REPORT and self.report is None:
            return "needs a nodule report"
        if task.scale is None and task.name != REPORT and not self.sentences:
            return "needs clinical data"
        return None

    def _probabilities(
        self, task: BundleTask, token: NDArray[np.float32], region: str | None
    ) -> Probabilities:
        image = None
        if task.scale is not None and region is not None:
            image = self._image(task.scale, region)
        return self.graphs.answer(task.name, token, image, self._text(task))[0]

    def _finds_nodules(self) -> bool:
        return any(task.name == PRESENCE and task.scale is not None for task in self.bundle.tasks)

    def _text(self, task: BundleTask) -> Tokens | None:
        if not task.text:
            return None
        text = (self.report if task.name == REPORT else self.sentences) or ""
        if text not in self._texts:
            limits = self.bundle.max_tokens, self.bundle.close_truncated
            ids, mask = encode(self.predictor.tokenizer, [text], *limits)
            self._texts[text] = self.graphs.text(ids, mask) if text else None
        return self._texts[text]

    def _box(self, region: str) -> Box:
        assert self.series is not None
        if self._boxes is None:
            self._boxes = self._find_boxes(self.series)
        return self._boxes[region]

    def _find_boxes(self, series: Series) -> dict[str, Box]:
        """Find the regions as they were found for training."""
        if self.bundle.regions.source == "segmentations" and not self.segmentations:
            raise InputError(
                "the model was trained on regions from segmentations, and none of this CT is given: put its"
                " DICOM SEG or label map beside it, or name it with --segmentation"
            )
        try:
            return region_boxes(series, self.bundle.regions, self.segmentations)
        except Rejected as rejected:
            raise InputError(f"the regions of the CT cannot be found: {rejected}") from rejected

    def _image(self, scale: str, region: str) -> Tokens:
        if (scale, region) not in self._images:
            self._images[scale, region] = self._encode(scale, self._box(region))
        return self._images[scale, region]

    def _encode(self, scale_name: str, box: Box) -> Tokens:
        """Encode a box as the samples of evaluation are made: by the same function."""
        assert self.series is not None
        scale = self.bundle.scales[scale_name]
        image = transforms.preprocess(
            self.series.voxels, box, self.series.voxel_size, scale, masked=scale_name == NODULE_SCALE
        )
        mask = None if image.mask is None else image.mask[None]
        return self.graphs.image(scale_name, image.values[None, None], image.voxel_size[None], mask)

    def _nodule_answer(
        self, task: BundleTask, token: NDArray[np.float32], common: Mapping[str, Any]
    ) -> Answer:
        """Answer at each lung's window of slices; the patient's answer is that of the likelier nodule."""
        windows = self._nodule_windows()
        text = self._text(task)
        lungs = {
            side: self.graphs.answer(task.name, token, image, text)[0]
            for side, (_, image, _) in windows.items()
        }
        likelier = max(windows, key=lambda side: windows[side][2])
        found = "given" if self.nodule_slice else "where a nodule is most probable"
        return Answer(
            **common,
            **_answered(task, lungs[likelier]),
            by_lung=_by_lung(task, lungs),
            slices={side: (box[0], box[1]) for side, (box, _, _) in windows.items()},
            note=f"the answer is that of the {likelier} lung, at the slices {found}",
        )

    def _nodule_windows(self) -> dict[str, tuple[Box, Tokens, float]]:
        """Find in each lung the window with the most probable nodule: its box, tokens and probability."""
        if self._windows is None:
            if self.nodule_slice is not None:
                (box,) = self._candidates(side := self.nodule_slice[0])
                self._windows = {side: (box, self._encode("nodule", box), 1.0)}
                return self._windows
            presence = self.bundle.task(PRESENCE)
            token, _ = self.predictor.encode_question(presence.question or "")
            self._windows = {}
            for side in LUNGS:
                # Only the best window's tokens are kept: a lung has dozens of windows.
                for box in self._candidates(side):
                    image = self._encode("nodule", box)
                    yes = float(self.graphs.answer(PRESENCE, token, image, self._text(presence))[0, 1])
                    if side not in self._windows or yes > self._windows[side][2]:
                        self._windows[side] = box, image, yes
        return self._windows

    def _candidates(self, side: str) -> Iterator[Box]:
        """Yield windows over a lung, each half covered by the next; or the one around the given slice."""
        box = self._box(f"{side}_lung")
        slices = self.bundle.scales["nodule"].shape[0]
        if self.nodule_slice is not None:
            yield transforms.nodule_window(box, self.nodule_slice[1], slices)
            return
        last = max(box[0], box[1] - slices)
        for start in (*range(box[0], last, slices // 2), last):
            yield transforms.nodule_window(box, start + slices // 2, slices)


def _by_lung(task: BundleTask, lungs: Mapping[str, Probabilities]) -> dict[str, Any]:
    return {side: _named(task, probabilities) for side, probabilities in lungs.items()}


def _answered(task: BundleTask, probabilities: Probabilities) -> dict[str, Any]:
    """Return an answer in words, and its probabilities."""
    named = _named(task, probabilities)
    match task.loss:
        case "softmax":
            answer = task.answers[int(probabilities.argmax())]
        case "hazard":
            answer = f"{probabilities[-1]:.1%} within {task.answers[-1]}"
        case "digits":
            answer = str(number(probabilities))
    return {"answer": answer, "probabilities": named}


def _named(task: BundleTask, probabilities: Probabilities) -> dict[str, Any]:
    """Return probabilities by answer; of digits, the ten of each."""
    values = probabilities.astype(float)
    if task.loss == "digits":
        return dict(zip(task.answers, values.reshape(len(task.answers), 10).tolist()))
    return dict(zip(task.answers, values.tolist()))


def number(probabilities: Probabilities) -> int:
    """Return the most probable number, of the probabilities [30] of three digits."""
    return int("".join(map(str, probabilities.reshape(3, 10).argmax(axis=1))))
