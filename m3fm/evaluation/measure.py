"""The evaluation of a checkpoint: predictions on one split of a dataset, and their summary."""

import json
from pathlib import Path

from m3fm.clinical.tasks import TASKS
from m3fm.config.sections import EvaluateConfig
from m3fm.core.artifacts import Reference, read_manifest
from m3fm.core.progress import tracked
from m3fm.evaluation.evaluate import evaluate
from m3fm.evaluation.predict import predict


def measure(checkpoint: Path, dataset: Path, out: Path, config: EvaluateConfig, split: str = "test") -> None:
    """Write the evaluation of a checkpoint on one split of a dataset to `out`."""
    with tracked("predicted tasks", len(TASKS)) as advance:

        def counted(task: str, samples: int) -> None:
            advance(list(TASKS).index(task) + 1, f"{task}, {samples} samples")

        predictions = predict(checkpoint, dataset, split, progress=counted)
    manifest = read_manifest(dataset)
    context = {
        "simulated": manifest["source"]["simulated"],
        "dataset": Reference.to(dataset).digest,
        "checkpoint": Reference.to(checkpoint).digest,
        "counts": manifest["counts"],
        "training": read_manifest(checkpoint)["inputs"],
    }
    history = [json.loads(line) for line in (checkpoint / "history.jsonl").read_text().splitlines()]
    evaluate(predictions, out, config, context, history)
