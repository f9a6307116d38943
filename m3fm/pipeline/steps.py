"""The chain: one function for each step of the pipeline, from references to a reference.

Every step takes and returns texts (references `PATH@sha256:DIGEST`, the run's configuration as JSON), so
that the same functions are the bodies of Kubeflow components. `m3fm.config.steps` declares what an output
depends on; it lies in `STATE/store/STEP/KEY`, where KEY is the digest of that, and is made once. A step that
fails writes `STATE/store/failure.json`, and states the reason on its last line.
"""

import contextlib
import functools
import inspect
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from m3fm.config.sections import RunConfig
from m3fm.config.steps import (
    CURATE,
    EVALUATE,
    EXPORT,
    PRETRAIN,
    SIMULATE,
    TRAIN,
    VALIDATE,
    Step,
    result_digest,
)
from m3fm.core.artifacts import Reference, read_manifest
from m3fm.core.errors import InputError
from m3fm.core.files import lock, write_json
from m3fm.core.state import State
from m3fm.privacy.pseudonyms import with_salt

if TYPE_CHECKING:
    from m3fm.training.launch import Place

CHAIN = ("simulate", "curate", "validate", "version", "pretrain", "train", "evaluate", "export", "register")
"""The steps of the screening pipeline, in order."""

P = ParamSpec("P")


@contextlib.contextmanager
def reported(step: str, state: State) -> Iterator[None]:
    """Report when a step starts and ends; where it fails, leave the reason in a file and on the last line."""
    state.enter()
    say(step, "started")
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        name, reason = type(error).__name__, " ".join(str(error).split())
        known = isinstance(error, InputError)
        failure = {
            "step": step,
            "kind": "input" if known else "internal",
            "exception": name,
            "reason": reason if known else f"{name}: {reason}",
        }
        write_json(state.failure, failure)
        # Python prints an exception's notes below its traceback.
        error.add_note(f"m3fm: {step} failed: {failure['reason']}")
        raise
    say(step, f"done in {time.monotonic() - began:.1f} s")


def say(step: str, what: str) -> None:
    """Print a line that the runner shows to the user."""
    print(f"m3fm: {step}: {what}", flush=True)


def commit() -> str:
    """Return the commit of the running code, "-dirty" where files differ from it, or "none" without git."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return "none"
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _step(function: Callable[P, str]) -> Callable[P, str]:
    @functools.wraps(function)
    def step(*args: P.args, **kwargs: P.kwargs) -> str:
        state = inspect.signature(function).bind(*args, **kwargs).arguments["state"]
        with reported(function.__name__, State(Path(state))):
            return function(*args, **kwargs)

    return step


@contextlib.contextmanager
def _alone(step: str, out: Path) -> Iterator[None]:
    """Wait for another process that makes the same output, such as one whose runner was killed."""

    def wait(process: str) -> None:
        say(step, f"waiting for process {process}, which is making {out}")

    with lock(out.with_name(f".{out.name}.lock"), wait):
        yield


def sound(out: Path) -> Reference | None:
    """Return the reference to an output, if it exists, whole and unchanged."""
    try:
        reference = Reference.to(out)
        reference.resolve()
    except InputError:
        return None
    return reference


def _made(step: Step, state: str, depends_on: dict[str, Any], make: Callable[[Path], None]) -> str:
    """Make a step's output unless the store has it; return its reference.

    `make` imports the libraries that it needs, so that reusing an output loads none of them.
    """
    out = State(Path(state)).store / step.name / step.key(depends_on)
    with _alone(step.name, out):
        reference = sound(out)
        if reference is not None:
            say(step.name, f"reused {out}")
            return str(reference)
        if out.exists():
            say(step.name, f"{out} is damaged and made again")
        make(out)
        return str(Reference.to(out))


def _resolve(reference: str) -> Path:
    return Reference.parse(reference).resolve()


def _digest(reference: str) -> str:
    return Reference.parse(reference).digest


def _configured(config: str) -> RunConfig:
    return with_salt(RunConfig.model_validate_json(config))


@_step
def simulate(config: str, state: str) -> str:
    """Write the simulated cohort."""
    run = _configured(config)

    def make(out: Path) -> None:
        from m3fm.simulate import simulate as write_cohort

        write_cohort(out, run.simulate, run.launch.workers)

    return _made(SIMULATE, state, SIMULATE.depends_on(run), make)


@_step
def curate(cohort: str, kind: str, config: str, state: str) -> str:
    """Turn a source of exams, of a kind of `cohort.source.KINDS`, into a dataset.

    A source that m3fm did not write has no manifest: the digest in its reference is the source's own.
    """
    from m3fm.cohort.source import open_source
    from m3fm.privacy.pseudonyms import check_source

    given, run = Reference.parse(cohort), _configured(config)
    check_source(kind, given.path)
    source = open_source(kind, given.path, run.curate.labels)
    if source.digest() != given.digest:
        given.resolve()

    def make(out: Path) -> None:
        from m3fm.dataset.curate import curate as write_dataset

        write_dataset(source, out, run.curate, run.launch.workers)

    return _made(CURATE, state, CURATE.depends_on(run, kind=kind, cohort=given.digest), make)


@_step
def validate(dataset: str, state: str) -> str:
    """Check a dataset against its contract; a dataset that breaks it fails the step."""
    path = _resolve(dataset)

    def make(out: Path) -> None:
        from m3fm.dataset.validate import validate as check

        check(path, out)

    validation = _made(VALIDATE, state, VALIDATE.depends_on(None, dataset=_digest(dataset)), make)
    _validated(dataset, validation)
    return validation


def _validated(dataset: str, validation: str) -> Path:
    """Return the path of a dataset that has passed its validation; refuse any other."""
    found = read_manifest(_resolve(validation))
    if found["dataset"] != _digest(dataset):
        raise InputError(f"{validation} is of another dataset than {dataset}")
    if not found["success"]:
        raise InputError(f"{dataset} is refused: {found['failures'][0]}")
    return _resolve(dataset)


@_step
def version(dataset: str, validation: str, state: str) -> str:
    """Give a validated dataset to DVC; gives its version, `md5:HASH.dir`."""
    from m3fm.dataset.version import version as give_to_dvc

    path, repository = _validated(dataset, validation), State(Path(state)).store
    if path.with_name(f"{path.name}.dvc").is_file():
        say("version", f"reused the version of {path}")
    return give_to_dvc(path, repository)


def _place(state: str) -> "Place":
    """Return the place of a training: checkpoints beside the output, steps in the run's MLflow."""
    from m3fm.tracking.registry import Registry
    from m3fm.training.launch import Place

    return Place(mlflow=Registry.of(Path(state)).uri)


