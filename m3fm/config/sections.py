"""The sections of a run's configuration, `RunConfig`: every number in one place, typed, with its range.

The docstring below a field is its meaning in docs/configuration.md. The same classes describe a run on a
laptop and one on a cluster; `m3fm.config.presets` has a configuration for each size of the model.
"""

from math import inf
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from m3fm.clinical.tasks import TASKS, Modality
from m3fm.config.base import (
    Config,
    Count,
    Fraction,
    Natural,
    NotNegative,
    Pair,
    Positive,
    check_heads,
    check_whole,
)
from m3fm.config.model import ModelConfig

SALT_VARIABLE = "M3FM_SALT"
"""Environment variable of the secret that patients are hashed with; it is never written to a file."""


class SimulateConfig(Config):
    """The simulated screening cohort."""

    patients: Count = 140
    """Number of patients; each has one to three exams."""
    seed: Natural = 2025
    """Seed of the simulation; each patient depends only on it and on the patient's number."""
    rows: int = Field(default=80, ge=16, le=1024)
    """Rows and columns of a slice, in pixels."""
    field_of_view_mm: Positive = 340.0
    """Width of a slice in mm; each exam varies from 1 % smaller to 5 % larger."""
    slices: tuple[Count, Count] = (64, 72)
    """Fewest and most axial slices of an intact series."""
    broken_fraction: Fraction = 0.03
    """Fraction of the axial series that are deliberately written with faults, for curation to reject."""

    @model_validator(mode="after")
    def _slices_rise(self) -> Self:
        if self.slices[0] > self.slices[1]:
            raise ValueError(
                f"slices: the fewest, {self.slices[0]}, are more than the most, {self.slices[1]}"
            )
        return self


class LabelConfig(Config):
    """Definitions of events, which the paper leaves open (docs/choices.md)."""

    cardiovascular_icd10: tuple[str, ...] = ("I",)
    """Prefixes of the ICD-10 codes that count as a cardiovascular cause of death; I is the circulatory
    system."""
    covid_days_before: int = Field(default=14, ge=0)
    """Largest number of days before a scan at which a COVID-19 test counts for it."""
    covid_days_after: int = Field(default=14, ge=0)
    """Largest number of days after a scan at which a COVID-19 test counts for it."""


class RegionsConfig(Config):
    """The source of the boxes of lungs and heart (docs/series.md)."""

    source: Literal["built_in", "segmentations", "totalsegmentator"] = "built_in"
    """Source of the boxes: the built-in method, the source's DICOM SEG and NIfTI label maps
    (`segmentations`), or TotalSegmentator."""
    labels: Literal["total", "total_v1"] = "total"
    """Label scheme of label maps: TotalSegmentator's task `total`, version 2 (`total`) or 1 (`total_v1`)."""


class CurateConfig(Config):
    """The choices of curation: series, labels, regions, split, and the salt that patients are hashed with."""

    min_slices: Count = 64
    """Fewest axial slices of a series that is kept (paper, Medical Multimodal-Multitask Dataset
    Construction; 64)."""
    keep_incomplete: bool = False
    """Whether a series is kept although files beside it that look like its own cannot be read; else it is
    rejected as `incomplete` (docs/series.md)."""
    salt_fingerprint: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    """Fingerprint that the salt in M3FM_SALT must have, as `m3fm dataset salt` prints it; if empty, that of
    M3FM_SALT is filled in."""
    seed: Natural = 2025
    """Seed of the hash that orders the patients for the split."""
    val_fraction: Fraction = 0.1
    """Fraction of patients in the validation split, in each stratum of events."""
    test_fraction: Fraction = 0.3
    """Fraction of patients in the test split, in each stratum of events; the rest is for training."""
    max_unlinked: Fraction = 0.01
    """Largest fraction of a table's rows that may link to no row of another table, as a finding of an exam
    that is not listed does; they are counted, and more of them refuse the source."""
    labels: LabelConfig = LabelConfig()
    """Definitions of events."""
    regions: RegionsConfig = RegionsConfig()
    """Source of the boxes of lungs and heart."""

    @model_validator(mode="after")
    def _fractions_add_up_to_one_at_most(self) -> Self:
        if self.val_fraction + self.test_fraction > 1:
            raise ValueError("val_fraction and test_fraction add up to more than 1")
        return self

    @model_validator(mode="before")
    @classmethod
    def _salt_is_not_a_setting(cls, values: Any) -> Any:
        if isinstance(values, dict) and "salt" in values:
            raise ValueError(
                f"a secret does not belong in a file; set the environment variable {SALT_VARIABLE}"
            )
        return values


