"""Fine-tuning on a new task in cross-validation, beside a reference: the folds of all variants run on Ray.

An interrupted run resumes with the folds that are left: each fold of each variant leaves its probabilities
in a working directory beside the output.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from m3fm.clinical.tasks import Modality
from m3fm.config.model import ModelConfig
from m3fm.config.sections import FinetuneConfig, LaunchConfig, OptimizerConfig, RunConfig
from m3fm.config.steps import FINETUNE
from m3fm.core.artifacts import Reference, read_manifest, seal, written_whole
from m3fm.core.files import file_digest, read_json, to_json, write_json
from m3fm.core.progress import tracked
from m3fm.core.ray import ray_cluster
from m3fm.dataset.mqa import Mqa, corpus
from m3fm.dataset.tables import SPLITS
from m3fm.model.checkpoint import load_config
from m3fm.model.text import load_tokenizer, tokenizer_for
from m3fm.privacy.pseudonyms import Salt
from m3fm.tracking import runs
from m3fm.training.checkpoints import Checkpoints
from m3fm.training.launch import held
from m3fm.training.loop import Worker, train
from m3fm.transfer import report
from m3fm.transfer.objective import Finetuning, build_model
from m3fm.transfer.reference import clinical_matrix, image_features, nomogram
from m3fm.transfer.rows import Case, Fold, find_cases, split_folds
from m3fm.transfer.task_file import TaskFile, read

FOLDS, INPUTS = "folds", "inputs.json"
REFERENCE = "reference"
RETRIES = 3
"""Retries of a fold whose process died."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A fine-tuned row of the table: the modality it reads, and whether it starts from the checkpoint."""

    name: str
    modality: Modality
    pretrained: bool


def variants(pretrained: bool) -> tuple[Variant, ...]:
    """Return the paper's rows (Fig. 7b); without a checkpoint all of them start from scratch."""
    rows = (
        Variant("ct", "image", pretrained),
        Variant("clinical", "text", pretrained),
        Variant("scratch", "both", False),
    )
    return (*rows, Variant("pretrained", "both", True)) if pretrained else rows


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that a fold of any variant needs, in a form that can be sent to another process."""

    dataset: Path
    task: TaskFile
    cases: tuple[Case, ...]
    folds: tuple[Fold, ...]
    model: ModelConfig
    tokenizer: str
    pretrained: Path | None
    config: FinetuneConfig
    launch: LaunchConfig


def finetune(
    dataset: Path,
    task_path: Path,
    out: Path,
    run: RunConfig,
    pretrained: Path | None,
    mlflow: str | None = None,
) -> None:
    """Fine-tune on the task of a file in cross-validation; write the table, the page and the predictions.

    `pretrained` is a checkpoint of `m3fm train` or `m3fm pretrain`; `mlflow` is the address of a server that
    records the configuration and the AUCs. After an interruption the same call resumes with the folds left.
    Raises InputError for a file or a table that cannot be used.
    """
    task = read(task_path)
    found = find_cases(task, dataset, Salt.of_environment())
    folds = split_folds(task, found.cases, run.finetune.folds, run.finetune.optimizer.seed)
    model = run.model if pretrained is None else load_config(pretrained)
    task.model(model)
    experiment = Experiment(
        dataset=dataset.resolve(),
        task=task,
        cases=found.cases,
        folds=tuple(folds),
        model=model,
        tokenizer=_tokenizer(task, found.cases, model, run.finetune, pretrained).to_str(),
        pretrained=None if pretrained is None else pretrained.resolve(),
        config=run.finetune,
        launch=run.launch,
    )
    inputs = FINETUNE.depends_on(
        run.model_copy(update={"model": model}),
        dataset=Reference.to(dataset).digest,
        task=file_digest(task_path),
        table=file_digest(task.table.file),
        pretrained=None if pretrained is None else Reference.to(pretrained).digest,
    )
    work = out.with_name(f".{out.name}.training")
    with held(work, out):
        asked, done = work / INPUTS, work / FOLDS
        if not asked.is_file() or asked.read_text() != to_json(inputs):
            shutil.rmtree(done, ignore_errors=True)
            write_json(asked, inputs)
        done.mkdir(exist_ok=True)
        logged = None
        if mlflow is not None:
            about_run = {"task": task.name, "finetune": run.finetune.model_dump(mode="json")}
            logged = mlflow, runs.resume_or_start_run(mlflow, work, None, inputs, "fine-tuning", about_run)
        with runs.record_status(logged):
            _run_all(experiment, done)
            about = {
                "left_out": found.left_out,
                "simulated": read_manifest(dataset)["source"]["simulated"],
                "seen": _seen(dataset, found.cases, pretrained),
            }
            found_by = {name: _gathered(experiment, done, name) for name in _names(experiment)}
            with written_whole(out) as partial:
                content = report.write(partial, task, found.cases, folds, found_by, about)
                seal(partial, "finetuning.json", {**content, "inputs": inputs})
                if logged is not None:
                    runs.log_metrics(*logged, report.measures(content["table"]))
        shutil.rmtree(work)


def _tokenizer(
    task: TaskFile,
    cases: Sequence[Case],
    model: ModelConfig,
    config: FinetuneConfig,
    pretrained: Path | None,
) -> Tokenizer:
    """Load the checkpoint's tokenizer, which its text transformer needs; without one, that of the model."""
    if pretrained is not None and (pretrained / "tokenizer.json").is_file():
        return load_tokenizer(pretrained)
    texts = [*task.questions, *(sentence.format("") for sentence in task.clinical.values())]
    return tokenizer_for(model.text, lambda: [*corpus(config.optimizer.seed), *texts])


