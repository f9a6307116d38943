"""Compiles every pipeline to IR YAML: `python -m m3fm_kfp.pipelines.compile DIRECTORY`."""

import sys
from pathlib import Path

from kfp import compiler

from m3fm_kfp.pipelines.screening.pipeline import screening, screening_of

PIPELINES = {"screening": screening, "screening_of": screening_of}


def compile_to(name: str, path: Path) -> None:
    """Write the IR YAML of a pipeline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(PIPELINES[name], str(path))


def main(directory: Path) -> None:
    """Write the IR YAML of every pipeline into a directory."""
    for name in PIPELINES:
        compile_to(name, directory / f"{name}.yaml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
