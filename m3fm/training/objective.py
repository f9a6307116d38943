"""What pretraining and multitask training differ in: what to load, and what to compute."""

from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from m3fm.clinical.tasks import TASKS, Task, variant
from m3fm.config.model import ModelConfig
from m3fm.config.sections import PretrainConfig, RunConfig, TrainConfig
from m3fm.core.tokens import encode
from m3fm.ct import store, transforms
from m3fm.dataset.batch import Batch, collate, model_inputs
from m3fm.dataset.mqa import Mqa
from m3fm.model.ctvit import CTViT
from m3fm.model.heads import task_loss
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.questions.grammar import task_id_questions
from m3fm.training.batches import Step
from m3fm.training.costs import pretraining_costs, task_costs
from m3fm.training.planner import TRAINING, VALIDATION, Unit, crop_units, task_units, validation_units


def _stream(seed: int, step: Step) -> list[int]:
    """Return the first part of the seed of a step's draws."""
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
        """Draw a random scale for each micro-batch of the batch; validate on all scales."""
        return [] if step is None and not self.held_out else crop_units(step, self.config, self.costs)

    def load(self, step: Step, unit: Unit) -> Batch:
        """Draw crops, resized by random factors per axis (voxel sizes follow), turned, windowed anew."""
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
        """Compute the mean squared error of the masked cubes, a scalar."""
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
        """Return every task in every step (paper: 12 samples for each of the 17, 768 for retrieval)."""
        return self._validation if step is None else self._units

    def load(self, step: Step, unit: Unit) -> Batch:
        """Draw samples of one task, and questions of any task and of none for the Task ID predictor."""
        rng = np.random.default_rng([*_stream(self.seed, step), list(TASKS).index(unit.name), unit.index])
        if step is None:
            draw = partial(self.held_out.validation_sample, unit.name, rng)
        else:
            draw = partial(self.mqa.training_sample, unit.name, rng, self.config)
        samples = [draw() for _ in range(self.config.together(self.tasks[unit.name].scale))]
        batch = collate(samples, self.tokenizer, self.model_config)
        questions, classes = zip(*task_id_questions(self.config.task_id_questions, rng))
        ids, mask = encode(self.tokenizer, questions, self.model_config.text.max_question_tokens)
        extra = {"task_id_ids": ids, "task_id_mask": mask, "identity": self._classes[list(classes)]}
        return {**batch, **{name: torch.from_numpy(array) for name, array in extra.items()}}

    def loss(self, unit: Unit, batch: Batch) -> Tensor:
        """Add the task's loss and the weighted loss of the Task ID predictor: a scalar."""
        model, task = self.model, self.tasks[unit.name]
        assert isinstance(model, M3FM)
        logits, task_logits = model(unit.name, **model_inputs(batch))
        assert task_logits is not None
        asked = torch.full((len(task_logits),), list(self.tasks).index(unit.name), device=logits.device)
        others = model.task_logits(model.encode_question(batch["task_id_ids"], batch["task_id_mask"]))
        known = torch.cat([task_logits, others]).float()
        identity = F.cross_entropy(known, torch.cat([asked, batch["identity"]]))
        weights = self.config.class_weights.get(unit.name)
        answer = task_loss(task, logits, batch["label"], batch["mask"], weights)
        return answer + self.config.task_id_loss_weight * identity


def _asked(mqa: Mqa) -> list[Task]:
    """List the tasks that have questions."""
    return [task for name, task in mqa.tasks.items() if task.kind == "retrieval" or mqa.rows[name]]
