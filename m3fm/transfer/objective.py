"""Data and loss of fine-tuning on a new task, for the common training loop."""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from m3fm.clinical.tasks import Modality, reading
from m3fm.config.model import ModelConfig
from m3fm.config.sections import FinetuneConfig
from m3fm.dataset.batch import Batch, collate, model_inputs
from m3fm.dataset.mqa import Mqa, Sample, joined
from m3fm.dataset.tables import SPLITS
from m3fm.model.checkpoint import transfer_weights
from m3fm.model.heads import task_loss
from m3fm.model.m3fm import M3FM
from m3fm.training.batches import Step
from m3fm.training.planner import Unit
from m3fm.transfer.rows import Case, sentences
from m3fm.transfer.task_file import TaskFile


def new_parts(task: TaskFile) -> list[str]:
    """Return the name prefixes of the parameters that no checkpoint has: the head's, and a new scale's."""
    new = [f"heads.{task.name}."]
    return new if isinstance(task.scale, str) else [*new, f"ctvit.tokenizers.{task.scale_name}."]


def build_model(
    task: TaskFile, modality: Modality, model: ModelConfig, pretrained: Path | None, seed: int
) -> M3FM:
    """Build a model of the new task: random weights from the seed, then the weights of a checkpoint."""
    torch.manual_seed(seed)
    built = M3FM(task.model(model), {task.name: reading(task.task(), modality)})
    if pretrained is not None:
        transfer_weights(built, pretrained, new_parts(task))
    return built


class Finetuning:
    """One task, trained on the training rows of a fold; without validation, as it never sees other rows."""

    def __init__(
        self,
        dataset: Path,
        task: TaskFile,
        cases: Sequence[Case],
        model: M3FM,
        tokenizer: Tokenizer,
        config: FinetuneConfig,
    ) -> None:
        self.file, self.cases, self.config, self.tokenizer = task, cases, config, tokenizer
        self.model: nn.Module = model
        self.model_config = model.config
        (self.task,) = model.tasks.values()
        self.names = [self.task.name]
        self.mqa = Mqa(dataset, SPLITS, model.config.scales, {})
        self.seed = config.optimizer.seed
        answers = [case.answer for case in cases]
        self.by_answer = [np.flatnonzero(np.equal(answers, answer)) for answer in sorted(set(answers))]

    def units(self, step: Step) -> list[Unit]:
        """Return the micro-batches of a step; none for validation (`step` is None)."""
        if step is None:
            return []
        count = self.config.batch // self.config.micro_batch
        scale = self.task.scale
        tokens = self.model_config.text.max_tokens + (
            prod(self.model_config.scales[scale].grid) if scale else 0
        )
        return [Unit(self.task.name, index, 1.0 / count, float(tokens)) for index in range(count)]

    def load(self, step: Step, unit: Unit) -> Batch:
        """Load random rows, all answers equally often, with the random changes of training."""
        assert step is not None, "fine-tuning has no validation"
        rng = np.random.default_rng([self.seed, step, unit.index])
        samples = []
        for _ in range(self.config.micro_batch):
            places = self.by_answer[rng.integers(len(self.by_answer))]
            case = self.cases[int(places[rng.integers(len(places))])]
            questions = self.file.questions
            question = questions[int(rng.integers(len(questions)))]
            text = joined(list(sentences(self.file, case)), rng, self.config.element_dropout)
            read = text if self.task.text else None
            samples.append(self.mqa.with_image(self.task, case.row, question, read, rng, self.config))
        return collate(samples, self.tokenizer, self.model_config)

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        """Compute the cross-entropy of the answers, a scalar."""
        logits, _ = self.model(self.task.name, **model_inputs(batch))
        return task_loss(self.task, logits, batch["label"], batch["mask"])

    def sample(self, case: Case) -> Sample:
        """Load a row for testing, without random changes."""
        text = joined(list(sentences(self.file, case))) if self.task.text else None
        rng = np.random.default_rng([self.seed])
        return self.mqa.with_image(self.task, case.row, self.file.questions[0], text, rng, None)

    def probabilities(self, cases: Sequence[Case]) -> Iterator[list[float]]:
        """Yield the answers' probabilities of each row, in evaluation mode."""
        assert isinstance(self.model, M3FM)
        self.model.eval()
        device = next(self.model.parameters()).device
        for start in range(0, len(cases), self.config.micro_batch):
            part = [self.sample(case) for case in cases[start : start + self.config.micro_batch]]
            inputs = model_inputs(collate(part, self.tokenizer, self.model_config))
            moved = {name: None if tensor is None else tensor.to(device) for name, tensor in inputs.items()}
            yield from self.model.predict(self.task.name, **moved).tolist()
