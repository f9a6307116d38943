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
from m3fm.ct.geometry import Box
from m3fm.ct.regions import find_regions
from m3fm.ct.volume import Series
from m3fm.deploy.bundle import BundleTask, read
from m3fm.deploy.inputs import read_ct, read_elements, read_nodules
from m3fm.deploy.runtime import Device, Tokens, sessions

Answer = dict[str, Any]
Probabilities = NDArray[np.float32]

PRESENCE = "nodule_presence"
REPORT = "lung_rads"
"""The task that reads the nodule report, and no other clinical text."""
SURE = 0.5
"""Least probability of the Task ID predictor at which a question is taken for a task's: more likely than not.

Chosen on the questions CHOOSING of tests/model/paraphrases.py and four trainings of the tiny preset. In three
that had learnt well it changed little (461 instead of 463 of 471 questions understood; at 0.7, 453). In one
that had not, it refused four of the six questions that were taken for another task's.
"""


class Predictor:
    """A verified bundle on one device."""

    def __init__(self, bundle: Path, device: Device = "cpu") -> None:
        """Raises InputError for a damaged bundle, or a device that does not work."""
        self.bundle = read(bundle)
        self.digest = Reference.to(bundle).digest
        self.graphs = sessions(bundle, device)
        self.tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))

    def predict(
        self,
        series: Series | None,
        elements: Elements | None = None,
        nodules: Sequence[Nodule] | None = None,
        tasks: Iterable[str] | None = None,
        nodule_slice: tuple[str, int] | None = None,
    ) -> dict[str, Answer]:
        """Answers by task, of the tasks named or of all that have a question of their own.

        `elements` are clinical data, `nodules` is the report that Lung-RADS is read from, `nodule_slice` the
        lung ("left" or "right") and slice index that the nodule tasks look at; without it they look for the
        place themselves. An answer holds `title`, `question`, `region` and either `probabilities` (by
        answer; of both lungs apart also under `lungs`) or `skipped`, the reason why there is no answer.
        Raises InputError for a task that the bundle does not have, Rejected where no lungs are found.
        """
        asked = self.bundle.tasks if tasks is None else [self.bundle.task(name) for name in tasks]
        questions = {task: task.question for task in asked if tasks is not None or task.question is not None}
        return _Exam(self, series, elements, nodules, nodule_slice).answers(questions)

    def predict_path(self, path: Path, series: str | None = None, **known: Any) -> dict[str, Answer]:
        """`predict` for a NIfTI file or the one series in a folder of DICOM; `series` is its UID."""
        return self.predict(read_ct(path, series), **known)

    def ask(
        self,
        question: str,
        series: Series | None = None,
        elements: Elements | None = None,
        nodules: Sequence[Nodule] | None = None,
        nodule_slice: tuple[str, int] | None = None,
    ) -> dict[str, Answer]:
        """The answer to a question in the user's words, by the task that it was understood as.

        Raises InputError for a question of no task, or of which that is not sure.
        """
        _, logits = self.encode_question(question)
        probabilities = np.exp(logits[0] - logits[0].max())
        probabilities /= probabilities.sum()
        chosen = int(probabilities.argmax())
        if chosen == len(self.bundle.tasks) or probabilities[chosen] < SURE:
            titles = ", ".join(task.title for task in self.bundle.tasks)
            raise InputError(f"{question!r} is no question this model can answer; ask about: {titles}")
        task = self.bundle.tasks[chosen]
        return _Exam(self, series, elements, nodules, nodule_slice).answers({task: question})

    def encode_question(self, question: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The <TASK> token [1, 1, C] of a question, and its Task ID logits [1, tasks + 1]."""
        limits = self.bundle.max_question_tokens, self.bundle.close_truncated
        return self.graphs.question(*encode(self.tokenizer, [question], *limits))


class _Exam:
    """What is known of one patient; every part is encoded once, when a task first needs it."""

    def __init__(
        self,
        predictor: Predictor,
        series: Series | None,
        elements: Elements | None,
        nodules: Sequence[Nodule] | None,
        nodule_slice: tuple[str, int] | None,
    ) -> None:
        self.predictor = predictor
        self.bundle = predictor.bundle
        self.graphs = predictor.graphs
        self.series = series
        self.sentences = " ".join(clinical_sentences(elements or {}))
        self.report = None if nodules is None else nodule_report(nodules)
        self.nodule_slice = nodule_slice
        self._boxes: dict[str, Box] | None = None
        self._texts: dict[str, Tokens | None] = {}
        self._images: dict[tuple[str, str], Tokens] = {}
        self._windows: dict[str, tuple[Box, Tokens, float]] | None = None

    def answers(self, questions: Mapping[BundleTask, str | None]) -> dict[str, Answer]:
        return {task.name: self._entry(task, question) for task, question in questions.items()}

    def _entry(self, task: BundleTask, question: str | None) -> Answer:
        entry = {"title": task.title, "question": question, "region": task.region}
        reason = self._obstacle(task, question)
        if reason is not None:
            return {**entry, "skipped": reason}
        token, _ = self.predictor.encode_question(question or "")
        if task.scale == "nodule":
            return {**entry, **self._nodule_answer(task, token)}
        if task.region == "one_lung":
            lungs = {side: self._probabilities(task, token, f"{side}_lung") for side in LUNGS}
            larger = np.maximum(*lungs.values())
            return {**entry, "probabilities": _named(task, larger), "lungs": _by_lung(task, lungs)}
        probabilities = self._probabilities(task, token, task.region)
        read = {"number": number(probabilities)} if task.loss == "digits" else {}
        return {**entry, "probabilities": _named(task, probabilities), **read}

    def _obstacle(self, task: BundleTask, question: str | None) -> str | None:
        if question is None:
            return "needs a question in your words"
        if task.scale is not None and self.series is None:
            return "needs a CT"
        if task.scale == "nodule" and self.nodule_slice is None and not self._finds_nodules():
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
            self._boxes = find_regions(self.series.voxels, self.series.voxel_size)
        return self._boxes[region]

    def _image(self, scale: str, region: str) -> Tokens:
        if (scale, region) not in self._images:
            self._images[scale, region] = self._encode(scale, self._box(region))
        return self._images[scale, region]

    def _encode(self, scale_name: str, box: Box) -> Tokens:
        """Encode a box as the samples of evaluation are made (`m3fm.dataset.mqa`)."""
        assert self.series is not None
        scale = self.bundle.scales[scale_name]
        image, size = transforms.fit_scale(self.series.voxels, box, self.series.voxel_size, scale)
        mask = transforms.crop_mask(box, scale.shape)[None] if scale_name == "nodule" else None
        return self.graphs.image(scale_name, image[None, None], size[None], mask)

    def _nodule_answer(self, task: BundleTask, token: NDArray[np.float32]) -> Answer:
        """Answer at each lung's window of slices; the patient's answer is that of the likelier nodule."""
        windows = self._nodule_windows()
        text = self._text(task)
        lungs = {
            side: self.graphs.answer(task.name, token, image, text)[0]
            for side, (_, image, _) in windows.items()
        }
        likelier = max(windows, key=lambda side: windows[side][2])
        found = "given" if self.nodule_slice else "where a nodule is most probable"
        return {
            "probabilities": _named(task, lungs[likelier]),
            "lungs": _by_lung(task, lungs),
            "slices": {side: [box[0], box[1]] for side, (box, _, _) in windows.items()},
            "note": f"the answer is that of the {likelier} lung, at the slices {found}",
        }

    def _nodule_windows(self) -> dict[str, tuple[Box, Tokens, float]]:
        """For each lung the window with the most probable nodule: its box, tokens and probability."""
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
        """Windows over a lung, each half covered by the next; or the one around the slice that is given."""
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


def _named(task: BundleTask, probabilities: Probabilities) -> dict[str, Any]:
    """Probabilities by answer; for digits, the ten of each."""
    values = probabilities.astype(float)
    if task.loss == "digits":
        return dict(zip(task.answers, values.reshape(len(task.answers), 10).tolist()))
    return dict(zip(task.answers, values.tolist()))


def number(probabilities: Probabilities) -> int:
    """The most probable number, of the probabilities [30] of three digits."""
    return int("".join(map(str, probabilities.reshape(3, 10).argmax(axis=1))))


def run_predict(
    bundle: Path,
    ct: Path | None,
    clinical: Path | None = None,
    tasks: list[str] | None = None,
    question: str | None = None,
    nodules: Path | None = None,
    device: Device = "cpu",
) -> dict[str, Any]:
    """`m3fm predict`: files in, one JSON value out.

    `clinical` and `nodules` are JSON files (`m3fm.deploy.inputs`); `ct` is a folder of DICOM or a NIfTI file.
    Raises InputError.
    """
    if question is not None and tasks:
        raise InputError("a question says which task is meant: give either tasks or a question")
    elements = None if clinical is None else read_elements(clinical)
    report = None if nodules is None else read_nodules(nodules)
    predictor = Predictor(bundle, device)
    series = None if ct is None else read_ct(ct)
    if question is not None:
        answers = predictor.ask(question, series, elements, report)
    else:
        answers = predictor.predict(series, elements, report, tasks or None)
    return {
        "notice": predictor.bundle.notice,
        "bundle": predictor.digest,
        "provider": predictor.graphs.provider,
        "answers": answers,
    }
