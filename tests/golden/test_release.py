"""What release 0.1 wrote is read as it was meant, or refused in one line that says what to do.

release-0.1/ holds a checkpoint with random weights, its bundle and its probabilities, all written by the code
of that release (bundles of format_version 4).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from m3fm.core.errors import InputError
from m3fm.deploy import bundle
from m3fm.model.checkpoint import load
from m3fm.model.heads import probabilities

RELEASE = Path(__file__).parent / "release-0.1"


def test_a_checkpoint_gives_the_probabilities_that_it_gave():
    model, tokenizer = load(RELEASE / "checkpoint")
    rng = np.random.default_rng(0)
    images = {
        "images": torch.from_numpy(rng.uniform(-1, 1, (1, 1, 4, 8, 8)).astype(np.float32)),
        "voxel_size": torch.from_numpy(rng.uniform(1, 2, (1, 3)).astype(np.float32)),
    }
    text, question = (torch.tensor([tokenizer.encode(words).ids]) for words in ("Age 61.", "Risk?"))
    expected = json.loads((RELEASE / "probabilities.json").read_text())
    assert list(model.tasks) == list(expected)
    for name, task in model.tasks.items():
        with torch.no_grad():
            output = model(
                name,
                text_ids=text,
                text_mask=torch.ones_like(text),
                question_ids=question,
                question_mask=torch.ones_like(question),
                **({} if task.scale is None else images),
            )
        found = probabilities(task, output.logits)[0].tolist()
        assert found == pytest.approx(expected[name], abs=1e-5)


def test_a_bundle_is_read_or_refused_by_its_version():
    directory = RELEASE / "bundle"
    version = json.loads((directory / bundle.MANIFEST).read_text())["format_version"]
    if version == bundle.FORMAT_VERSION:
        assert bundle.read(directory).format_version == version
        return
    with pytest.raises(
        InputError, match=rf"format_version is {version}\b.*export the model again"
    ) as refusal:
        bundle.read(directory)
    assert "\n" not in str(refusal.value)
