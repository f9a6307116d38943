"""Kubeflow component: curate a source of exams."""

from kfp import dsl

from m3fm_kfp.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def curate(cohort: str, kind: str, config: str, state: str) -> str:
    """Turn a source of exams into a dataset: volumes, regions, labels, splits.

    Args:
        cohort: Reference to the source.
        kind: Kind of source, as in docs/sources.md.
        config: Configuration of the run, as JSON.
        state: Directory that all steps share.

    Returns:
        Output: Reference to the dataset.
    """
    from m3fm.pipeline import steps

    return steps.curate(cohort, kind, config, state)