class OptimizerConfig(Config):
    """AdamW with warm-up and cosine decay (paper, Training details)."""

    steps: Count
    """Number of optimiser steps, warm-up included."""
    warmup: Natural
    """Number of warm-up steps, in which the learning rate rises linearly to `lr`."""
    lr: Positive
    """Highest learning rate, reached after the warm-up; half a cosine then lowers it to 0."""
    weight_decay: NotNegative = 0.05
    """Weight decay of matrices (paper: 0.05); biases, norms and position embeddings have none."""
    layer_decay: Positive = 1.0
    """Learning rate of each block of the image encoder as a fraction of the next one's (paper: 0.95 in
    training)."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    """Decay of AdamW's running means of the gradient and of its square."""
    clip_norm: Positive = 1.0
    """Largest norm of the gradient of all parameters together; a larger gradient is scaled down to it."""
    checkpoint_every: Count = 1000
    """Number of steps between checkpoints; each checkpoint is validated."""
    keep_checkpoints: Count = 2
    """Number of newest checkpoints kept during training, in addition to the one with the lowest validation
    loss."""
    result: Literal["last", "best"] = "last"
    """Weights that training returns: those of the last step, or those with the lowest validation loss."""
    seed: Natural = 2025
    """Seed of the initial weights, the sampling and the augmentation."""


class PretrainConfig(Config):
    """Masked autoencoding of CT volumes (paper, Self-supervised pretraining and Training details)."""

    optimizer: OptimizerConfig
    """Optimiser of pretraining (paper: 200,000 steps, 10,000 of warm-up, learning rate 3.75e-4)."""
    batch: Count = 192
    """Number of crops in one optimiser step (paper: 192)."""
    micro_batch: Count = 1
    """Number of crops that a worker computes at once, all of one scale drawn at random; it must divide the
    batch."""
    mask_ratio: float = Field(default=0.85, gt=0, lt=1)
    """Fraction of the patches that the encoder does not see (paper, Self-supervised pretraining; 0.85)."""
    decoder_depth: Count = 2
    """Number of layers of the image decoder (paper: 2)."""
    decoder_width: Count = 512
    """Width of the image decoder's tokens."""
    decoder_heads: Count = 16
    """Attention heads of the image decoder; they must divide its width."""
    loss_token_slices: Count = 2
    """Number of token slices whose masked voxels are predicted, drawn anew for every micro-batch (paper,
    Self-supervised pretraining: some selected slices)."""
    scale_range: tuple[Pair, Pair, Pair] = ((0.5, 2.0), (0.6, 1.4), (0.6, 1.4))
    """Smallest and largest factor of the random resizing along slices, rows and columns; the voxel size
    changes with it (paper: 0.5 to 2, 0.6 to 1.4, 0.6 to 1.4)."""
    rotation_degrees: NotNegative = 10.0
    """Largest random in-plane rotation to either side, in degrees."""
    hu_shift: NotNegative = 50.0
    """Largest random shift of either end of the HU window, in HU."""
    validation_batches: Natural = 4
    """Number of micro-batches of each scale that a checkpoint is validated with, drawn once from the
    validation patients."""

    @model_validator(mode="after")
    def _decoder_heads_divide_the_width(self) -> Self:
        check_heads("decoder_heads", self.decoder_width, self.decoder_heads)
        return self

    @model_validator(mode="after")
    def _scales_rise_from_above_zero(self) -> Self:
        for limits in self.scale_range:
            if not 0 < limits[0] <= limits[1] < inf:
                raise ValueError(f"scale_range has {limits}, and must rise from a number above 0")
        return self

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        check_whole("batch", self.batch, self.micro_batch)
        return self


