"""The model card of a bundle."""

from pathlib import Path

from m3fm.core.artifacts import read_manifest
from m3fm.core.templates import render
from m3fm.deploy.bundle import Bundle

_REGIONS = {
    "one_lung": "each lung",
    "heart": "heart",
    "both_lungs": "both lungs",
    None: "text only",
}


def text(bundle: Bundle, evaluation: Path | None) -> str:
    """Write the card in Markdown: what the model is for, its tasks, its lineage, and what it reached."""
    return render(
        "deploy/templates/MODEL_CARD.md.jinja",
        bundle=bundle,
        regions=_REGIONS,
        evaluation=None if evaluation is None else read_manifest(evaluation),
    )
