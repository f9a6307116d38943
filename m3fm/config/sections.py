"""The configuration of a run: every number in one place, typed, with its range.

The same classes describe a laptop's run and a cluster's; `m3fm.config.presets` has one for each size.
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
"""Environment variable of the secret that patients are hashed with; it never stands in a file."""


class SimulateConfig(Config):
    """The simulated screening cohort."""

    patients: Count = 140
    seed: Natural = 2025
    rows: int = Field(default=80, ge=16, le=1024)
    """Rows and columns of a slice."""
    field_of_view_mm: Positive = 340.0
    slices: tuple[Count, Count] = (64, 72)
    """Fewest and most axial slices of a sound series."""
    broken_fraction: Fraction = 0.03
    """Fraction of the axial series that are written broken on purpose, and must be rejected."""

    @model_validator(mode="after")
    def _slices_rise(self) -> Self:
        if self.slices[0] > self.slices[1]:
            raise ValueError(
                f"slices: the fewest, {self.slices[0]}, are more than the most, {self.slices[1]}"
            )
        return self


class LabelConfig(Config):
    """What counts as an event, where the paper leaves it open (docs/choices.md)."""

    cardiovascular_icd10: tuple[str, ...] = ("I",)
    """How the ICD-10 codes of a cardiovascular cause of death begin; I is the circulatory system."""
    covid_days_before: int = Field(default=14, ge=0)
    """A COVID-19 test counts for a scan that it came before by at most so many days."""
    covid_days_after: int = Field(default=14, ge=0)
    """The same, for a test after the scan."""


class RegionsConfig(Config):
    """Where the boxes of lungs and heart come from (docs/series.md)."""

    source: Literal["built_in", "segmentations", "totalsegmentator"] = "built_in"
    """`segmentations`: DICOM SEG and NIfTI label maps among the source's images."""
    labels: Literal["total", "total_v1"] = "total"
    """What the values of label maps mean: TotalSegmentator's task of that name, of version 2 or 1."""


class CurateConfig(Config):
    """Which series are kept, their labels, how patients are split, and under which salt they are hashed."""

    min_slices: Count = 64
    """Paper, Methods: series with fewer axial slices are excluded."""
    salt_fingerprint: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    """Of the salt in M3FM_SALT (`m3fm dataset salt` prints it), which is filled in where none is given."""
    seed: Natural = 2025
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.3
    labels: LabelConfig = LabelConfig()
    regions: RegionsConfig = RegionsConfig()

    @model_validator(mode="after")
    def _fractions_are_of_a_whole(self) -> Self:
        if self.val_fraction + self.test_fraction > 1:
            raise ValueError("val_fraction and test_fraction are more than all patients")
        return self

    @model_validator(mode="before")
    @classmethod
    def _salt_is_no_setting(cls, values: Any) -> Any:
        if isinstance(values, dict) and "salt" in values:
            raise ValueError(
                f"a secret does not belong in a file; set the environment variable {SALT_VARIABLE}"
            )
        return values


class OptimizerConfig(Config):
    """AdamW with warm-up and cosine decay (paper, Training details)."""

    steps: Count
    warmup: Natural
    lr: Positive
    weight_decay: NotNegative = 0.05
    layer_decay: Positive = 1.0
    """Learning rate of each earlier block relative to the next one's."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    """Decay of AdamW's running means of the gradient and of its square."""
    clip_norm: Positive = 1.0
    checkpoint_every: Count = 1000
    """Steps between checkpoints, each of which is validated."""
    keep_checkpoints: Count = 2
    """The newest ones that are kept while training goes on, beside the one of the least validation loss."""
    result: Literal["last", "best"] = "last"
    """Which weights come of it: those of the last step, or of the least validation loss."""
    seed: Natural = 2025


class PretrainConfig(Config):
    """Masked autoencoding of CT volumes (paper, Self-supervised pretraining and Training details)."""

    optimizer: OptimizerConfig
    batch: Count = 192
    micro_batch: Count = 1
    """Samples that one worker computes at once; each micro-batch has a scale of its own."""
    mask_ratio: float = Field(default=0.85, gt=0, lt=1)
    decoder_depth: Count = 2
    decoder_width: Count = 512
    decoder_heads: Count = 16
    loss_token_slices: Count = 2
    """Slices of tokens whose voxels are predicted; the rest cost nothing."""
    scale_range: tuple[Pair, Pair, Pair] = ((0.5, 2.0), (0.6, 1.4), (0.6, 1.4))
    """Random resizing along slices, rows, columns; voxel sizes change with it."""
    rotation_degrees: NotNegative = 10.0
    """Largest in-plane rotation."""
    hu_shift: NotNegative = 50.0
    """Largest random shift of either end of the HU window."""
    validation_batches: Natural = 4
    """Micro-batches of each scale, drawn from the validation patients."""

    @model_validator(mode="after")
    def _decoder_width_can_be_shared(self) -> Self:
        check_heads("decoder_heads", self.decoder_width, self.decoder_heads)
        return self

    @model_validator(mode="after")
    def _scales_rise_from_above_zero(self) -> Self:
        for limits in self.scale_range:
            if not 0 < limits[0] <= limits[1] < inf:
                raise ValueError(f"scale_range has {limits}, and should rise from a number above 0")
        return self

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        check_whole("batch", self.batch, self.micro_batch)
        return self


