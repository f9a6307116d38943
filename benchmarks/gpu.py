"""A training step on a GPU: throughput and memory by scale, and the fraction of the card's peak that it uses.

    python benchmarks/gpu.py [--size large] [--batch N] [--compile] [--checkpointing]

First, forward and backward of a micro-batch of each scale, as `m3fm plan --measure` times them. Then the
model FLOP utilisation of a step: forward, backward and AdamW of lung-cancer volumes under bfloat16 autocast.
Its FLOPs are counted by torch, without those that activation checkpointing repeats; the peak is that of one
bfloat16 product of two large square matrices on the same card. `--device cpu --size tiny` tries the script
without a GPU.
"""

import argparse

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from m3fm.clinical.tasks import TASKS, YEARS
from m3fm.config.model import ModelConfig
from m3fm.config.presets import SIZES, preset
from m3fm.model.heads import task_loss
from m3fm.model.m3fm import M3FM
from m3fm.model.transformer import compile_transformers, recompute_activations
from m3fm.training.measure import task_steps, timed

TASK = "lung_cancer_risk"
SIDE = {"cuda": 8192, "cpu": 1024}
"""Rows of the square matrices whose product gives the peak."""
WARM_UP, REPEATS = 3, 10


def main() -> None:
    """Measure, and print what was found; without a GPU, say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--device", choices=list(SIDE), default="cuda")
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device on this machine: the utilisation of a GPU is not measured")
        return
    device = torch.device(chosen.device)
    config = preset(chosen.size).model
    card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    by_scale(chosen.size, chosen.batch, chosen.checkpointing, device)
    peak = matrix_product(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = M3FM(config).to(device)
    batch = sample(config, chosen.batch, device)
    flops = count(model, batch)
    if chosen.checkpointing:
        recompute_activations(model)
    if chosen.compile:
        compile_transformers(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    seconds = timed(lambda: step(model, batch, optimizer), device, REPEATS, WARM_UP)
    print(f"peak: {peak / 1e12:.2f} TFLOP/s, a product of matrices of {SIDE[chosen.device]} rows")
    print(
        f"{chosen.size}, {chosen.batch} volumes, bfloat16"
        f"{', compiled' if chosen.compile else ''}{', checkpointing' if chosen.checkpointing else ''}: "
        f"{1000 * seconds:.0f} ms a step, {chosen.batch / seconds:.2f} volumes/s, "
        f"{flops / 1e12:.2f} TFLOP a step, {flops / seconds / 1e12:.2f} TFLOP/s"
    )
    if device.type == "cuda":
        print(f"peak memory of the step: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
    print(f"model FLOP utilisation: {flops / seconds / peak:.1%}")


def by_scale(size: str, batch: int, checkpointing: bool, device: torch.device) -> None:
    """Print samples a second and the peak of memory for each scale, and for texts alone."""
    run = preset(size)
    train = run.train.model_copy(update={"micro_batch": batch})
    launch = run.launch.model_copy(
        update={"precision": "bfloat16", "activation_checkpointing": checkpointing}
    )
    print(f"{'forward and backward':<24}{'samples':>8}{'samples/s':>11}{'peak, GB':>10}")
    for name, samples, work in task_steps(run.model_copy(update={"train": train, "launch": launch}), device):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = timed(work, device, REPEATS, WARM_UP)
        memory = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if device.type == "cuda" else "-"
        print(f"{name:<24}{samples:8}{samples / seconds:11.2f}{memory:>10}", flush=True)


def matrix_product(device: torch.device) -> float:
    """Measure the FLOP/s of one large product in bfloat16."""
    n = SIDE[device.type]
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / timed(lambda: a @ b, device, REPEATS, WARM_UP)


def sample(config: ModelConfig, batch: int, device: torch.device) -> dict[str, Tensor]:
    """Make volumes [B, 1, D, H, W] with the longest text and question, and labels [B, 6] of the years."""
    scale = TASKS[TASK].scale
    assert scale is not None
    text = torch.randint(5, config.text.vocabulary, (batch, config.text.max_tokens), device=device)
    question = text[:, : config.text.max_question_tokens]
    return {
        "images": torch.rand(batch, 1, *config.scales[scale].shape, device=device) * 2 - 1,
        "voxel_size": torch.tensor([[2.5, 0.7, 0.7]], device=device).expand(batch, -1),
        "text_ids": text,
        "text_mask": torch.ones_like(text),
        "question_ids": question,
        "question_mask": torch.ones_like(question),
        "label": torch.ones(batch, YEARS, device=device),
    }


def loss(model: M3FM, batch: dict[str, Tensor]) -> Tensor:
    """Compute the loss of one batch [B, ...], a scalar, under autocast."""
    arguments = {name: tensor for name, tensor in batch.items() if name != "label"}
    with torch.autocast(batch["images"].device.type, torch.bfloat16):
        logits = model(TASK, **arguments).logits
    return task_loss(TASKS[TASK], logits, batch["label"], torch.ones_like(batch["label"]))


def step(model: M3FM, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Run one optimiser step on a batch [B, ...]."""
    optimizer.zero_grad(set_to_none=True)
    loss(model, batch).backward()
    optimizer.step()


def count(model: M3FM, batch: dict[str, Tensor]) -> float:
    """Count the FLOPs of forward and backward of a batch [B, ...]: those of one sample, times B."""
    first = {name: tensor[:1] for name, tensor in batch.items()}
    counter = FlopCounterMode(display=False)
    with counter:
        loss(model, first).backward()
    model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) * len(batch["images"])


if __name__ == "__main__":
    main()
