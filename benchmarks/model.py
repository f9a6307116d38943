"""How fast M3FM is on a CPU, and what memory it takes, beside a plain implementation of the same model.

    python benchmarks/model.py [--rounds N] [--compile]

Base size, one sample. `benchmarks/plain.py` is what it is measured against; both are on the same weights, and
give the same probabilities, or nothing is measured. Times are taken in turn, and the median of the rounds'
ratios is what counts. Extra memory is the peak of a process of its own, less what it held with the model and
its inputs; with --compile, torch.compile is measured too (minutes more).
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
from paired import report
from plain import PlainM3FM, PlainMAE
from torch import Tensor, nn

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.model.m3fm import M3FM
from m3fm.model.mae import MAE
from m3fm.model.transformer import compile_transformers

RUN = preset("base")
CANCER, HEART = "lung_cancer_risk", "cvd_diagnosis"
TOLERANCE = 1e-4


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    ours = M3FM(RUN.model).eval()
    plain = PlainM3FM(ours).eval()
    for task in (CANCER, HEART):
        difference = (ours.predict(task, **inputs(task)) - plain.predict(task, **inputs(task))).abs().max()
        assert difference < TOLERANCE, f"{task}: the plain model differs by {difference:.1e}"
    volume = inputs(CANCER)
    slow = {"plain, float32": lambda: plain.predict(CANCER, **volume)}
    report(
        "forward, lung cancer volume",
        {"ours, float32": lambda: ours.predict(CANCER, **volume), **slow},
        arguments.rounds,
    )
    report(
        "forward, lung cancer volume",
        {"ours, bfloat16": lambda: low(ours, volume), **slow},
        arguments.rounds,
    )
    report(
        "forward and backward, heart volume, float32",
        {"ours": lambda: step(ours), "plain": lambda: step(plain)},
        arguments.rounds,
    )
    mae, every = maes()
    report(
        "MAE step, lung cancer volume, float32",
        {"ours": lambda: mae_step(mae), "all tokens encoded": lambda: mae_step(every)},
        max(1, arguments.rounds // 2),
    )
    memory("forward, lung cancer volume", "forward")
    memory("forward and backward, heart volume", "backward")
    if arguments.compile:
        compiled(ours, volume, arguments.rounds)


def inputs(task: str) -> dict[str, Tensor]:
    """Make one sample [1, ...] with the longest text and question, always the same."""
    scale = TASKS[task].scale
    assert scale is not None
    torch.manual_seed(1)
    text = torch.randint(5, 50_000, (1, RUN.model.text.max_tokens))
    question = torch.randint(5, 50_000, (1, RUN.model.text.max_question_tokens))
    return {
        "images": torch.rand(1, 1, *RUN.model.scales[scale].shape) * 2 - 1,
        "voxel_size": torch.tensor([[2.5, 0.7, 0.7]]),
        "text_ids": text,
        "text_mask": torch.ones_like(text),
        "question_ids": question,
        "question_mask": torch.ones_like(question),
    }


def low(model: M3FM, volume: dict[str, Tensor]) -> Tensor:
    """Run the forward pass [B, ...] under bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        return model.predict(CANCER, **volume)


def step(model: nn.Module) -> None:
    """Run forward and backward of one heart volume."""
    output = model(HEART, **inputs(HEART))
    logits = output if isinstance(output, Tensor) else output.logits
    model.zero_grad(set_to_none=False)
    nn.functional.cross_entropy(logits, torch.tensor([1])).backward()


def maes() -> tuple[MAE, PlainMAE]:
    """Build our MAE and the plain one, on the same weights."""
    ours = MAE(M3FM(RUN.model).ctvit, RUN.pretrain, RUN.model.width)
    return ours, PlainMAE(ours)


def mae_step(mae: MAE | PlainMAE) -> None:
    """Run forward and backward of one volume; the loss reads some slices of cubes, or all."""
    scale = RUN.model.scales["lung_cancer"]
    given = torch.rand(1, 1, *scale.shape) * 2 - 1, torch.tensor([[2.5, 0.7, 0.7]])
    noise = torch.rand(1, prod(scale.grid))
    slices = () if isinstance(mae, PlainMAE) else (torch.arange(RUN.pretrain.loss_token_slices),)
    mae.zero_grad()
    mae("lung_cancer", *given, noise, *slices).backward()


def memory(title: str, kind: str) -> None:
    """Print the extra memory of both, each measured in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    found = {}
    for name in ("ours", "plain"):
        with spawn.Pool(1) as pool:
            found[name] = pool.apply(peak, (name, kind))
    print(f"\n{title}: extra memory\n{'':32}{'MB':>8}{'times ours':>20}")
    for name, taken in found.items():
        print(f"{name:32}{taken / 1e6:8.0f}{taken / found['ours']:20.2f}", flush=True)


def peak(name: str, kind: str) -> int:
    """Measure the bytes by which this process's peak exceeds the model and its inputs."""
    torch.manual_seed(0)
    ours = M3FM(RUN.model).eval()
    model = ours if name == "ours" else PlainM3FM(ours).eval()
    volume = inputs(CANCER)
    if kind == "backward":  # the gradients of the parameters are not what is compared
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    forget.write_text("5")  # the peak so far, which building the model made (Linux alone)
    held = _kilobytes(status, "VmRSS")
    if kind == "backward":
        step(model)
    else:
        model.predict(CANCER, **volume)
    return 1024 * (_kilobytes(status, "VmHWM") - held)


def _kilobytes(status: Path, what: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(what))


def compiled(ours: M3FM, volume: dict[str, Tensor], rounds: int) -> None:
    """Time the forward pass [B, ...] with compiled transformers, and the compilation."""
    fast = M3FM(RUN.model).eval()
    fast.load_state_dict(ours.state_dict())
    compile_transformers(fast)
    started = time.perf_counter()
    fast.predict(CANCER, **volume)
    print(f"\ntorch.compile: the first forward pass takes {time.perf_counter() - started:.0f} s")
    contestants: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.predict(CANCER, **volume),
        "ours, compiled": lambda: fast.predict(CANCER, **volume),
    }
    report("forward, lung cancer volume, float32", contestants, rounds)


if __name__ == "__main__":
    main()
