"""A model at the paper's sizes whose text transformer starts from random weights says so."""

import pytest

from m3fm.config.presets import preset
from m3fm.training.multitask import text_warnings


def changed(name: str, **text: object):
    run = preset(name)
    return run.model_copy(
        update={"model": run.model.model_copy(update={"text": run.model.text.model_copy(update=text)})}
    )


@pytest.mark.parametrize("name", ["base", "large", "huge"])
def test_the_paper_s_sizes_warn_where_they_start_from_no_pretrained_text(name, tmp_path):
    (warning,) = text_warnings(changed(name))
    assert f"preset {name} starts from random weights" in warning
    assert "model.text.pretrained" in warning
    assert text_warnings(changed(name, pretrained=tmp_path)) == []


def test_tiny_and_models_without_text_have_nothing_to_warn_of():
    assert text_warnings(preset("tiny")) == []
    run = preset("base")
    images = run.train.model_copy(update={"modality": "image"})
    assert text_warnings(run.model_copy(update={"train": images})) == []
