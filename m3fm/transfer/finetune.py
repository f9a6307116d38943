"""Fine-tuning on a new task, beside what it has to beat: folds of every variant, side by side on Ray.

What an interrupted run has finished is not done again: each fold of each variant leaves its predictions in
the directory that is being written.
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
from m3fm.model.text import load_tokenizer, train_tokenizer
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
"""How often a fold whose process died is tried again."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A row of the table that is fine-tuned: what it reads, and whether it starts from the checkpoint."""

    name: str
    modality: Modality
    pretrained: bool


def variants(pretrained: bool) -> tuple[Variant, ...]:
    """The paper's rows (Fig. 7b); without a checkpoint all of them start from scratch."""
    rows = (
        Variant("ct", "image", pretrained),
        Variant("clinical", "text", pretrained),
        Variant("scratch", "both", False),
    )
    return (*rows, Variant("pretrained", "both", True)) if pretrained else rows


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that a fold of any variant needs, in a form that goes to another process."""

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
    """Cross-validate fine-tuning on the task of a file, and write the table, the page and the predictions.

    `pretrained` is a checkpoint of `m3fm train`, or of `m3fm pretrain`; `mlflow` is the address of one that
    is told the configuration and the AUCs. Raises InputError for a file or a table that cannot be used.
    Interrupted, the same call goes on with the folds that are left.
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
        with runs.followed(logged):
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
                    runs.tell(*logged, report.measures(content["table"]))
        shutil.rmtree(work)


def _tokenizer(
    task: TaskFile,
    cases: Sequence[Case],
    model: ModelConfig,
    config: FinetuneConfig,
    pretrained: Path | None,
) -> Tokenizer:
    """The checkpoint's, if it has one, so that its text transformer can go on with it; or else a new one."""
    if pretrained is not None and (pretrained / "tokenizer.json").is_file():
        return load_tokenizer(pretrained)
    if model.text.tokenizer is not None:
        return load_tokenizer(model.text.tokenizer)
    told = [*task.questions, *(sentence.format("") for sentence in task.clinical.values())]
    return train_tokenizer([*corpus(config.optimizer.seed), *told], model.text.vocabulary)


def _seen(dataset: Path, cases: Sequence[Case], pretrained: Path | None) -> int:
    """How many of the patients the checkpoint may have been trained on."""
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
    """The rows of the table."""
    return [REFERENCE, *(variant.name for variant in variants(experiment.pretrained is not None))]


def _of_fold(folder: Path, name: str, fold: int) -> Path:
    return folder / f"{name}-{fold}.json"


def _run_all(experiment: Experiment, folder: Path) -> None:
    """See to it that every fold of every row of the table has its probabilities."""
    import ray

    folds = range(len(experiment.folds))
    wanted = [(name, fold) for fold in folds for name in _names(experiment)]
    todo = [(name, fold) for name, fold in wanted if not _of_fold(folder, name, fold).is_file()]
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
    """Train a row of the table on a fold, and write the probabilities of the cases that it did not see."""
    if name == REFERENCE:
        write_json(_of_fold(folder, name, fold), reference_fold(experiment, fold))
        return
    (chosen,) = (v for v in variants(experiment.pretrained is not None) if v.name == name)
    checkpoints = Checkpoints(str(folder / f"{name}-{fold}"), 1, {})
    write_json(_of_fold(folder, name, fold), tuned_fold(experiment, chosen, fold, checkpoints))
    checkpoints.clear()


def _gathered(experiment: Experiment, folder: Path, name: str) -> np.ndarray:
    """The probabilities [rows, answers] of a row of the table, each from the fold in which it was tested."""
    probabilities = np.full((len(experiment.cases), len(experiment.task.answers)), np.nan)
    for fold, (_, tested) in enumerate(experiment.folds):
        probabilities[list(tested)] = read_json(_of_fold(folder, name, fold))
    return probabilities


def reference_fold(experiment: Experiment, fold: int) -> list[list[float]]:
    """The reference row's probabilities of a fold's test rows."""
    trained, tested = map(list, experiment.folds[fold])
    features = reference_features(experiment)
    answers = np.array([case.answer for case in experiment.cases])
    fitted = nomogram(experiment.config, features.shape[1]).fit(features[trained], answers[trained])
    found: list[list[float]] = fitted.predict_proba(features[tested]).tolist()
    return found


def reference_features(experiment: Experiment) -> np.ndarray:
    """Image features and clinical variables of every row."""
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
    """A fine-tuned variant's probabilities of a fold's test rows."""
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
    """Train in this process, by the loop that all training has; from the newest checkpoint on."""
    device = torch.device("cuda" if launch.gpus_per_worker else "cpu")
    train(objective, config, launch, Worker(0, 1, device, checkpoints, lambda row, durable: None))
