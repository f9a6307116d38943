"""The code and the libraries that a result depends on: found by the imports of the modules that make it.

A change of a module that no import leads to, such as a command's, leaves a result as it is.
"""

import functools
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from m3fm.core.files import file_digest, text_digest

if TYPE_CHECKING:
    from grimp import ImportGraph

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT.name
DATA = (".yaml", ".jinja")
"""Suffixes of data files that belong to the modules of their folder."""

DISTRIBUTIONS = {
    "great_expectations": ("great-expectations",),
    "jinja2": ("jinja2",),
    "matplotlib": ("matplotlib",),
    "nibabel": ("nibabel",),
    "numpy": ("numpy",),
    "onnx_ir": ("onnx-ir", "onnx", "onnxscript"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "pandas": ("pandas",),
    "pyarrow": ("pyarrow",),
    "pydicom": (
        "pydicom",
        "pylibjpeg",
        "pylibjpeg-libjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
        "pyjpegls",
    ),
    "safetensors": ("safetensors",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn",),
    "tokenizers": ("tokenizers",),
    "torch": ("torch",),
    "totalsegmentator": ("TotalSegmentator",),
    "transformers": ("transformers",),
}
"""Libraries whose version decides a result, by the name they are imported by; pydicom with its decoders."""
WITHOUT_EFFECT = frozenset(
    {"grimp", "idc_index", "idc_index_data", "markupsafe", "mlflow", "pydantic", "ray", "rich", "yaml"}
)
"""Libraries that move, check or show what others compute: another version of them gives the same result."""


@functools.cache
def _graph() -> "ImportGraph":
    import grimp

    return grimp.build_graph(
        PACKAGE, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


@functools.cache
def _imported(entries: tuple[str, ...]) -> frozenset[str]:
    """Return modules and packages that are imported from `entries` on, and these themselves.

    An entry that is a package stands for all modules below it.
    """
    graph = _graph()
    starts = {module for entry in entries for module in (entry, *graph.find_descendants(entry))}
    return frozenset(starts.union(*(graph.find_upstream_modules(module) for module in starts)))


def modules(entries: Sequence[str]) -> list[str]:
    """Return the modules of this package that are imported from `entries` on, these included."""
    return sorted(name for name in _imported(tuple(entries)) if name.split(".")[0] == PACKAGE)


def code_digest(entries: Sequence[str]) -> str:
    """Return one SHA-256 of the source and data of all modules that are imported from `entries` on."""
    files: set[Path] = set()
    for name in modules(entries):
        path = ROOT.joinpath(*name.split(".")[1:])
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        files |= {source, *(data for data in source.parent.rglob("*") if data.suffix in DATA)}
        # An import runs the packages above a module first.
        files |= {folder / "__init__.py" for folder in source.parents if folder.is_relative_to(ROOT)}
    lines = [f"{file.relative_to(ROOT).as_posix()} {file_digest(file)}" for file in sorted(files)]
    return text_digest("\n".join(lines))


def libraries(entries: Sequence[str]) -> dict[str, str]:
    """Return the versions of the libraries that decide the result of `entries`, by distribution."""
    wanted = [name for package in _imported(tuple(entries)) for name in DISTRIBUTIONS.get(package, ())]
    found = {name: _version(name) for name in sorted(wanted)}
    return {name: known for name, known in found.items() if known is not None}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
