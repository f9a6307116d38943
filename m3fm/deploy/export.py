"""A checkpoint to a bundle: ONNX graphs that share one file of weights, checked against torch.

Two exports of one checkpoint give the same bytes.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from m3fm.config.sections import RegionsConfig
from m3fm.config.steps import EXPORT
from m3fm.core.artifacts import Reference, check_files, read_manifest, seal, written_whole
from m3fm.core.code import code_digest
from m3fm.core.errors import InputError
from m3fm.ct.transforms import PREPROCESSING_VERSION
from m3fm.deploy import card, parity
from m3fm.deploy.bundle import FORMAT_VERSION, MANIFEST, Bundle, BundleTask
from m3fm.deploy.weights import WEIGHTS, save_sharing_weights
from m3fm.model.checkpoint import load
from m3fm.model.heads import probabilities
from m3fm.model.m3fm import M3FM
from m3fm.questions.bank import QUESTIONS

OPSET = 23
"""The first with attention as one operator: ONNX Runtime is then as fast as torch."""


class _Part(nn.Module):
    """One graph of the bundle."""

    def __init__(self, model: M3FM) -> None:
        super().__init__()
        self.model = model


class _Image(_Part):
    def __init__(self, model: M3FM, scale: str) -> None:
        super().__init__(model)
        self.scale = scale

    def forward(self, images: Tensor, voxel_size: Tensor) -> Tensor:
        """Encode volumes [B, 1, D, H, W] to image tokens [B, 1 + N, C]."""
        return self.model.encode_image(self.scale, images, voxel_size)


class _MaskedImage(_Image):
    def forward(  # type: ignore[override]
        self, images: Tensor, voxel_size: Tensor, lung_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode volumes [B, 1, D, H, W] to image tokens [B, 1 + N, C] and which of them count [B, 1 + N]."""
        tokens = self.model.encode_image(self.scale, images, voxel_size, lung_mask)
        return tokens, self.model.ctvit.token_mask(self.scale, lung_mask)


class _Text(_Part):
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode clinical text [B, L] to text tokens [B, L, C]."""
        return self.model.encode_text(ids, mask)


class _Question(_Part):
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode questions [B, L] to <TASK> tokens [B, 1, C] and Task ID logits [B, tasks + 1]."""
        token = self.model.encode_question(ids, mask)
        return token, self.model.task_logits(token)


