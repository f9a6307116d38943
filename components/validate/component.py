"""Kubeflow component: validate a dataset."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate(dataset: str, state: str) -> str:
    """Check a dataset against its contract with Great Expectations; one that breaks it fails the step.

    Args:
        dataset: Reference to the dataset.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the validation with its Data Docs.
    """
    from m3fm.pipeline import steps

    return steps.validate(dataset, state)
