"""Every number of params.yaml has a range; what is out of it is refused by its name."""

import pytest
import yaml

from m3fm.config.presets import load
from m3fm.core.errors import InputError

WRONG = [
    ("simulate.patients", 0),
    ("simulate.rows", -4),
    ("simulate.slices", [70, 64]),
    ("simulate.field_of_view_mm", float("nan")),
    ("simulate.broken_fraction", 1.5),
    ("simulate.seed", -1),
    ("curate.min_slices", -5),
    ("curate.val_fraction", 2),
    ("curate.test_fraction", float("nan")),
    ("curate.test_fraction", 0.95),
    ("model.width", 0),
    ("model.scales.heart.shape", [0, 32, 32]),
    ("pretrain.mask_ratio", 1.5),
    ("pretrain.micro_batch", 0),
    ("pretrain.micro_batch", 7),
    ("pretrain.optimizer.steps", 0),
    ("train.batch", 4),
    ("train.retrieval_batch", 4),
    ("train.text_micro_batch", 3),
    ("train.task_id_questions", 0),
    ("train.task_id_loss_weight", 0),
    ("train.optimizer.lr", float("inf")),
    ("train.tasks", ["emphysem"]),
    ("train.modality", "pictures"),
    ("train.loss_weights", {"emphysema": -1}),
    ("train.class_weights", {"emphysema": [1, 2, 3]}),
    ("finetune.folds", 1),
    ("finetune.micro_batch", 5),
    ("finetune.reference_c", 0),
    ("launch.workers", 0),
    ("launch.costs.train.heart", 0),
    ("launch.costs.train.hart", 1.0),
    ("evaluate.resamples", 0),
    ("evaluate.level", 1),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_out_of_range(tmp_path, key, value):
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"preset": "tiny", **nested}))
    section = key.split(".")[0]
    with pytest.raises(InputError, match=rf"params\.yaml(, |: Value error, ){section}"):
        load(path)


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes("preset: tiny # é".encode("latin1"))
    with pytest.raises(InputError, match="cannot be read"):
        load(path)
