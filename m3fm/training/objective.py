"""What pretraining and multitask training differ in: what to load, and what to compute."""

from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from m3fm.config import ModelConfig, PretrainConfig, RunConfig, TrainConfig
from m3fm.ct import store, transforms
from m3fm.dataset.mqa import Mqa, Sample
from m3fm.model.ctvit import CTViT
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.model.predictors import task_loss
from m3fm.phrasing import identity_questions
from m3fm.tasks import TASKS, Task, variant
from m3fm.tokens import encode
from m3fm.training.batches import Batch, Step
from m3fm.training.costs import pretraining_costs, task_costs
from m3fm.training.planner import TRAINING, VALIDATION, Unit, crop_units, task_units, validation_units


def _stream(seed: int, step: Step) -> list[int]:
    """The beginning of a seed for what is drawn in a step."""
    return [VALIDATION, seed, 0] if step is None else [TRAINING, seed, step]


class Pretraining:
    """Masked autoencoding of random crops of every training volume, at a random scale for each unit."""

    def __init__(self, dataset: Path, run: RunConfig) -> None:
        self.config: PretrainConfig = run.pretrain
        self.scales = run.model.scales
        self.names = list(self.scales)
        self.costs = pretraining_costs(run)
        self.seed = run.pretrain.optimizer.seed
        self.dataset = dataset
        series = pd.read_parquet(dataset / "series.parquet").sort_values("series")
        kept = series[series["status"] == "kept"]
        self.series, self.held_out = (
            list(kept[kept["split"] == split].itertuples()) for split in ("train", "val")
        )
        torch.manual_seed(self.seed)
        self.model: nn.Module = MAE(CTViT(run.model), run.pretrain, run.model.width)

    def units(self, step: Step) -> list[Unit]:
        """As many units as the batch has micro-batches, each of a random scale; to validate, of all."""
        return [] if step is None and not self.held_out else crop_units(step, self.config, self.costs)

    def load(self, step: Step, unit: Unit) -> Batch:
        """Random crops, resized by random factors per axis (voxel sizes follow), turned, windowed anew."""
        rng = np.random.default_rng([*_stream(self.seed, step), unit.index])
        drawn_from = self.held_out if step is None else self.series
        scale = self.scales[unit.name]
        images, sizes = [], []
        for _ in range(self.config.micro_batch):
            series = drawn_from[rng.integers(len(drawn_from))]
            volume = store.open_volume(self.dataset / series.volume)
            box: list[int] = []
            for axis in range(3):
                factor = rng.uniform(*self.config.scale_range[axis])
                extent = int(min(volume.shape[axis], max(1, round(scale.shape[axis] / factor))))
                start = int(rng.integers(volume.shape[axis] - extent + 1))
                box += [start, start + extent]
            voxel_size = (series.voxel_z, series.voxel_y, series.voxel_x)
            crop = volume[box[0] : box[1], box[2] : box[3], box[4] : box[5]]
            voxels, size = transforms.resize(crop, voxel_size, scale.shape)
            if (degrees := self.config.rotation_degrees) > 0:
                voxels = transforms.rotate(voxels, rng.uniform(-degrees, degrees))
            low, high = rng.uniform(-self.config.hu_shift, self.config.hu_shift, size=2)
            window = (scale.hu_window[0] + low, scale.hu_window[1] + high)
            images.append(transforms.window(voxels, window))
            sizes.append(size)
        tokens = prod(scale.grid)
        slices = rng.permutation(scale.grid[0])[: self.config.loss_token_slices]
        return {
            "images": torch.from_numpy(np.stack(images))[:, None],
            "voxel_size": torch.tensor(np.asarray(sizes, dtype=np.float32)),
            "noise": torch.from_numpy(rng.random((len(images), tokens), dtype=np.float32)),
            "slices": torch.from_numpy(np.sort(slices)),
        }

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        """Error of the masked cubes."""
        return self.model(unit.name, batch["images"], batch["voxel_size"], batch["noise"], batch["slices"])


