from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from m3fm.clinical.tasks import TASKS, YEARS, Task


def _softmax_label(task: Task, rng: np.random.Generator) -> tuple[list[float], list[float], np.ndarray]:
    answers = len(task.answers)
    label = int(rng.integers(answers))
    logits = rng.normal(size=answers) * 1.2
    logits[label] += 1.0
    odds = np.exp(logits)
    return [float(label)], [1.0], odds / odds.sum()


def _hazard_label(rng: np.random.Generator) -> tuple[list[float], list[float], np.ndarray]:
    event = int(rng.integers(YEARS)) if rng.random() < 0.3 else None
    end = event if event is not None else int(rng.integers(2, YEARS))
    label = [float(event is not None and year >= event) for year in range(YEARS)]
    risk = 1 / (1 + np.exp(-(np.linspace(-2, -0.5, YEARS) + (event is not None) + rng.normal())))
    return label, [float(year <= end) for year in range(YEARS)], risk


def make_predictions(patients: int = 40, seed: int = 0, leave_out: tuple[str, ...] = ()) -> pd.DataFrame:
    """Predictions better than chance for every task, two exams for every patient."""
    rng = np.random.default_rng(seed)
    records = []
    for name, task in TASKS.items():
        if name in leave_out:
            continue
        for patient in range(patients):
            for exam in range(2):
                sides = ("left", "right") if name == "lung_cancer_risk" else ("",)
                label: list[float] | None = None
                for side in sides:
                    if task.loss == "digits":
                        truth = rng.integers(10, size=3)
                        shown = np.full((3, 10), 0.05)
                        shown[
                            np.arange(3), np.where(rng.random(3) < 0.8, truth, rng.integers(10, size=3))
                        ] = 0.55
                        drawn = [float(d) for d in truth], [1.0] * 3, shown.ravel()
                    elif task.loss == "hazard":
                        drawn = _hazard_label(rng)
                    else:
                        drawn = _softmax_label(task, rng)
                    if label is None:
                        label, mask = drawn[0], drawn[1]
                    records.append(
                        {
                            "exam": f"e{patient}-{exam}",
                            "patient": f"p{patient}",
                            "task": name,
                            "side": side,
                            "nodule": -1,
                            "question": f"{name}?",
                            "probabilities": drawn[2].tolist(),
                            "label": label,
                            "mask": mask,
                            "split": "test",
                            "model": "ab" * 32,
                        }
                    )
    return pd.DataFrame.from_records(records)


@pytest.fixture(scope="session")
def predictions() -> Callable[..., pd.DataFrame]:
    return make_predictions
