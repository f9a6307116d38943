"""Kubeflow component: give a dataset its version."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def version(dataset: str, validation: str, state: str) -> str:
    """Give a validated dataset to DVC.

    Args:
        dataset: Reference to the dataset.
        validation: Reference to its validation.
        state: Directory that all steps share.

    Returns:
        Output: The dataset's version, md5:HASH.dir.
    """
    from m3fm.pipeline import steps

    return steps.version(dataset, validation, state)
