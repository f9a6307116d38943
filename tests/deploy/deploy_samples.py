"""What the tests of deployment are about: a small M3FM with random weights, one patient, and labels."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from m3fm.clinical.elements import Elements
from m3fm.clinical.sentences import clinical_sentences
from m3fm.clinical.tasks import TASKS, YEARS, Task
from m3fm.config.model import ModelConfig, TextConfig
from m3fm.config.presets import preset
from m3fm.config.sections import RegionsConfig
from m3fm.core.artifacts import seal
from m3fm.core.tokens import encode
from m3fm.model import checkpoint as checkpoints
from m3fm.model.m3fm import M3FM
from m3fm.model.text import train_tokenizer
from m3fm.questions.bank import OUT_OF_SCOPE, QUESTIONS

CONFIG = ModelConfig(
    width=48,
    depth=1,
    heads=4,
    task_depth=2,
    head_width=48,
    scales=preset("tiny").model.scales,
    text=TextConfig(width=32, depth=1, heads=4, vocabulary=600),
)
ELEMENTS: Elements = {"age": 61.0, "gender": "Male", "pack_years": 40.0, "copd": 55.0}
NODULE: dict[str, Any] = {"number": 1, "lobe": "LUL", "slice_number": 45, "long_mm": 7.0, "short_mm": 5.0}


def random_model(config: ModelConfig, seed: int, tasks: Mapping[str, Task] = TASKS) -> M3FM:
    """A model none of whose weights are alike, zero or small enough to hide a wrong wire."""
    torch.manual_seed(seed)
    model = M3FM(config, tasks).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write_checkpoint(directory: Path, seed: int, tasks: Mapping[str, Task] = TASKS) -> Path:
    questions = [question for asked in QUESTIONS.values() for question in asked]
    sentences = [" ".join(clinical_sentences(ELEMENTS)), *OUT_OF_SCOPE, *questions]
    tokenizer = train_tokenizer(sentences, CONFIG.text.vocabulary)
    model = random_model(CONFIG, seed, tasks)
    refuse_half(model, *map(torch.from_numpy, encode(tokenizer, questions, 50)))
    save_file(model.state_dict(), directory / "model.safetensors")
    checkpoints.write_config(CONFIG, directory, tasks)
    tokenizer.save(str(directory / "tokenizer.json"))
    facts = {"regions": RegionsConfig().model_dump(mode="json"), "simulated": True}
    seal(directory, "checkpoint.json", {"steps": 0, **facts})
    return directory


@torch.no_grad()
def refuse_half(model: M3FM, ids: Tensor, mask: Tensor) -> None:
    """Make the Task ID predictor take half of the questions for questions of no task."""
    logits = model.task_logits(model.encode_question(ids, mask))
    ahead = logits[:, :-1].amax(dim=1) - logits[:, -1]
    model.task_id.out.bias[-1] += ahead.median()


def labels(exam: dict[str, str]) -> Iterator[dict[str, object]]:
    for name, task in TASKS.items():
        if task.kind == "retrieval":
            continue
        length = YEARS if task.loss == "hazard" else 1
        nodule = task.scale == "nodule"
        for side in ("left", "right") if task.region == "one_lung" else ("",):
            yield {
                **exam,
                "task": name,
                "side": side,
                "nodule": 1 if nodule else -1,
                "slice_number": NODULE["slice_number"] if nodule else -1,
                "label": [0.0] * length,
                "mask": [1.0] * length,
            }