@_step
def pretrain(dataset: str, validation: str, config: str, state: str) -> str:
    """Pretrain CTViT on a validated dataset."""
    path, run = _validated(dataset, validation), _configured(config)

    def make(out: Path) -> None:
        from m3fm.training.pretrain import pretrain as fit

        fit(path, out, run, _place(state))

    return _made(PRETRAIN, state, PRETRAIN.depends_on(run, dataset=_digest(dataset)), make)


@_step
def train(dataset: str, pretrained: str, config: str, state: str) -> str:
    """Train M3FM on all tasks, from a pretrained CTViT."""
    path, start, run = _resolve(dataset), _resolve(pretrained), _configured(config)

    def make(out: Path) -> None:
        from m3fm.training.multitask import train as fit

        fit(path, start, out, run, _place(state))

    inputs = {"dataset": _digest(dataset), "pretrained": _digest(pretrained)}
    return _made(TRAIN, state, TRAIN.depends_on(run, **inputs), make)


@_step
def evaluate(dataset: str, checkpoint: str, config: str, state: str, report: str) -> str:
    """Test a checkpoint on the dataset's test patients, and copy the report to the path `report`."""
    path, model, run = _resolve(dataset), _resolve(checkpoint), _configured(config)

    def make(out: Path) -> None:
        from m3fm.evaluation.measure import measure

        measure(model, path, out, run.evaluate)

    inputs = {"dataset": _digest(dataset), "checkpoint": _digest(checkpoint)}
    reference = _made(EVALUATE, state, EVALUATE.depends_on(run, **inputs), make)
    shutil.copy(Reference.parse(reference).path / "report.html", report)
    return reference


@_step
def export(checkpoint: str, dataset: str, evaluation: str, dataset_version: str, state: str) -> str:
    """Write the ONNX bundle of a checkpoint, once its answers are found to be the checkpoint's."""
    model, path, measured = _resolve(checkpoint), _resolve(dataset), _resolve(evaluation)
    lineage = {"dataset": _digest(dataset), "dvc_digest": dataset_version}

    def make(out: Path) -> None:
        from m3fm.deploy.export import export as write_bundle

        write_bundle(model, out, lineage, path, measured)

    inputs = {**lineage, "checkpoint": _digest(checkpoint), "evaluation": _digest(evaluation)}
    return _made(EXPORT, state, EXPORT.depends_on(None, **inputs), make)


@_step
def register(
    bundle: str,
    evaluation: str,
    pretrained: str,
    checkpoint: str,
    dataset_version: str,
    config: str,
    commit: str,
    pipeline_run: str,
    state: str,
) -> str:
    """Register a bundle with its lineage as a version of the model; gives `models:/NAME/VERSION`."""
    from m3fm.tracking.registry import Registry

    run = _configured(config)
    registry = Registry.of(Path(state))
    before = {found["version"] for found in registry.versions(run.registered_model)}
    found = registry.register(
        _resolve(bundle),
        _resolve(evaluation),
        {
            "git_commit": commit,
            "dvc_digest": dataset_version,
            "config_digest": result_digest(run),
            "pipeline_run": pipeline_run,
        },
        run.registered_model,
        {
            "pretrain": _resolve(pretrained) / "history.jsonl",
            "train": _resolve(checkpoint) / "history.jsonl",
        },
        run.model_dump(mode="json"),
    )
    if found.version in before:
        say("register", f"reused version {found.version} of {found.name}")
    return f"models:/{found.name}/{found.version}"
