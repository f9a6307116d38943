"""Objectives on Ray Train workers, from a laptop's two to a cluster's."""

import contextlib
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3fm.config.sections import LaunchConfig, OptimizerConfig
from m3fm.core.artifacts import seal, written_whole
from m3fm.core.errors import InputError
from m3fm.core.files import lock, text_digest, to_json
from m3fm.core.progress import Advance, tracked
from m3fm.core.ray import ray_cluster
from m3fm.tracking import runs
from m3fm.training.batches import Objective
from m3fm.training.checkpoints import Checkpoints, without_password
from m3fm.training.loop import VALIDATION, StepMetrics, Worker, train

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@dataclass(frozen=True, slots=True)
class Place:
    """The place where a training keeps its checkpoints and logs its steps."""

    storage: str | None = None
    """Path or URI (s3://bucket/folder) that all workers reach; beside the output where not given."""
    mlflow: str | None = None
    """Address of the MLflow that has the experiment; without one, nothing is logged."""


class ProgressActor:
    """Actor that every node reaches: the first worker reports to it, the driver reads."""

    def __init__(self) -> None:
        self.row: StepMetrics | None = None
        self.failure: str | None = None

    def report(self, row: StepMetrics) -> None:
        """Take the measures of the last step."""
        self.row = row

    def fail(self, reason: str) -> None:
        """Take why training cannot go on, however often it is tried."""
        self.failure = reason

    def read(self) -> tuple[StepMetrics | None, str | None]:
        """Return the last step's measures, and the reason of a failure."""
        return self.row, self.failure


def _start_progress() -> "ActorHandle":
    """Start the actor on this node: it must not be lost with another one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(ProgressActor).remote()


@contextlib.contextmanager
def _show_progress(what: str, steps: int, progress: "ActorHandle") -> Iterator[None]:
    """Show what the actor reports, until the block ends."""
    import ray

    ended = threading.Event()

    def follow(advance: Advance) -> None:
        while not ended.wait(1.0):
            try:
                row, _ = ray.get(progress.read.remote())
            except ray.exceptions.RayError:
                return
            if row is not None:
                advance(int(row["step"]) + 1, _describe(row))

    with tracked(f"{what} step", steps) as advance:
        thread = threading.Thread(target=follow, args=(advance,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


NO_LOSSES = ("step", "lr", "gradient_norm", "samples_per_second", "data_wait", "peak_memory_bytes")


def _describe(row: StepMetrics) -> str:
    """Describe a step in words."""
    losses = [v for k, v in row.items() if k not in NO_LOSSES and not k.startswith(VALIDATION)]
    parts = [f"loss {sum(losses) / len(losses):.3f}"]
    if "data_wait" in row:
        parts.append(f"{row['samples_per_second']:.3g} samples/s, {row['data_wait']:.0%} waiting for data")
    return ", ".join(parts)


def fit(
    what: str,
    build: Callable[[], Objective],
    config: OptimizerConfig,
    launch: LaunchConfig,
    checkpoints: Checkpoints,
    mlflow: tuple[str, str] | None = None,
) -> None:
    """Train on Ray until the last checkpoint is written; from the newest one on, where there are some.

    Workers that die are replaced, and the steps since the checkpoint are done again. `mlflow` is an address
    and a run's id. Raises FloatingPointError where a loss is not finite: that would come again.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    def loop(progress: "ActorHandle") -> None:
        import ray.train.torch

        context = ray.train.get_context()
        steps = runs.StepLog(*mlflow) if mlflow is not None and context.get_world_rank() == 0 else None

        def report(row: StepMetrics, durable: bool) -> None:
            progress.report.remote(row)
            if steps is not None:
                steps.add(row)
                if durable:
                    steps.flush()

        rank, size = context.get_world_rank(), context.get_world_size()
        worker = Worker(rank, size, ray.train.torch.get_device(), checkpoints, report)
        try:
            train(build(), config, launch, worker)
        except FloatingPointError as error:
            if steps is not None:
                steps.flush()
            # An error that is raised would be taken for a worker's death, and tried again.
            ray.get(progress.fail.remote(str(error)))

    resources = {"CPU": 1.0, **({"GPU": launch.gpus_per_worker} if launch.gpus_per_worker else {})}
    with (
        ray_cluster(launch.workers),
        tempfile.TemporaryDirectory() as of_ray,
    ):
        progress = _start_progress()
        trainer = TorchTrainer(
            loop,
            train_loop_config=progress,
            scaling_config=ray.train.ScalingConfig(
                num_workers=launch.workers,
                use_gpu=launch.gpus_per_worker > 0,
                resources_per_worker=resources,
                placement_strategy=launch.placement,
            ),
            torch_config=TorchConfig(backend="nccl" if launch.gpus_per_worker else "gloo"),
            run_config=ray.train.RunConfig(
                storage_path=of_ray,
                failure_config=ray.train.FailureConfig(max_failures=launch.restarts),
            ),
        )
        with _show_progress(what, config.steps, progress):
            try:
                trainer.fit()
            except SystemExit as stopped:
                # So Ray ends after Ctrl-C.
                raise KeyboardInterrupt from stopped
        _, failure = ray.get(progress.read.remote())
    if failure is not None:
        raise FloatingPointError(failure)


