"""What commands print: tables for people, JSON for scripts."""

import json
from pathlib import Path
from typing import Any

from m3fm.artifacts import read_manifest


def results(evaluation: Path, as_json: bool = False) -> None:
    """Print an evaluation: one line per task, with AUC and interval."""
    rows = headlines(evaluation)
    if as_json:
        print(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "patients", "AUC", "95 % interval", caption_justify="left")
    for row in rows:
        known = row["auc"] is not None
        title = row["title"] if row["metric"] == "AUC" else f"{row['title']} ({row['metric']})"
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if known else row["note"]
        table.add_row(title, str(row["patients"]), f"{row['auc']:.3f}" if known else "", interval)
    Console().print(table)


def headlines(evaluation: Path) -> list[dict[str, Any]]:
    """The row that stands for each task, out of an evaluation's manifest."""
    keys = ("task", "title", "metric", "patients", "auc", "low", "high", "note")
    rows = read_manifest(evaluation)["table"]
    return [{key: row[key] for key in keys} for row in rows if row["headline"]]
