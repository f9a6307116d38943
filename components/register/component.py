"""Kubeflow component: register a bundle."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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
    """Register a bundle with its lineage as a version of the model in MLflow; twice the same is one version.

    Args:
        bundle: Reference to the bundle.
        evaluation: Reference to the evaluation.
        pretrained: Reference to the checkpoint of pretraining.
        checkpoint: Reference to the checkpoint.
        dataset_version: The dataset's version in DVC.
        config: Configuration of the run, as JSON.
        commit: The code's commit in git.
        pipeline_run: Name of the pipeline run.
        state: Directory that all steps share.

    Returns:
        Output: The registered version, models:/NAME/VERSION.
    """
    from m3fm.pipeline import steps

    return steps.register(
        bundle, evaluation, pretrained, checkpoint, dataset_version, config, commit, pipeline_run, state
    )
