"""The graphs of a bundle under ONNX Runtime, on the CPU or a GPU; without torch."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from m3fm.core import telemetry
from m3fm.core.errors import InputError

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["cpu", "gpu", "auto"]
CPU, GPU = "CPUExecutionProvider", "CUDAExecutionProvider"
# With TF32, which is the default, answers would differ from torch's by more than the export allows.
GPU_FIRST = [(GPU, {"use_tf32": "0"}), CPU]
SMALLEST = "question"
"""The graph that is loaded first, to see whether the device works."""


def quiet_runtime() -> Any:
    """Import onnxruntime so that it writes no identifier into the home directory and reports nothing.

    It looks at the variable when it is imported; its function for the same comes too late.
    """
    telemetry.switch_off()
    import onnxruntime

    return onnxruntime


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens [B, N, C] of an image or a text, and which of them [B, N] count."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


class Sessions:
    """One ONNX Runtime session per graph, loaded when it is first used."""

    def __init__(self, directory: Path, providers: Sequence[Any]) -> None:
        self.directory = directory
        self.providers = list(providers)
        self._loaded: dict[str, onnxruntime.InferenceSession] = {}
        self.provider: str = self._session(SMALLEST).get_providers()[0]

    def _session(self, graph: str) -> "onnxruntime.InferenceSession":
        if graph not in self._loaded:
            onnxruntime = quiet_runtime()
            path = self.directory / f"{graph}.onnx"
            self._loaded[graph] = onnxruntime.InferenceSession(path, providers=self.providers)
        return self._loaded[graph]

    def _run(self, graph: str, outputs: list[str] | None, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session(graph).run(outputs, inputs)
        return found

    def image(
        self,
        scale: str,
        images: NDArray[np.float32],
        voxel_size: NDArray[np.float32],
        lung_mask: NDArray[np.bool_] | None = None,
    ) -> Tokens:
        """Encode volumes [B, 1, D, H, W] in [-1, 1] with voxel sizes [B, 3] in mm; nodules have a mask."""
        graph = f"image_{scale}"
        if lung_mask is not None:
            values, mask = self._run(graph, None, images=images, voxel_size=voxel_size, lung_mask=lung_mask)
            return Tokens(values, mask)
        (values,) = self._run(graph, None, images=images, voxel_size=voxel_size)
        return Tokens(values, np.ones(values.shape[:2], dtype=bool))

    def text(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Tokens:
        """Encode clinical text [B, L]."""
        (values,) = self._run("text", None, ids=ids, mask=mask)
        return Tokens(values, mask.astype(bool))

    def question(
        self, ids: NDArray[np.int64], mask: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode questions [B, L] to <TASK> tokens [B, 1, C] and Task ID logits [B, tasks + 1]."""
        token, logits = self._run("question", None, ids=ids, mask=mask)
        return token, logits

    def answer(
        self, task: str, token: NDArray[np.float32], image: Tokens | None, text: Tokens | None
    ) -> NDArray[np.float32]:
        """Compute the probabilities [B, answers] of a task, from any combination of modalities."""
        # The graph has no optional inputs: one masked token is what is absent.
        nothing = Tokens(np.zeros_like(token), np.zeros(token.shape[:2], dtype=bool))
        image, text = image or nothing, text or nothing
        (probabilities,) = self._run(
            "answer",
            [task],
            task_token=token,
            image_tokens=image.values,
            image_mask=image.mask,
            text_tokens=text.values,
            text_mask=text.mask,
        )
        return probabilities


def sessions(bundle: Path, device: Device = "cpu") -> Sessions:
    """Open sessions for a bundle's graphs; `provider` of the result is what they really run on.

    "auto" takes the GPU where it works. Raises InputError where ONNX Runtime is not there once, or where a
    GPU is asked for and does not work: it is never replaced by the CPU in silence.
    """
    check_installation()
    onnxruntime = quiet_runtime()

    if device not in get_args(Device):
        raise InputError(f"no device is called {device!r}; there are {', '.join(get_args(Device))}")
    offered = GPU in onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and not offered):
        return Sessions(bundle, [CPU])
    if not offered:
        raise InputError(
            "this ONNX Runtime has no GPU support: "
            'pip uninstall onnxruntime, then pip install "m3fm[gpu]", or use --device cpu'
        )
    onnxruntime.preload_dlls()
    found = Sessions(bundle, GPU_FIRST)
    if device == "gpu" and found.provider != GPU:
        raise InputError(
            "ONNX Runtime cannot use the GPU: its driver, CUDA or cuDNN do not load; "
            "install them, or use --device cpu"
        )
    return found


def check_installation() -> None:
    """Refuse an environment with no ONNX Runtime, or with two that overwrite each other's files."""
    names = ("onnxruntime", "onnxruntime-gpu")
    if all(_installed(name) for name in names):
        raise InputError(
            "onnxruntime and onnxruntime-gpu are both installed and break each other: "
            f'pip uninstall {" ".join(names)}, then pip install "m3fm[cpu]" or "m3fm[gpu]"'
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError('ONNX Runtime is not installed: pip install "m3fm[cpu]", or "m3fm[gpu]" for a GPU')


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