class Multitask:
    """Questions of all tasks to M3FM, and to its Task ID predictor."""

    def __init__(self, dataset: Path, run: RunConfig, tokenizer: Tokenizer) -> None:
        self.config: TrainConfig = run.train
        self.model_config: ModelConfig = run.model
        self.seed = run.train.optimizer.seed
        self.tokenizer = tokenizer
        self.tasks = variant(run.train.tasks, run.train.modality)
        self.mqa, self.held_out = (
            Mqa(dataset, (split,), run.model.scales, self.tasks) for split in ("train", "val")
        )
        torch.manual_seed(self.seed)
        self.model: nn.Module = M3FM(run.model, self.tasks)
        # Questions of tasks that the model does not have are of none.
        place = {name: number for number, name in enumerate(self.tasks)}
        self._classes = np.array([*(place.get(name, len(place)) for name in TASKS), len(place)])
        costs = task_costs(run)
        self._units = task_units(_asked(self.mqa), self.config, costs)
        self._validation = validation_units(_asked(self.held_out), self.config, costs)
        self.names = sorted({unit.name for unit in [*self._units, *self._validation]})

    def units(self, step: Step) -> list[Unit]:
        """Every task in every step (paper: 12 samples for each of the 17, 768 for retrieval)."""
        return self._validation if step is None else self._units

    def load(self, step: Step, unit: Unit) -> Batch:
        """Samples of one task, and questions of any task and of none for the Task ID predictor."""
        rng = np.random.default_rng([*_stream(self.seed, step), list(TASKS).index(unit.name), unit.index])
        if step is None:
            draw = partial(self.held_out.validation_sample, unit.name, rng)
        else:
            draw = partial(self.mqa.training_sample, unit.name, rng, self.config)
        samples = [draw() for _ in range(self.config.together(self.tasks[unit.name].scale))]
        batch = collate(samples, self.tokenizer, self.model_config)
        questions, classes = zip(*identity_questions(self.config.identity_questions, rng))
        ids, mask = encode(self.tokenizer, questions, self.model_config.text.max_question_tokens)
        extra = {"identity_ids": ids, "identity_mask": mask, "identity": self._classes[list(classes)]}
        return {**batch, **{name: torch.from_numpy(array) for name, array in extra.items()}}

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        """The task's loss, and that of knowing which task was asked for."""
        model, task = self.model, self.tasks[unit.name]
        assert isinstance(model, M3FM)
        logits, task_logits = model(unit.name, **model_inputs(batch))
        assert task_logits is not None
        asked = torch.full((len(task_logits),), list(self.tasks).index(unit.name), device=logits.device)
        others = model.task_logits(model.encode_question(batch["identity_ids"], batch["identity_mask"]))
        known = torch.cat([task_logits, others]).float()
        identity = F.cross_entropy(known, torch.cat([asked, batch["identity"]]))
        weights = self.config.class_weights.get(unit.name)
        answer = task_loss(task, logits, batch["label"], batch["mask"], weights)
        return answer + self.config.identity_weight * identity


def _asked(mqa: Mqa) -> list[Task]:
    """The tasks of which there are questions."""
    return [task for name, task in mqa.tasks.items() if task.kind == "retrieval" or mqa.rows[name]]


MODEL_INPUTS = (
    "images", "voxel_size", "text_ids", "text_mask", "question_ids", "question_mask", "lung_mask",
)  # fmt: skip


def model_inputs(batch: Batch) -> dict[str, Tensor | None]:
    """The arguments of `M3FM.forward` in a batch; None for what the task does not have."""
    return {name: batch.get(name) for name in MODEL_INPUTS}


def collate(samples: Sequence[Sample], tokenizer: Tokenizer, config: ModelConfig) -> Batch:
    """Samples of one task to tensors."""
    question_ids, question_mask = encode(
        tokenizer,
        [sample.question for sample in samples],
        config.text.max_question_tokens,
        config.text.close_truncated,
    )
    arrays = {
        "question_ids": question_ids,
        "question_mask": question_mask,
        "label": np.asarray([sample.label for sample in samples], dtype=np.float32),
        "mask": np.asarray([sample.mask for sample in samples], dtype=np.float32),
    }
    texts = [sample.text for sample in samples if sample.text is not None]
    if texts:
        limits = config.text.max_tokens, config.text.close_truncated
        arrays["text_ids"], arrays["text_mask"] = encode(tokenizer, texts, *limits)
    images = [sample.image for sample in samples if sample.image is not None]
    if images:
        arrays["images"] = np.stack(images)[:, None]
        arrays["voxel_size"] = np.stack([s.voxel_size for s in samples if s.voxel_size is not None])
    masks = [sample.lung_mask for sample in samples if sample.lung_mask is not None]
    if masks:
        arrays["lung_mask"] = np.stack(masks)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
