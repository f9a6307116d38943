"""The reference row: a nomogram of simple image features and the clinical variables (paper, Fig. 7, ref. 51).

Logistic regression; features are imputed, standardised and selected on each fold's training rows only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from m3fm.config.sections import FinetuneConfig

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
EMPHYSEMA_HU, AERATED_HU, DENSE_HU, BONE_HU = -950, -700, -200, 150
"""Lung below the first is emphysema, between the second and third ground glass; bone begins at the fourth."""


def image_features(voxels: NDArray[np.int16], voxel_size: Sequence[float]) -> dict[str, float]:
    """Compute radiomics of a region [D, H, W] in HU: histogram, volumes and roughness.

    Volumes are in ml; roughness is the mean of absolute differences between neighbours along an axis, in HU
    per mm, in the lung (under DENSE_HU) and in all.
    """
    hu = voxels.astype(np.float32)
    found = {f"hu_p{p}": float(v) for p, v in zip(PERCENTILES, np.percentile(hu, PERCENTILES))}
    mean, deviation = float(hu.mean()), float(hu.std())
    standard = (hu - mean) / max(deviation, 1.0)
    found |= {
        "hu_mean": mean,
        "hu_deviation": deviation,
        "hu_skewness": float((standard**3).mean()),
        "hu_kurtosis": float((standard**4).mean()),
    }
    lung = hu < DENSE_HU
    ml = float(np.prod(voxel_size)) / 1000
    found |= {
        "volume_ml": hu.size * ml,
        "lung_ml": float(lung.sum()) * ml,
        "fraction_lung": float(lung.mean()),
        "fraction_emphysema": float((hu < EMPHYSEMA_HU).mean()),
        "fraction_ground_glass": float(((hu >= AERATED_HU) & lung).mean()),
        "fraction_soft": float(((hu >= DENSE_HU) & (hu < BONE_HU)).mean()),
        "fraction_bone": float((hu >= BONE_HU).mean()),
    }
    for axis, name in enumerate(("slices", "rows", "columns")):
        steps = np.abs(np.diff(hu, axis=axis)) / voxel_size[axis]
        inside = np.delete(lung, -1, axis=axis) & np.delete(lung, 0, axis=axis)
        found[f"rough_{name}"] = float(steps.mean()) if steps.size else 0.0
        found[f"rough_lung_{name}"] = float(steps[inside].mean()) if inside.any() else 0.0
    return found


def clinical_matrix(rows: Sequence[dict[str, str]]) -> NDArray[np.float64]:
    """Return clinical variables [rows, columns]: numbers, and one column per text; NaN where unknown."""
    columns = []
    for name in sorted({name for row in rows for name in row}):
        cells = [row.get(name) for row in rows]
        numbers = [_number(cell) for cell in cells]
        if all(number is not None for cell, number in zip(cells, numbers) if cell is not None):
            columns.append([np.nan if number is None else number for number in numbers])
            continue
        # One column suffices for two texts.
        texts = sorted({cell for cell in cells if cell is not None})
        for text in texts[1:] or texts:
            columns.append([np.nan if cell is None else float(cell == text) for cell in cells])
    return np.array(columns, dtype=float).T.reshape(len(rows), -1)


def _number(cell: str | None) -> float | None:
    try:
        return None if cell is None or not np.isfinite(float(cell)) else float(cell)
    except ValueError:
        return None


def nomogram(config: FinetuneConfig, features: int) -> Pipeline:
    """Build the unfitted model for a number of features; every part of it is fitted to the training rows."""
    chosen = config.reference_features
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        VarianceThreshold(),
        StandardScaler(),
        SelectKBest(f_classif, k="all" if features <= chosen else chosen),
        LogisticRegression(C=config.reference_c, class_weight="balanced", max_iter=5000),
    )