class _Answer(_Part):
    def forward(
        self,
        task_token: Tensor,
        image_tokens: Tensor,
        image_mask: Tensor,
        text_tokens: Tensor,
        text_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        """Compute the probabilities [B, answers] of every task from tokens [B, N, C] and masks [B, N]."""
        embedding = self.model.embed(task_token, image_tokens, image_mask, text_tokens, text_mask)
        return tuple(
            probabilities(task, self.model.answer(embedding, name)) for name, task in self.model.tasks.items()
        )


def export(
    checkpoint: Path,
    out: Path,
    lineage: dict[str, str],
    dataset: Path | None = None,
    evaluation: Path | None = None,
) -> None:
    """Write the bundle of a checkpoint to `out`, with `lineage` (no paths, nothing of a patient) in it.

    The graphs are compared with torch on random inputs, and on some test samples of a dataset where one is
    given; an evaluation directory gives the model card its numbers. Raises RuntimeError naming the task
    where a probability differs by more than `parity.TOLERANCE`; `out` is then as it was.
    """
    check_files(checkpoint)
    model, tokenizer = load(checkpoint)
    code = code_digest(EXPORT.entries)
    lineage = {"code": code, "checkpoint": Reference.to(checkpoint).digest, **lineage}
    if evaluation is not None:
        lineage["evaluation"] = Reference.to(evaluation).digest
    trained_on = read_manifest(checkpoint)
    if "regions" not in trained_on:
        raise InputError(
            f"{checkpoint} does not record the source of its regions, which a bundle must find: train again"
        )
    with written_whole(out) as partial:
        save_sharing_weights(dict(graphs(model)), partial)
        size = (partial / WEIGHTS).stat().st_size
        assert size <= 1.05 * unique_bytes(model), f"{size} bytes of weights: a tensor is stored twice"
        tokenizer.save(str(partial / "tokenizer.json"))
        differences = parity.check(model, tokenizer, partial, dataset)
        bundle = describe(model, lineage, differences, trained_on)
        (partial / "MODEL_CARD.md").write_text(card.text(bundle, evaluation), encoding="utf-8")
        seal(partial, MANIFEST, bundle.model_dump(mode="json", exclude={"files"}))


def describe(
    model: M3FM, lineage: dict[str, str], differences: dict[str, float], trained_on: Mapping[str, Any]
) -> Bundle:
    """Return the manifest of a bundle; `trained_on` holds `regions` and `simulated` of the dataset."""
    return Bundle(
        format_version=FORMAT_VERSION,
        preprocessing_version=PREPROCESSING_VERSION,
        tasks=tuple(
            BundleTask(
                name=name,
                title=task.title,
                answers=task.answers,
                loss=task.loss,
                scale=task.scale,
                region=task.region,
                text=task.text,
                question=QUESTIONS[name][0] if name in QUESTIONS else None,
            )
            for name, task in model.tasks.items()
        ),
        scales=model.config.scales,
        max_tokens=model.config.text.max_tokens,
        max_question_tokens=model.config.text.max_question_tokens,
        close_truncated=model.config.text.close_truncated,
        regions=RegionsConfig.model_validate(trained_on["regions"]),
        simulated=trained_on["simulated"],
        parity=differences,
        lineage=lineage,
    )


def unique_bytes(model: M3FM) -> int:
    """Count the bytes of the model's tensors, each content once."""
    contents = {tensor.numpy().tobytes() for tensor in model.state_dict().values()}
    return sum(map(len, contents))


def graphs(model: M3FM) -> Iterator[tuple[str, ir.Model]]:
    """Yield every graph of the bundle with its name; batch, text length and number of tokens are free."""
    batch, length, patches = map(torch.export.Dim, ("batch", "length", "patches"))
    many, text, image = {0: batch}, {0: batch, 1: length}, {0: batch, 1: patches}
    # An axis that is to be free must be longer than 1 in the example.
    for name, scale in model.config.scales.items():
        inputs = {"images": torch.zeros(2, 1, *scale.shape), "voxel_size": torch.ones(2, 3)}
        if name == "nodule":
            inputs["lung_mask"] = torch.ones(2, *scale.shape, dtype=torch.bool)
            masked = _MaskedImage(model, name)
            yield f"image_{name}", _graph(masked, inputs, (many, many, many), ["tokens", "mask"])
        else:
            yield f"image_{name}", _graph(_Image(model, name), inputs, (many, many), ["tokens"])
    ids = torch.full((2, 5), 7)
    inputs = {"ids": ids, "mask": torch.ones_like(ids)}
    yield "text", _graph(_Text(model), inputs, (text, text), ["tokens"])
    yield "question", _graph(_Question(model), inputs, (text, text), ["task_token", "task_logits"])
    width = model.config.width
    inputs = {
        "task_token": torch.zeros(2, 1, width),
        "image_tokens": torch.zeros(2, 9, width),
        "image_mask": torch.ones(2, 9, dtype=torch.bool),
        "text_tokens": torch.zeros(2, 5, width),
        "text_mask": torch.ones(2, 5, dtype=torch.bool),
    }
    yield "answer", _graph(_Answer(model), inputs, (many, image, image, text, text), list(model.tasks))


def _graph(
    part: _Part,
    inputs: dict[str, Tensor],
    dynamic: tuple[dict[int, "torch.export.Dim"], ...],
    outputs: list[str],
) -> ir.Model:
    with _quiet():
        program = torch.onnx.export(
            part.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            input_names=list(inputs),
            output_names=outputs,
            verbose=False,
        )
    assert program is not None
    # Stack traces would carry the paths of this machine into the bundle.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings of torchvision, which M3FM does not use, and of deprecations."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    log.setLevel(level)