def fit_into(
    what: str,
    out: Path,
    inputs: Mapping[str, object],
    build: Callable[[], Objective],
    config: OptimizerConfig,
    launch: LaunchConfig,
    params: Mapping[str, Any],
    describe: Callable[[Path], None],
    place: Place,
    facts: Mapping[str, Any],
) -> None:
    """Train, and write a sealed checkpoint directory; after an interruption, the same call resumes.

    `inputs` is what the result depends on, `params` are logged, `describe` writes what belongs beside the
    weights, and `facts` are recorded in the manifest. Raises InputError where another process is training to
    `out`, or another run has begun to.
    """
    work = out.with_name(f".{out.name}.training")
    with held(work, out):
        about: dict[str, Any] = {"inputs": dict(inputs)}
        storage = str(work.absolute() / "checkpoints")
        if place.storage is not None:
            storage = _join(place.storage, text_digest(to_json(inputs))[:16])
        before = Checkpoints(storage, config.keep_checkpoints, about).found()
        earlier: dict[str, Any] = before[-1].about if before else {}
        if earlier:
            _of_same_run(earlier["inputs"], inputs, storage)
        logged = None
        if place.mlflow is not None:
            of_checkpoint = earlier.get("mlflow_run")
            about["mlflow_run"] = runs.resume_or_start_run(
                place.mlflow, work, of_checkpoint, inputs, what, params
            )
            logged = place.mlflow, about["mlflow_run"]
        checkpoints = Checkpoints(storage, config.keep_checkpoints, about)
        try:
            with runs.record_status(logged):
                fit(what, build, config, launch, checkpoints, logged)
        except KeyboardInterrupt:
            kept = max((one.step for one in checkpoints.found()), default=0)
            resumes = f"the same command resumes after step {kept} of {config.steps}"
            print(f"\nm3fm: stopped; {resumes}", file=sys.stderr)
            raise
        with written_whole(out) as partial:
            content = _write_result(checkpoints, config, partial)
            describe(partial)
            manifest = {"inputs": inputs, **facts, **content}
            seal(partial, "checkpoint.json", manifest)
        checkpoints.clear()
        shutil.rmtree(work)


@contextlib.contextmanager
def held(work: Path, out: Path) -> Iterator[None]:
    """Keep other processes from training to the same place, until the block or this process ends."""

    def refuse(process: str) -> None:
        raise InputError(
            f"process {process} is training to {out}: wait for it, or give this one another directory"
        )

    with lock(work / "lock", refuse):
        yield


def _join(storage: str, folder: str) -> str:
    """Join a folder to a path or URI, whose options stand behind a question mark."""
    path, mark, options = storage.partition("?") if "://" in storage else (storage, "", "")
    return f"{path.rstrip('/')}/{folder}{mark}{options}"


def _of_same_run(found: Mapping[str, object], inputs: Mapping[str, object], storage: str) -> None:
    """Refuse to go on with, or to throw away, another run's checkpoints."""
    differs = [name for name in inputs if found.get(name) != inputs[name]]
    if differs:
        raise InputError(
            f"{without_password(storage)} holds the checkpoints of an unfinished run of another"
            f" {', '.join(differs)}: start that one again, or remove them"
        )


def _write_result(checkpoints: Checkpoints, config: OptimizerConfig, out: Path) -> dict[str, Any]:
    """Write the weights and the history of a finished training; return their step and validation loss."""
    with tempfile.TemporaryDirectory() as temporary:
        last, chosen = Path(temporary) / "last", Path(temporary) / "chosen"
        found = checkpoints.newest(last)
        if found is None or found.step != config.steps:
            raise InputError("the last checkpoint is damaged; the same command resumes from the one before")
        shutil.copy(last / "history.jsonl", out / "history.jsonl")
        best = checkpoints.best()
        if config.result == "best" and best is not None:
            if not checkpoints.fetch(best, chosen):
                place = f"{without_password(checkpoints.where)}/{best.name}"
                raise InputError(
                    f"{place} has the lowest validation loss, and is damaged; remove it, and the same command"
                    " takes the next best"
                )
            found, last = best, chosen
        shutil.copy(last / "model.safetensors", out / "model.safetensors")
    return {"steps": config.steps, "weights_of_step": found.step, "validation_loss": found.score}
