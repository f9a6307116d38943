"""A checkpoint that is not as it was written is refused by the name of its file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import RUN

from m3fm.core.artifacts import seal
from m3fm.core.errors import InputError
from m3fm.model.checkpoint import load_model, load_pretrained, save_model
from m3fm.model.m3fm import M3FM


@pytest.fixture
def checkpoint(tmp_path):
    save_model(M3FM(RUN.model), tmp_path)
    return tmp_path


def edited(name, change):
    def edit(directory):
        content = json.loads((directory / name).read_text())
        change(content)
        (directory / name).write_text(json.dumps(content))

    return edit


def with_tensor(name, change):
    def edit(directory):
        weights = load_file(directory / "model.safetensors")
        save_file({**weights, name: change(weights[name])}, directory / "model.safetensors")

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda at: (at / "config.json").unlink(), "config.json cannot be read"),
        (lambda at: (at / "tasks.json").unlink(), "tasks.json cannot be read"),
        (lambda at: (at / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda at: (at / "config.json").write_bytes(b"\xff\xfe"), "config.json, Invalid JSON"),
        (lambda at: (at / "tasks.json").write_text("{}"), "tasks.json, .*array"),
        (lambda at: (at / "tasks.json").write_text("[]"), "tasks.json has no tasks"),
        (lambda at: (at / "model.safetensors").write_bytes(b"\x08"), "model.safetensors cannot be read"),
        (edited("config.json", lambda c: c.update(colour=1)), "config.json, colour: "),
        (edited("config.json", lambda c: c.update(heads=7)), "config.json, .*heads is 7, .* the width 64"),
        (edited("config.json", lambda c: c.update(scales={})), "config.json, scales: "),
        (edited("config.json", lambda c: c.update(depth=5)), "lacks ctvit.encoder.blocks.4"),
        (edited("tasks.json", lambda t: t[0].update(colour=1)), "tasks.json, 0.colour: "),
        (edited("tasks.json", lambda t: t[0].update(loss="x")), "tasks.json, 0.loss: "),
        (
            edited("tasks.json", lambda t: t[0].update(scale="x")),
            "tasks.json: task nodule_presence is of scale",
        ),
        (
            edited("tasks.json", lambda t: t.append(t[0])),
            "tasks.json has two tasks that are called nodule_presence",
        ),
        (with_tensor("image_to_task.bias", lambda t: t / 0), "not finite in image_to_task.bias"),
        (
            with_tensor("image_to_task.bias", lambda t: t.long()),
            "other than real numbers in image_to_task.bias",
        ),
        (with_tensor("image_to_task.bias", lambda t: t[:-1]), "image_to_task.bias .* instead of"),
    ],
)
def test_a_damaged_checkpoint_is_refused(checkpoint, edit, said):
    load_model(checkpoint)
    edit(checkpoint)
    with pytest.raises(InputError, match=said):
        load_model(checkpoint)


@pytest.mark.parametrize(
    "edit",
    [
        edited("tasks.json", lambda tasks: tasks.reverse()),
        edited("config.json", lambda config: config.update(heads=4, monotone_risk=False)),
        with_tensor("image_to_task.bias", torch.zeros_like),
    ],
)
def test_what_training_wrote_and_somebody_changed_is_refused(checkpoint, edit):
    """The change fits the model, which would answer, and wrongly."""
    edit(checkpoint)
    load_model(checkpoint)
    seal(checkpoint, "checkpoint.json", {})
    load_model(checkpoint)
    edit(checkpoint)
    with_tensor("image_to_task.bias", lambda tensor: tensor + 1)(checkpoint)
    for load in (load_model, lambda directory: load_pretrained(M3FM(RUN.model), directory)):
        with pytest.raises(InputError, match="was changed after it was written"):
            load(checkpoint)
