"""Predictions of a checkpoint on one split of a dataset: the table that every evaluation reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from m3fm.core.artifacts import Reference
from m3fm.core.errors import InputError
from m3fm.dataset.batch import collate, model_inputs
from m3fm.dataset.mqa import Mqa, retrieval_sample
from m3fm.model.checkpoint import load

RETRIEVAL_SAMPLES = 300
"""Number of questions on simulated text for each retrieval task."""


def predict(
    checkpoint: Path,
    dataset: Path,
    split: str,
    batch: int = 16,
    progress: Callable[[str, int], None] = lambda task, samples: None,
) -> pd.DataFrame:
    """Predict every task of the model; return one row per sample with probabilities, label and mask.

    Every sample is a function of its row's position, so the table does not depend on the batch size.
    Raises InputError where the split has no label of these tasks.
    """
    model, tokenizer = load(checkpoint)
    digest = Reference.to(checkpoint).digest
    mqa = Mqa(dataset, (split,), model.config.scales, model.tasks)
    records = []
    for name, task in model.tasks.items():
        if task.kind == "retrieval":
            names = [f"simulated-{i}" for i in range(RETRIEVAL_SAMPLES)]
            keys = [(exam, exam, "", -1) for exam in names]
            samples = (retrieval_sample(name, np.random.default_rng([i])) for i in range(RETRIEVAL_SAMPLES))
        else:
            rows = mqa.rows[name]
            keys = [(row.exam, row.patient, row.side, row.nodule) for row in rows]
            samples = (mqa.sample(name, row, number) for number, row in enumerate(rows))
        for start in range(0, len(keys), batch):
            part = [next(samples) for _ in keys[start : start + batch]]
            tensors = collate(part, tokenizer, model.config)
            probabilities = model.predict(name, **model_inputs(tensors)).tolist()
            records += [
                {
                    "exam": exam,
                    "patient": patient,
                    "task": name,
                    "side": side,
                    "nodule": nodule,
                    "question": sample.question,
                    "probabilities": answer,
                    "label": list(sample.label),
                    "mask": list(sample.mask),
                    "split": split,
                    "model": digest,
                }
                for (exam, patient, side, nodule), sample, answer in zip(keys[start:], part, probabilities)
            ]
        progress(name, len(keys))
    if not records:
        raise InputError(f"{dataset} has no {split} exam with a label of {', '.join(model.tasks)}")
    return pd.DataFrame.from_records(records)
