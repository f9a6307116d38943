"""One file of weights for all graphs of a bundle: a tensor that several graphs use is stored once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

WEIGHTS = "weights.bin"
ALIGNMENT = 64
SMALL = 1024
"""Tensors of fewer bytes stay in the graph: ONNX Runtime reads shapes and constants from them."""


def save_sharing_weights(models: Mapping[str, ir.Model], directory: Path) -> None:
    """Write `<name>.onnx` for each model and their weights, one after the other, to `weights.bin`."""
    offsets: dict[bytes, int] = {}
    with (directory / WEIGHTS).open("wb") as file:
        for model in models.values():
            for value in model.graph.initializers.values():
                tensor = value.const_value
                assert tensor is not None
                if tensor.nbytes < SMALL:
                    continue
                content = tensor.tobytes()
                digest = hashlib.sha256(content).digest()
                if digest not in offsets:
                    file.write(bytes(-file.tell() % ALIGNMENT))
                    offsets[digest] = file.tell()
                    file.write(content)
                value.const_value = ir.ExternalTensor(
                    WEIGHTS,
                    offsets[digest],
                    len(content),
                    tensor.dtype,
                    shape=ir.Shape(tensor.shape.numpy()),
                    name=value.name or "",
                    base_dir=directory,
                )
    for name, model in models.items():
        ir.save(model, directory / f"{name}.onnx")