class AugmentConfig(Config):
    """The augmentation of every training sample (paper, Training details)."""

    element_dropout: Fraction = 0.2
    """Probability with which each clinical element is left out of the text (paper: 0.2)."""
    hu_shift: NotNegative = 50.0
    """Largest random shift of either end of the HU window, in HU."""
    rotation_degrees: NotNegative = 10.0
    """Largest random in-plane rotation to either side, in degrees."""
    padding_mm: NotNegative = 10.0
    """Largest random margin added to each side of a region's box, in mm."""
    slice_jitter_mm: NotNegative = 8.0
    """Largest random shift of a nodule's window along the slices to either side, in mm; less where the nodule
    would leave the window."""


class TrainConfig(AugmentConfig):
    """Task-parallel multitask training (paper, Multitask learning and Training details)."""

    optimizer: OptimizerConfig
    """Optimiser of multitask training (paper: 30,000 steps, 2,000 of warm-up, learning rate 2e-4)."""
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the tasks to train; if empty, all tasks that the dataset has labels for."""
    modality: Modality = "both"
    """Inputs of the model (paper, Table 1); `image` leaves out the clinical text and the text-only tasks,
    `text` leaves out the images."""
    loss_weights: dict[str, Positive] = {}
    """Weight of a task's loss in the loss of a step, by task; 1 if not given."""
    class_weights: dict[str, tuple[Positive, ...]] = {}
    """Class weights of a task's loss, in the order of its answers; 1 if not given."""
    batch: Count = 12
    """Number of samples of each of the 17 tasks in one optimiser step (paper: 12)."""
    retrieval_batch: Count = 768
    """Number of samples of the two clinical information retrieval tasks together in one optimiser step
    (paper: 768)."""
    micro_batch: Count = 1
    """Number of samples of a task with images that a worker computes at once; it must divide the batch."""
    text_micro_batch: Count = 12
    """Number of samples of a text-only task that a worker computes at once; it must divide the batch and half
    of the retrieval batch."""
    task_id_questions: Count = 16
    """Number of additional questions per micro-batch, used only by the Task ID predictor; half of them are
    out of scope."""
    task_id_loss_weight: Positive = 0.3
    """Weight of the Task ID predictor's loss, added to the loss of the answers."""
    validation_batches: Natural = 2
    """Number of micro-batches of each task that a checkpoint is validated with, drawn once from the
    validation patients."""

    def together(self, scale: str | None) -> int:
        """Return the samples in a micro-batch of a task: with an image scale, or None for text only."""
        return self.text_micro_batch if scale is None else self.micro_batch

    @model_validator(mode="after")
    def _micro_batches_fill_the_batches(self) -> Self:
        check_whole("batch", self.batch, self.micro_batch)
        check_whole("batch", self.batch, self.text_micro_batch)
        check_whole("half of retrieval_batch", self.retrieval_batch // 2, self.text_micro_batch)
        return self

    @model_validator(mode="after")
    def _tasks_can_be_trained(self) -> Self:
        for key in ("tasks", "loss_weights", "class_weights"):
            for name in getattr(self, key) or ():
                if name not in TASKS:
                    raise ValueError(f"{key}: no task is called {name!r}; there are {', '.join(TASKS)}")
        for name in self.tasks or ():
            if self.modality == "image" and TASKS[name].scale is None:
                raise ValueError(f"tasks: {name} reads text alone, and modality is image: leave it out")
        for name, weights in self.class_weights.items():
            answers = TASKS[name].answers
            if TASKS[name].loss != "softmax":
                raise ValueError(f"class_weights: {name} does not choose among answers, so leave it out")
            if len(weights) != len(answers):
                raise ValueError(
                    f"class_weights: {name} has {len(answers)} answers ({', '.join(answers)}),"
                    f" not {len(weights)}"
                )
        return self


TEXT = "text"
"""Key of the text-only tasks, among the names of scales."""


class Costs(Config):
    """Seconds of one sample, forward and backward, by image scale; `m3fm plan --measure` prints them.

    Workers are balanced by these costs, so only their ratios matter. They are part of the configuration, not
    measured during a run, so that all workers know the plan of any step and a repeated run has the same plan.
    A scale without a cost is estimated from its number of operations.
    """

    pretrain: dict[str, Positive] = {}
    """Seconds of one crop in pretraining, by image scale."""
    train: dict[str, Positive] = {}
    """Seconds of one sample in multitask training, by image scale, and of text-only tasks (`text`)."""


class FinetuneConfig(AugmentConfig):
    """Fine-tuning on a new task, in cross-validation by patient (paper, Fig. 7; docs/transfer.md)."""

    optimizer: OptimizerConfig
    """Optimiser of fine-tuning; its seed also draws the folds."""
    folds: int = Field(default=5, ge=2)
    """Number of folds of the cross-validation; all exams of a patient are in one fold."""
    batch: Count = 12
    """Number of samples in one optimiser step, with all answers equally often (paper: 12)."""
    micro_batch: Count = 12
    """Number of samples that a worker computes at once; it must divide the batch."""
    reference_features: Count = 20
    """Number of image features and clinical variables that the reference model keeps, chosen anew in every
    fold."""
    reference_c: Positive = 1.0
    """Inverse regularisation strength of the reference model's logistic regression."""

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        check_whole("batch", self.batch, self.micro_batch)
        return self


class LaunchConfig(Config):
    """The workers, their resources and how they compute."""

    workers: Count = 2
    """Number of Ray workers for training (paper: 192), and of processes for simulation, curation and
    fine-tuning."""
    gpus_per_worker: NotNegative = 0.0
    """GPUs per worker, in addition to its one CPU core; 0 trains on the CPU (paper: 1)."""
    placement: Literal["PACK", "SPREAD"] = "PACK"
    """Placement strategy of Ray: PACK uses as few machines as possible, SPREAD as many as possible."""
    restarts: Natural = 3
    """Number of times that failed workers are replaced before training ends with an error; the same command
    then resumes it."""
    num_workers: Natural = 0
    """Number of processes that load data for each worker; 0 loads in the worker itself, between steps."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the forward and backward passes; any other than float32 uses automatic mixed precision
    (paper, Training details)."""
    activation_checkpointing: bool = False
    """Whether activations are recomputed in the backward pass, which is slower but saves memory."""
    compile: bool = False
    """Whether `torch.compile` compiles the transformers; `benchmarks/model.py` measures the gain."""
    costs: Costs = Costs()
    """Seconds of one sample, by which micro-batches are assigned to workers."""


class EvaluateConfig(Config):
    """The bootstrap confidence intervals of the AUC and of the other metrics."""

    resamples: Count = 2000
    """Number of bootstrap resamples of the patients."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Coverage of the confidence intervals."""
    seed: Natural = 2025
    """Seed of the resamples."""


class RunConfig(Config):
    """The whole configuration of a run of the screening pipeline."""

    preset: Literal["tiny", "base", "large", "huge"]
    """Preset that supplies the values of all keys that are not given."""
    simulate: SimulateConfig = SimulateConfig()
    """Simulated screening cohort."""
    curate: CurateConfig = Field(default_factory=CurateConfig)
    """Choices of curation, from a source's files to a dataset."""
    model: ModelConfig
    """Sizes of the model."""
    pretrain: PretrainConfig
    """Pretraining of the image encoder."""
    train: TrainConfig
    """Multitask training."""
    finetune: FinetuneConfig
    """Fine-tuning on a new task."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Confidence intervals of the evaluation."""
    launch: LaunchConfig = LaunchConfig()
    """Workers and resources."""
    registered_model: str = Field(default="m3fm", pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the model in MLflow's registry."""

    @model_validator(mode="after")
    def _costs_are_of_scales(self) -> Self:
        costs = self.launch.costs
        unknown = {*costs.pretrain, *costs.train} - {*self.model.scales, TEXT}
        if unknown:
            raise ValueError(f"launch.costs: no scale is called {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _every_scale_has_the_slices_of_the_loss(self) -> Self:
        name, fewest = min(((n, s.grid[0]) for n, s in self.model.scales.items()), key=lambda found: found[1])
        if (wanted := self.pretrain.loss_token_slices) > fewest:
            raise ValueError(f"pretrain.loss_token_slices is {wanted}: scale {name} has {fewest} of them")
        return self
