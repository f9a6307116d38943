"""The selection of a study's series by the tables alone; no pixel is read.

The paper excludes "the CT series having less than 64 axial slices" (Methods: Medical Multimodal-Multitask
Dataset Construction). RULES splits that sentence into its parts: a CT series, of the source itself, of axial
slices, at least 64 of them. An unknown value excludes nothing; curation examines the headers and the voxels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

KEPT = "kept"

LISTING = pa.schema(
    [
        pa.field("series", pa.string()),  # SeriesInstanceUID
        pa.field("study", pa.string()),
        pa.field("patient", pa.string()),
        pa.field("modality", pa.string()),
        pa.field("analysis", pa.string()),  # the analysis that made it; null for an original
        pa.field("capture", pa.bool_()),  # a screenshot: a secondary capture
        pa.field("localizer", pa.bool_()),
        pa.field("reformat", pa.bool_()),  # a reformat or projection of other slices
        pa.field("slices", pa.int64()),
    ]
)
"""Columns of a listing, one row for every series that a source's tables list; null is unknown."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A reason to exclude series; it has the same name as the same reason in curation."""

    name: str
    why: str
    excludes: Callable[[pa.Table, int], pa.ChunkedArray]
    """Function from a listing and the fewest slices to whether each row is excluded; null counts as kept."""


RULES = (
    Rule("not_ct", "the modality is not CT", lambda rows, _: pc.not_equal(rows["modality"], "CT")),
    Rule(
        "listed_twice",
        "another row lists the same series",
        lambda rows, _: pc.invert(_first(rows["series"])),
    ),
    Rule(
        "analysis_result",
        "made by a later analysis from a series of the source",
        lambda rows, _: pc.is_valid(rows["analysis"]),
    ),
    Rule("secondary_capture", "screenshots, not CT images", lambda rows, _: rows["capture"]),
    Rule("localizer", "a localizer (scout), not axial", lambda rows, _: rows["localizer"]),
    Rule(
        "too_few_slices",
        "fewer axial slices than the configuration asks for (the paper: 64)",
        lambda rows, fewest: pc.less(rows["slices"], fewest),
    ),
)
"""Rules in their order: the first that excludes a series counts; without one the series is kept."""


def listing(columns: dict[str, Any]) -> pa.Table:
    """Return a table of LISTING's columns; columns that are not given are null, unknown."""
    rows = len(next(iter(columns.values())))
    return pa.table(
        {
            name: columns[name] if name in columns else pa.nulls(rows, LISTING.field(name).type)
            for name in LISTING.names
        }
    ).cast(LISTING)


def decide(rows: pa.Table, min_slices: int) -> pa.ChunkedArray:
    """Return, for each row of a listing, the name of the rule that excludes it, or KEPT."""
    decisions = pa.chunked_array([pa.repeat(KEPT, len(rows))])
    for rule in reversed(RULES):
        excluded = pc.fill_null(rule.excludes(rows, min_slices), False)
        decisions = pc.if_else(excluded, rule.name, decisions)
    return decisions


def summary(rows: pa.Table, decisions: pa.ChunkedArray) -> dict[str, Any]:
    """Count the series and patients that each rule excludes and leaves; the series add up.

    `unclear` counts the kept reformats and projections: only their headers show whether they are axial.
    """
    left = pa.chunked_array([pa.repeat(True, len(rows))])
    steps = []
    for rule in RULES:
        out = pc.equal(decisions, rule.name)
        left = pc.and_not(left, out)
        steps.append(
            {
                "rule": rule.name,
                "why": rule.why,
                **_counts(rows.filter(out)),
                **{f"{name}_left": count for name, count in _counts(rows.filter(left)).items()},
            }
        )
    kept = rows.filter(left)
    return {
        **_counts(rows),
        "rules": steps,
        "kept": {
            **_counts(kept),
            "exams": pc.count_distinct(kept["study"]).as_py(),
            "unclear": pc.sum(kept["reformat"], min_count=0).as_py(),
        },
    }


def kept_series(rows: pa.Table, decisions: pa.ChunkedArray, patients: int | None = None) -> list[str]:
    """Return the kept series; with a number, those of so many patients, the first by their identifiers."""
    kept = rows.filter(pc.equal(decisions, KEPT))
    first = pc.unique(kept["patient"]).sort()[:patients]
    series: list[str] = kept.filter(pc.is_in(kept["patient"], value_set=first))["series"].to_pylist()
    return series


def _counts(rows: pa.Table) -> dict[str, int]:
    return {"series": len(rows), "patients": pc.count_distinct(rows["patient"]).as_py()}


def _first(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return, for each value, whether it is its first occurrence."""
    rows = pa.table({"value": values, "row": pa.array(range(len(values)), pa.int64())})
    first = rows.group_by("value").aggregate([("row", "min")])["row_min"]
    return pc.is_in(rows["row"], value_set=first.combine_chunks())