def _seen(dataset: Path, cases: Sequence[Case], pretrained: Path | None) -> int:
    """Count the patients that the checkpoint may have been trained on."""
    if (
        pretrained is None
        or read_manifest(pretrained).get("inputs", {}).get("dataset") != Reference.to(dataset).digest
    ):
        return 0
    import pyarrow.parquet as pq

    splits = pq.read_table(dataset / "splits.parquet").to_pydict()
    tested = {patient for patient, split in zip(splits["patient"], splits["split"]) if split == "test"}
    return len({case.row.patient for case in cases} - tested)


def _names(experiment: Experiment) -> list[str]:
    """Return the names of the table's rows."""
    return [REFERENCE, *(variant.name for variant in variants(experiment.pretrained is not None))]


def _fold_path(folder: Path, name: str, fold: int) -> Path:
    return folder / f"{name}-{fold}.json"


def _run_all(experiment: Experiment, folder: Path) -> None:
    """Run every fold of every row of the table whose probabilities are not yet written."""
    import ray

    folds = range(len(experiment.folds))
    wanted = [(name, fold) for fold in folds for name in _names(experiment)]
    todo = [(name, fold) for name, fold in wanted if not _fold_path(folder, name, fold).is_file()]
    if not todo:
        return
    launch = experiment.launch
    with tracked("fine-tuned folds", len(wanted)) as advance, ray_cluster(launch.workers):
        shared = ray.put(experiment)
        remote = ray.remote(num_cpus=1, num_gpus=launch.gpus_per_worker, max_retries=RETRIES)(run_fold)
        remaining = iter(todo)
        running: dict[Any, tuple[str, int]] = {}
        done = len(wanted) - len(todo)
        while True:
            for name, fold in islice(remaining, launch.workers - len(running)):
                running[remote.remote(shared, name, fold, folder.resolve())] = (name, fold)
            if not running:
                return
            (ready,), _ = ray.wait(list(running))
            try:
                ray.get(ready)
            except ray.exceptions.RayTaskError as failed:
                raise failed.cause from failed
            name, fold = running.pop(ready)
            done += 1
            advance(done, f"{name}, fold {fold + 1}")


def run_fold(experiment: Experiment, name: str, fold: int, folder: Path) -> None:
    """Train a row of the table on a fold, and write the probabilities of the fold's test cases."""
    if name == REFERENCE:
        write_json(_fold_path(folder, name, fold), reference_fold(experiment, fold))
        return
    (chosen,) = (v for v in variants(experiment.pretrained is not None) if v.name == name)
    checkpoints = Checkpoints(str(folder / f"{name}-{fold}"), 1, {})
    write_json(_fold_path(folder, name, fold), tuned_fold(experiment, chosen, fold, checkpoints))
    checkpoints.clear()


def _gathered(experiment: Experiment, folder: Path, name: str) -> np.ndarray:
    """Read a model's probabilities [rows, answers], each from the fold in which the case was tested."""
    probabilities = np.full((len(experiment.cases), len(experiment.task.answers)), np.nan)
    for fold, (_, tested) in enumerate(experiment.folds):
        probabilities[list(tested)] = read_json(_fold_path(folder, name, fold))
    return probabilities


def reference_fold(experiment: Experiment, fold: int) -> list[list[float]]:
    """Fit the reference on a fold; return its probabilities of the test rows."""
    trained, tested = map(list, experiment.folds[fold])
    features = reference_features(experiment)
    answers = np.array([case.answer for case in experiment.cases])
    fitted = nomogram(experiment.config, features.shape[1]).fit(features[trained], answers[trained])
    found: list[list[float]] = fitted.predict_proba(features[tested]).tolist()
    return found


def reference_features(experiment: Experiment) -> np.ndarray:
    """Return image features and clinical variables of every case [rows, features]."""
    task = experiment.task.task()
    mqa = Mqa(experiment.dataset, SPLITS, {}, {})
    images = []
    for case in experiment.cases:
        series, volume, (z0, z1, y0, y1, x0, x1) = mqa.region(task, case.row)
        voxel_size = (series.voxel_z, series.voxel_y, series.voxel_x)
        images.append(list(image_features(volume[z0:z1, y0:y1, x0:x1], voxel_size).values()))
    return np.hstack([images, clinical_matrix([case.clinical for case in experiment.cases])])


def tuned_fold(
    experiment: Experiment, variant: Variant, fold: int, checkpoints: Checkpoints
) -> list[list[float]]:
    """Fine-tune a variant on a fold; return its probabilities of the test rows."""
    trained, tested = experiment.folds[fold]
    config = experiment.config
    start = experiment.pretrained if variant.pretrained else None
    model = build_model(experiment.task, variant.modality, experiment.model, start, config.optimizer.seed)
    objective = Finetuning(
        experiment.dataset,
        experiment.task,
        [experiment.cases[row] for row in trained],
        model,
        Tokenizer.from_str(experiment.tokenizer),
        config,
    )
    alone(objective, config.optimizer, experiment.launch, checkpoints)
    return list(objective.probabilities([experiment.cases[row] for row in tested]))


def alone(
    objective: Finetuning, config: OptimizerConfig, launch: LaunchConfig, checkpoints: Checkpoints
) -> None:
    """Train in this process with the common training loop, from the newest checkpoint."""
    device = torch.device("cuda" if launch.gpus_per_worker else "cpu")
    train(objective, config, launch, Worker(0, 1, device, checkpoints, lambda row, durable: None))
