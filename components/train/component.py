"""Kubeflow component: train M3FM."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(dataset: str, pretrained: str, config: str, state: str) -> str:
    """Train M3FM on all tasks at once, from a pretrained CTViT.

    Args:
        dataset: Reference to the dataset.
        pretrained: Reference to the checkpoint of pretraining.
        config: Configuration of the run, as JSON.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the checkpoint.
    """
    from m3fm.pipeline import steps

    return steps.train(dataset, pretrained, config, state)