class AugmentConfig(Config):
    """What changes at random in every sample that is trained on (paper, Training details)."""

    element_dropout: Fraction = 0.2
    """Fraction of clinical elements left out of the text."""
    hu_shift: NotNegative = 50.0
    """Largest shift of either end of the HU window."""
    rotation_degrees: NotNegative = 10.0
    """Largest in-plane rotation."""
    padding_mm: NotNegative = 10.0
    """Largest margin added to each side of a region's box."""


class TrainConfig(AugmentConfig):
    """Task-parallel multitask training (paper, Multitask learning and Training details)."""

    optimizer: OptimizerConfig
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Those that are trained; all that the dataset has labels of, where none is named."""
    modality: Modality = "both"
    """`image` leaves out the clinical text, and the tasks that read nothing else; `text` the images."""
    loss_weights: dict[str, Positive] = {}
    """Of a task's loss in the step's; 1 where not given."""
    class_weights: dict[str, tuple[Positive, ...]] = {}
    """Of a sample's loss by its answer, in the order of the task's answers; 1 where not given."""
    batch: Count = 12
    """Samples of each of the 17 tasks in one optimiser step."""
    retrieval_batch: Count = 768
    """Samples of the clinical information retrieval tasks together."""
    micro_batch: Count = 1
    """Samples of a task with images that one worker computes at once."""
    text_micro_batch: Count = 12
    """The same for tasks that read text alone, whose samples take a fraction of the time."""
    task_id_questions: Count = 16
    """Questions more in every micro-batch, half of them of no task, for the Task ID predictor alone."""
    task_id_loss_weight: Positive = 0.3
    """Of the loss of knowing the task, beside the loss of its answer."""
    validation_batches: Natural = 2
    """Micro-batches of each task, drawn from the validation patients."""

    def together(self, scale: str | None) -> int:
        """Samples in a micro-batch of a task at a scale, or without one."""
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
                raise ValueError(f"class_weights: {name} is no choice among answers, so they have no weights")
            if len(weights) != len(answers):
                raise ValueError(
                    f"class_weights: {name} has {len(answers)} answers ({', '.join(answers)}),"
                    f" not {len(weights)}"
                )
        return self


TEXT = "text"
"""What tasks that read text alone are called among scales, where these have names."""


class Costs(Config):
    """Seconds of one sample, forward and backward, by image scale; `m3fm plan --measure` gives them.

    Workers are balanced by them, so it is their proportions that count. They are part of the configuration
    and not timed as a run goes: all workers know the plan of any step, and a repeated run has the same one.
    A scale that is missing gets a cost by its number of operations.
    """

    pretrain: dict[str, Positive] = {}
    train: dict[str, Positive] = {}
    """With `text`, for the tasks that read text alone."""


class FinetuneConfig(AugmentConfig):
    """Fine-tuning on a new task, in cross-validation by patient (paper, Fig. 7; docs/transfer.md)."""

    optimizer: OptimizerConfig
    """Its seed draws the folds, too."""
    folds: int = Field(default=5, ge=2)
    batch: Count = 12
    """Samples in one optimiser step, every answer as often as any other."""
    micro_batch: Count = 12
    reference_features: Count = 20
    """How many image features and clinical variables the reference row keeps, chosen anew in every fold."""
    reference_c: Positive = 1.0
    """Inverse strength of the penalty in the reference row's logistic regression."""

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        check_whole("batch", self.batch, self.micro_batch)
        return self


class LaunchConfig(Config):
    """How many Ray workers do the work."""

    workers: Count = 2
    gpus_per_worker: NotNegative = 0.0
    placement: Literal["PACK", "SPREAD"] = "PACK"
    """Whether workers are put on as few machines as can be, or on as many."""
    restarts: Natural = 3
    """How often workers that died are replaced before training gives up; the same command then goes on."""
    num_workers: Natural = 0
    """Processes that load data for each worker; 0 loads between steps."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    activation_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: slower, for less memory."""
    compile: bool = False
    """Whether `torch.compile` compiles the transformers; `benchmarks/model.py` tells what that is worth."""
    costs: Costs = Costs()


class EvaluateConfig(Config):
    """Intervals of the AUC."""

    resamples: Count = 2000
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: Natural = 2025


class RunConfig(Config):
    """Everything a run of the screening pipeline is made of."""

    preset: Literal["tiny", "base", "large", "huge"]
    simulate: SimulateConfig = SimulateConfig()
    curate: CurateConfig = Field(default_factory=CurateConfig)
    model: ModelConfig
    pretrain: PretrainConfig
    train: TrainConfig
    finetune: FinetuneConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    launch: LaunchConfig = LaunchConfig()
    registered_model: str = Field(default="m3fm", pattern=r"^[A-Za-z0-9_.-]+$")

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
