"""Kubeflow component: pretrain CTViT."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pretrain(dataset: str, validation: str, config: str, state: str) -> str:
    """Pretrain CTViT as a masked autoencoder on the volumes outside the test set.

    Args:
        dataset: Reference to the dataset.
        validation: Reference to its validation.
        config: Configuration of the run, as JSON.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the checkpoint.
    """
    from m3fm.pipeline import steps

    return steps.pretrain(dataset, validation, config, state)
