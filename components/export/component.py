"""Kubeflow component: export a checkpoint."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def export(checkpoint: str, dataset: str, evaluation: str, dataset_version: str, state: str) -> str:
    """Write the ONNX bundle of a checkpoint, once its answers are found to be the checkpoint's.

    Args:
        checkpoint: Reference to the checkpoint.
        dataset: Reference to the dataset.
        evaluation: Reference to the evaluation.
        dataset_version: The dataset's version in DVC.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the bundle.
    """
    from m3fm.pipeline import steps

    return steps.export(checkpoint, dataset, evaluation, dataset_version, state)
