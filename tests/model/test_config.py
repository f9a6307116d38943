"""A configuration that would crash later is refused, with the key and the reason."""

import pytest

from m3fm.config.presets import load
from m3fm.core.errors import InputError

SCALE = "shape: [64, 128, 128], patch: [16, 16, 16]"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("model: {heads: 7}", "heads is 7, which does not divide the width 64"),
        ("model: {task_heads: 5}", "task_heads is 5"),
        ("model: {width: 63, heads: 7}", "width is 63, and should be even"),
        ("model: {text: {heads: 7}}", "heads is 7, which does not divide the width 48"),
        (
            "model: {text: {pretrained: /a, encoder: {model_type: bert}}}",
            "pretrained and encoder are both given",
        ),
        ("pretrain: {decoder_heads: 7}", "decoder_heads is 7"),
        ("pretrain: {loss_token_slices: 3}", "loss_token_slices is 3: scale .* has 2"),
        ("pretrain: {scale_range: [[2.0, 0.5], [1, 1], [1, 1]]}", r"scale_range has \(2.0, 0.5\)"),
        ("pretrain: {scale_range: [[0.0, 1.0], [1, 1], [1, 1]]}", r"scale_range has \(0.0, 1.0\)"),
        ("pretrain: {scale_range: [[0.5, .inf], [1, 1], [1, 1]]}", "scale_range has"),
        (f"model: {{scales: {{a.b: {{{SCALE}, hu_window: [0, 5]}}}}}}", "a.b"),
        (f"model: {{scales: {{new: {{{SCALE}, hu_window: [5, 5]}}}}}}", r"hu_window is \(5.0, 5.0\)"),
        (f"model: {{scales: {{new: {{{SCALE}, hu_window: [5, 0]}}}}}}", r"hu_window is \(5.0, 0.0\)"),
        (f"model: {{scales: {{new: {{{SCALE}, hu_window: [.nan, 0]}}}}}}", "hu_window is"),
        (f"model: {{scales: {{new: {{{SCALE}, hu_window: [0, .inf]}}}}}}", "hu_window is"),
    ],
)
def test_what_would_crash_later_is_refused(tmp_path, changes, said):
    path = tmp_path / "params.yaml"
    path.write_text(f"preset: tiny\n{changes}\n")
    with pytest.raises(InputError, match=said):
        load(path)


def test_a_directory_of_another_machine_is_taken_until_the_model_is_built(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("preset: tiny\nmodel: {text: {pretrained: /on/the/cluster}}\n")
    assert str(load(path).model.text.pretrained) == "/on/the/cluster"
