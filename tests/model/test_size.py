"""The sizes that the paper gives are the sizes of our models."""

import pytest

from m3fm.config.presets import preset
from m3fm.model.size import parameter_counts


@pytest.mark.parametrize(("size", "millions"), [("base", 257), ("large", 502), ("huge", 865)])
def test_the_paper_s_parameters(size, millions):
    counts = parameter_counts(preset(size).model)
    without = counts["total"] - counts["Task ID predictor"]
    assert without / 1e6 == pytest.approx(millions, rel=0.005)
    assert sum(count for part, count in counts.items() if part != "total") == counts["total"]


def test_the_paper_s_layers_and_seven_heads():
    for size, (width, depth) in {"base": (768, 12), "large": (1024, 24), "huge": (1280, 32)}.items():
        model = preset(size).model
        assert (model.width, model.depth, model.task_depth, model.registers) == (width, depth, 4, 3)
        assert (model.text.width, model.text.depth, model.head_width) == (768, 12, 1024)
        heads = parameter_counts(model)["heads"]
        hidden = width * 1024 + 3 * 1024
        assert 7 * hidden < heads < 8 * hidden
