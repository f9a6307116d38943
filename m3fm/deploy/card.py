"""The model card of a bundle."""

from pathlib import Path
from typing import Any

from m3fm.core.artifacts import read_manifest
from m3fm.deploy.bundle import Bundle

_REGIONS = {
    "one_lung": "each lung",
    "heart": "heart",
    "both_lungs": "both lungs",
    None: "text only",
}


def text(bundle: Bundle, evaluation: Path | None) -> str:
    """Markdown: what the model is and is for, its tasks, where it comes from, and what it reached."""
    tasks = [[task.title, ", ".join(task.answers), _REGIONS[task.region]] for task in bundle.tasks]
    lineage = [[name, f"`{value}`"] for name, value in sorted(bundle.lineage.items())]
    return "\n".join(
        [
            "# M3FM: model card",
            "",
            "A multimodal multitask model that answers questions about a low-dose chest CT and clinical data",
            "of lung cancer screening, as ONNX graphs that run without torch.",
            "",
            "## Intended use",
            "",
            f"**{bundle.notice}.**",
            "",
            "For research on lung cancer screening; not for diagnosis, treatment or any other decision about",
            "a patient. Probabilities are as the model gives them; they are not calibrated.",
            "",
            "## Tasks",
            "",
            *_table(["task", "answers", "looks at"], tasks),
            "",
            "## Training data and lineage",
            "",
            "The dataset and the checkpoint are known by the digests below. The model knows what it saw in",
            "training alone: for other patients, scanners or protocols it may be wrong.",
            "",
            *_table(["what", "digest or name"], lineage),
            "",
            "## Performance",
            "",
            *_performance(evaluation),
            "",
            "## Export",
            "",
            "No probability of these graphs differed from the trained model's by more than "
            f"{max(bundle.parity.values()):g}.",
            "",
        ]
    )


def _performance(evaluation: Path | None) -> list[str]:
    if evaluation is None:
        return ["No evaluation was given when this bundle was made."]
    manifest = read_manifest(evaluation)
    rows = [_result(row) for row in manifest["table"] if row["headline"]]
    split = f"Patients of the {manifest['split']} split; intervals are bootstrapped over patients."
    return [split, "", *_table(["task", "metric", "patients", "value", "interval"], rows)]


def _result(row: dict[str, Any]) -> list[str]:
    if row["auc"] is None:
        return [row["title"], row["metric"], str(row["patients"]), "none", row["note"]]
    interval = "none" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    return [row["title"], row["metric"], str(row["patients"]), f"{row['auc']:.3f}", interval]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
