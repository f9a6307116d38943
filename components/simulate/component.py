"""Kubeflow component: simulate a screening cohort."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def simulate(config: str, state: str) -> str:
    """Write a simulated screening cohort: DICOM CT series, and tables in NLST's format.

    Args:
        config: Configuration of the run, as JSON.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the cohort.
    """
    from m3fm.pipeline import steps

    return steps.simulate(config, state)
