"""What commands print: tables for people, JSON for scripts."""

import json
from pathlib import Path
from typing import Any

from m3fm.core.artifacts import Reference, read_manifest


def print_output(out: Path, as_json: bool) -> None:
    """Print the reference to a step's output, and the counts and warnings of its manifest."""
    manifest = read_manifest(out)
    counts, warnings = manifest.get("counts", {}), manifest.get("warnings", [])
    reference = Reference.to(out)
    if as_json:
        print(
            json.dumps({"path": str(out), "digest": reference.digest, "counts": counts, "warnings": warnings})
        )
        return
    print(reference)
    totals = [f"{name} {count}" for name, count in counts.items() if isinstance(count, int)]
    parts = [f"{name}: {_listed(count)}" for name, count in counts.items() if _flat(count)]
    for line in filter(None, [", ".join(totals), *parts, *(f"warning: {text}" for text in warnings)]):
        print(f"  {line}")


def _flat(counts: Any) -> bool:
    return isinstance(counts, dict) and bool(counts) and all(isinstance(n, int) for n in counts.values())


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def results(evaluation: Path, as_json: bool = False) -> None:
    """Print an evaluation: one line per task, with AUC and confidence interval."""
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


def finetuned(out: Path, as_json: bool = False) -> None:
    """Print the result of fine-tuning: each row's AUC over the folds, and the verdict in words."""
    content = read_manifest(out)
    if as_json:
        keys = ("task", "counts", "left_out", "simulated", "table", "verdict", "notes")
        print(json.dumps({key: content[key] for key in keys}))
        return
    from rich.console import Console
    from rich.table import Table

    rows = content["table"]
    heads = (f"{'' if number else 'fold '}{number + 1}" for number in range(len(rows[0]["folds"])))
    table = Table("", "AUC", *heads, title=content["task"]["title"], title_justify="left")
    for row in rows:
        folds = (f"{value:.3f}" for value in row["folds"])
        table.add_row(row["title"], f"{row['auc']:.3f} ± {row['deviation']:.3f}", *folds)
    Console().print(table)
    for line in (content["verdict"], *content["notes"], f"report: {out / 'report.html'}"):
        print(line)


def headlines(evaluation: Path) -> list[dict[str, Any]]:
    """Return the headline row of each task from an evaluation's manifest."""
    keys = ("task", "title", "metric", "patients", "auc", "low", "high", "note")
    rows = read_manifest(evaluation)["table"]
    return [{key: row[key] for key in keys} for row in rows if row["headline"]]
