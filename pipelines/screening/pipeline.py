"""The screening pipeline: from CT and tables to a registered, deployable model.

What travels between the steps are references to directories below `state`, never the data. The same chain
starts with a simulated cohort (`screening`), or with one that is there (`screening_of`).
"""

from typing import NamedTuple

from kfp import dsl, kubernetes

from m3fm.config.sections import SALT_VARIABLE
from m3fm_kfp.components.curate.component import curate
from m3fm_kfp.components.evaluate.component import evaluate
from m3fm_kfp.components.export.component import export
from m3fm_kfp.components.pretrain.component import pretrain
from m3fm_kfp.components.register.component import register
from m3fm_kfp.components.simulate.component import simulate
from m3fm_kfp.components.train.component import train
from m3fm_kfp.components.validate.component import validate
from m3fm_kfp.components.version.component import version

CLAIM, MOUNT = "m3fm", "/m3fm"
"""On a cluster the steps share a volume: `state` is a directory below its mount."""
SALT_SECRET, SALT_KEY = "m3fm-salt", "salt"
"""On a cluster curation takes M3FM_SALT from this secret, where there is one."""


class Outputs(NamedTuple):
    """The outputs of a run, from the dataset on."""

    dataset: str
    validation: str
    dataset_version: str
    pretrained: str
    checkpoint: str
    evaluation: str
    bundle: str
    model: str


def _in_state(task: dsl.PipelineTask) -> None:
    """Mount the shared volume; the store in it is the one cache, so Kubeflow keeps none of its own."""
    kubernetes.mount_pvc(task, pvc_name=CLAIM, mount_path=MOUNT)
    task.set_caching_options(enable_caching=False)


def _registered(cohort: str, kind: str, config: str, commit: str, state: str) -> Outputs:
    """Chain the steps from curation on."""
    run = {"config": config, "state": state}
    dataset = curate(cohort=cohort, kind=kind, **run)
    kubernetes.use_secret_as_env(dataset, SALT_SECRET, {SALT_KEY: SALT_VARIABLE}, optional=True)
    validation = validate(dataset=dataset.output, state=state)
    versioned = version(dataset=dataset.output, validation=validation.output, state=state)
    pretrained = pretrain(dataset=dataset.output, validation=validation.output, **run).after(versioned)
    checkpoint = train(dataset=dataset.output, pretrained=pretrained.output, **run)
    evaluation = evaluate(dataset=dataset.output, checkpoint=checkpoint.output, **run)
    measured = evaluation.outputs["Output"]
    bundle = export(
        checkpoint=checkpoint.output,
        dataset=dataset.output,
        evaluation=measured,
        dataset_version=versioned.output,
        state=state,
    )
    model = register(
        bundle=bundle.output,
        evaluation=measured,
        pretrained=pretrained.output,
        checkpoint=checkpoint.output,
        dataset_version=versioned.output,
        config=config,
        commit=commit,
        pipeline_run=f"{dsl.PIPELINE_JOB_NAME_PLACEHOLDER}/{dsl.PIPELINE_JOB_ID_PLACEHOLDER}",
        state=state,
    )
    for task in (dataset, validation, versioned, pretrained, checkpoint, evaluation, bundle, model):
        _in_state(task)
    return Outputs(
        dataset=dataset.output,
        validation=validation.output,
        dataset_version=versioned.output,
        pretrained=pretrained.output,
        checkpoint=checkpoint.output,
        evaluation=measured,
        bundle=bundle.output,
        model=model.output,
    )


@dsl.pipeline(name="screening", description="From a simulated screening cohort to a registered model")
def screening(config: str, commit: str, state: str) -> Outputs:
    """Simulate a cohort and make a registered model of it.

    Args:
        config: Configuration of the run, as JSON.
        commit: The code's commit in git.
        state: Directory that all steps share.
    """
    cohort = simulate(config=config, state=state)
    _in_state(cohort)
    return _registered(cohort.output, "nlst", config, commit, state)


@dsl.pipeline(name="screening-of", description="From a source of exams to a registered model")
def screening_of(source: str, kind: str, config: str, commit: str, state: str) -> Outputs:
    """Make a registered model of a source of exams.

    Args:
        source: Reference to the source.
        kind: Kind of source, as in docs/sources.md.
        config: Configuration of the run, as JSON.
        commit: The code's commit in git.
        state: Directory that all steps share.
    """
    return _registered(source, kind, config, commit, state)
