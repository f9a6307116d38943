"""Objectives on Ray Train workers, from a laptop's two to a cluster's."""

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from m3fm.artifacts import seal, to_json, write_json, written_whole
from m3fm.cluster import local_ray
from m3fm.config import LaunchConfig, OptimizerConfig
from m3fm.progress import Advance, tracked
from m3fm.training.loop import Objective, Worker, train

PROGRESS = "progress.json"
"""What the first worker tells the driver, beside the checkpoints."""


def _worker(storage: Path) -> Worker:
    """This process's place among Ray Train's workers."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    checkpoint = ray.train.get_checkpoint()
    restored = None if checkpoint is None else Path(checkpoint.to_directory())

    def tell(step: int, loss: float, waiting: float) -> None:
        write_json(storage / PROGRESS, {"step": step, "loss": loss, "waiting": waiting})

    def report(step: int, save: Callable[[Path], None] | None) -> None:
        if save is None:
            ray.train.report({"step": step})
            return
        with tempfile.TemporaryDirectory() as directory:
            save(Path(directory))
            ray.train.report({"step": step}, checkpoint=ray.train.Checkpoint.from_directory(directory))

    rank, size = context.get_world_rank(), context.get_world_size()
    return Worker(rank, size, ray.train.torch.get_device(), restored, report, tell)


@contextlib.contextmanager
def _followed(what: str, steps: int, storage: Path) -> Iterator[None]:
    """Show the progress that the first worker tells of, until the block ends."""
    ended = threading.Event()

    def follow(advance: Advance) -> None:
        seen = 0
        while not ended.wait(1.0):
            with contextlib.suppress(FileNotFoundError):
                told = json.loads((storage / PROGRESS).read_text())
                if told["step"] != seen:
                    seen = told["step"]
                    advance(
                        seen, f"loss {told['loss']:.3f}, {told['waiting']:.0%} of the time waiting for data"
                    )

    with tracked(f"{what} step", steps) as advance:
        thread = threading.Thread(target=follow, args=(advance,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def fit(
    what: str,
    build: Callable[[], Objective],
    config: OptimizerConfig,
    launch: LaunchConfig,
    storage: Path,
) -> Path:
    """Train on Ray; gives the directory of the last checkpoint.

    Checkpoints lie under `storage`; called again with the same one, training goes on from the last.
    A worker that dies is replaced and the step is done again, up to three times.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    storage = storage.resolve()

    def loop() -> None:
        train(build(), config, launch, _worker(storage))

    resources = {"CPU": 1.0, **({"GPU": launch.gpus_per_worker} if launch.gpus_per_worker else {})}
    trainer = TorchTrainer(
        loop,
        scaling_config=ray.train.ScalingConfig(
            num_workers=launch.workers,
            use_gpu=launch.gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        torch_config=TorchConfig(backend="nccl" if launch.gpus_per_worker else "gloo"),
        run_config=ray.train.RunConfig(
            name="checkpoints",
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=3),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    with local_ray(launch.workers), _followed(what, config.steps, storage):
        result = trainer.fit()
    if result.error is not None:
        raise result.error
    return Path(result.checkpoint.path)


def fit_into(
    what: str,
    out: Path,
    inputs: dict[str, object],
    build: Callable[[], Objective],
    config: OptimizerConfig,
    launch: LaunchConfig,
    describe: Callable[[Path], None],
) -> None:
    """Train, and write a sealed checkpoint directory; an interrupted call goes on where it was.

    `inputs` is what the result depends on: what is left from a run with other inputs is not gone on with.
    `describe` writes what belongs beside the weights.
    """
    with written_whole(out, resume=True) as partial:
        asked = partial / "inputs.json"
        if not asked.is_file() or asked.read_text() != to_json(inputs):
            shutil.rmtree(partial)
            partial.mkdir()
            asked.write_text(to_json(inputs))
        last = fit(what, build, config, launch, partial)
        shutil.copy(last / "model.safetensors", partial / "model.safetensors")
        history = json.loads((last / "state.json").read_text())["history"]
        (partial / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
        describe(partial)
        shutil.rmtree(partial / "checkpoints")
        (partial / PROGRESS).unlink(missing_ok=True)
        asked.unlink()
        seal(
            partial, "checkpoint.json", {"inputs": inputs, "steps": config.steps, "torch": torch.__version__}
        )
