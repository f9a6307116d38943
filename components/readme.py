"""Writes the README of each component from its signature: `python -m m3fm_kfp.components.readme`."""

import importlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INTRODUCTION = """# {name}

{description}

The component calls `m3fm.pipeline.steps.{name}` and nothing else. This page is written by
`python -m m3fm_kfp.components.readme` from the signature in `component.py`.
"""


def names() -> list[str]:
    """List the components' names: one folder each."""
    return sorted(path.parent.name for path in HERE.glob("*/component.py"))


def load(name: str) -> Any:
    """Import a component by its name."""
    return getattr(importlib.import_module(f"m3fm_kfp.components.{name}.component"), name)


def text(name: str) -> str:
    """Format the README of a component."""
    spec = load(name).component_spec
    inputs = [(key, value.type, value.description) for key, value in (spec.inputs or {}).items()]
    outputs = [(key, value.type, value.description) for key, value in (spec.outputs or {}).items()]
    parts = [INTRODUCTION.format(name=name, description=spec.description)]
    for title, rows in (("Inputs", inputs), ("Outputs", outputs)):
        parts.append(f"## {title}\n\n| name | type | what it is |\n|---|---|---|")
        parts += [f"| `{key}` | {kind.split('@')[0]} | {what} |" for key, kind, what in rows]
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    """Write every README."""
    for name in names():
        (HERE / name / "README.md").write_text(text(name))


if __name__ == "__main__":
    main()
