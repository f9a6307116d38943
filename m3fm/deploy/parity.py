"""Whether the graphs of a bundle give torch's probabilities."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from m3fm.clinical.tasks import Task
from m3fm.config.model import ModelConfig
from m3fm.dataset.batch import collate, model_inputs
from m3fm.dataset.mqa import Mqa, Sample, retrieval_sample
from m3fm.deploy.runtime import Sessions, sessions
from m3fm.model.m3fm import M3FM

TOLERANCE = 1e-4
STATED = (1e-5, TOLERANCE)
"""Bounds that a bundle states: the differences themselves vary in their last digits from run to run."""
SAMPLES = 2
"""Samples of each task, where a dataset is given."""

TEXT = ("text_ids", "text_mask")
IMAGE = ("images", "voxel_size", "lung_mask")
Inputs = dict[str, Tensor | None]


def check(model: M3FM, tokenizer: Tokenizer, directory: Path, dataset: Path | None) -> dict[str, float]:
    """Return by task a bound of STATED on the difference of any probability; "task_id" is the predictor's.

    Raises RuntimeError naming the task where one is over TOLERANCE.
    """
    graphs = sessions(directory)
    mqa = None if dataset is None else Mqa(dataset, ("test",), model.config.scales, model.tasks)
    found = {"task_id": 0.0}
    for name, task in model.tasks.items():
        cases = list(random_cases(task, model.config))
        if mqa is not None and (samples := _samples(mqa, task)):
            cases.append(model_inputs(collate(samples, tokenizer, model.config)))
        pairs = [(answer(graphs, task, case), model.predict(name, **case).numpy()) for case in cases]
        found[name] = max(map(_difference, pairs))
        known = [_task_probabilities(graphs, model, case) for case in cases]
        found["task_id"] = max(found["task_id"], *map(_difference, known))
        for key in (name, "task_id"):
            if not found[key] <= TOLERANCE:
                raise RuntimeError(f"{key}: ONNX and torch differ by {found[key]:.1e}, over {TOLERANCE:.0e}")
    return {key: next(bound for bound in STATED if value <= bound) for key, value in found.items()}


def _difference(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    return float(np.abs(pair[0] - pair[1]).max())


@torch.no_grad()
def _task_probabilities(
    graphs: Sessions, model: M3FM, inputs: Inputs
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the Task ID predictor's probabilities [B, tasks + 1] by the graphs and by torch."""
    ids, mask = inputs["question_ids"], inputs["question_mask"]
    assert ids is not None
    assert mask is not None
    _, logits = graphs.question(ids.numpy(), mask.numpy())
    expected = model.task_logits(model.encode_question(ids, mask))
    return torch.from_numpy(logits).softmax(dim=1).numpy(), expected.softmax(dim=1).numpy()


def random_cases(task: Task, config: ModelConfig, batch: int = 3) -> Iterator[Inputs]:
    """Yield a batch with image and text; then its first sample without text, image, or either."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, config.text.vocabulary, (batch, 24), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 17:] = 0
    full: Inputs = {
        "text_ids": ids,
        "text_mask": mask,
        "question_ids": ids[:, 3:15],
        "question_mask": mask[:, 3:15],
        **dict.fromkeys(IMAGE),
    }
    if task.scale is not None:
        shape = config.scales[task.scale].shape
        full["images"] = torch.rand(batch, 1, *shape, generator=generator) * 2 - 1
        full["voxel_size"] = torch.rand(batch, 3, generator=generator) * 2 + 0.5
    if task.scale == "nodule":
        lung_mask = torch.zeros(batch, *shape, dtype=torch.bool)
        lung_mask[:, :, shape[1] // 3 :, : shape[2] // 2] = True
        full["lung_mask"] = lung_mask
    yield full
    first = {name: None if tensor is None else tensor[:1] for name, tensor in full.items()}
    for absent in (TEXT, IMAGE, TEXT + IMAGE):
        yield {**first, **dict.fromkeys(absent)}


def answer(graphs: Sessions, task: Task, inputs: Inputs) -> NDArray[np.float32]:
    """Compute the graphs' probabilities [B, answers] for the inputs of `M3FM.predict`."""
    arrays = {name: None if tensor is None else tensor.numpy() for name, tensor in inputs.items()}
    images, voxel_size = arrays.get("images"), arrays.get("voxel_size")
    image = text = None
    if task.scale is not None and images is not None and voxel_size is not None:
        image = graphs.image(task.scale, images, voxel_size, arrays.get("lung_mask"))
    ids, mask = arrays["text_ids"], arrays["text_mask"]
    if ids is not None and mask is not None:
        text = graphs.text(ids, mask)
    question_ids, question_mask = arrays["question_ids"], arrays["question_mask"]
    assert question_ids is not None
    assert question_mask is not None
    token, _ = graphs.question(question_ids, question_mask)
    return graphs.answer(task.name, token, image, text)


def _samples(mqa: Mqa, task: Task) -> list[Sample]:
    if task.kind == "retrieval":
        return [retrieval_sample(task.name, np.random.default_rng([number])) for number in range(SAMPLES)]
    rows = mqa.rows[task.name][:SAMPLES]
    return [mqa.sample(task.name, row, number) for number, row in enumerate(rows)]
