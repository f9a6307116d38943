"""Kubeflow component: evaluate a checkpoint."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(dataset: str, checkpoint: str, config: str, state: str, report: dsl.Output[dsl.HTML]) -> str:
    """Test a checkpoint on the patients that no training step saw.

    Args:
        dataset: Reference to the dataset.
        checkpoint: Reference to the checkpoint.
        config: Configuration of the run, as JSON.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the evaluation.
        report: The report, for the pipeline's page.
    """
    from m3fm.pipeline import steps

    return steps.evaluate(dataset, checkpoint, config, state, report.path)
