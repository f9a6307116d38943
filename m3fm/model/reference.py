"""The authors' published weights: their state dict into our model, with their behaviour.

Each of our tensors is looked up under the names that their file has for it, so that nothing else can be set.
Some of their tensors are there twice under two names; both must be the same. What their model does otherwise
than ours is in docs/model.md.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from m3fm.clinical.tasks import YEAR_ANSWERS, YEARS, Task
from m3fm.config.base import Size3, first_problem
from m3fm.config.model import ModelConfig, Scale, TextConfig
from m3fm.config.presets import PAPER_SCALES
from m3fm.core.errors import InputError
from m3fm.model.m3fm import M3FM
from m3fm.model.weights import check_weights, listed, read_weights

Outputs = int | slice | Sequence[int]
"""How many outputs of its head a task has, in the order of the tasks; or which ones, without gaps."""
Shape = tuple[int, ...]

TOKENIZER = re.compile(r"img_tokenizer\.tokenizer_\((\d+), (\d+), (\d+)\)\..+")
SAME_PROJECTION = re.compile(r"(img_tokenizer\.conv\d+)\.(?:weight|bias)")
"""The projection of a tokenizer, under a second name."""
SAME_BIAS = re.compile(r"(multi_task_head\.[^.]+)\.decoder\.bias")
"""The bias of a head, under a second name."""
HAZARDS = "multi_task_head.hazard_layer.upper_triagular_mask"
"""A constant: which hazards a year's risk adds up."""
POSITION_IDS = "encoder_txt.embeddings.position_ids"
"""A constant of old versions of `transformers`."""

_RULES = [
    (r"task_encoder\.registers$", r"task_registers"),
    (r"ctvit\.encoder\.", r"encoder_img."),
    (r"task_encoder\.encoder\.", r"task_attention."),
    (r"text\.encoder\.", r"encoder_txt."),
    (r"image_to_task\.", r"cross_embedding_img."),
    (r"text_to_task\.", r"cross_embedding_txt."),
    (r"question_to_task\.", r"cross_embedding_task."),
    (r"heads\.([^.]+)\.dense\.", r"multi_task_head.\1.transform.dense."),
    (r"heads\.([^.]+)\.norm\.", r"multi_task_head.\1.transform.LayerNorm."),
    (r"heads\.([^.]+)\.out\.weight$", r"multi_task_head.\1.decoder.weight"),
    (r"heads\.([^.]+)\.out\.bias$", r"multi_task_head.\1.bias"),
    (r"(.+\.mlp\.)0\.", r"\1fc1."),
    (r"(.+\.mlp\.)2\.", r"\1fc2."),
]
_TOKENIZER_PARTS = {
    "class_token": "cls_token",
    "position_class": "pos_embed_class",
    "position_in_plane": "pos_embed_spatial",
    "position_slice": "pos_embed_slice",
    "proj.weight": "patch_embed.proj.weight",
    "proj.bias": "patch_embed.proj.bias",
}


def load_reference(
    source: Path | str | Mapping[str, Tensor],
    *,
    image_heads: int,
    task_heads: int,
    text_heads: int,
    heads: Mapping[str, tuple[str, Outputs]],
) -> M3FM:
    """Load the authors' model in evaluation mode, from `.pth`, safetensors, or a dict of name to [...].

    The heads of the three attentions are not in the file, nor which task has which outputs of which head:
    `heads` maps each task to the name of its head and its `Outputs`; each output of a head must belong to one
    task. A task of one output more than there are years has hazards, the last one the base; any other has a
    softmax. All other sizes come from the shapes. A pickle that holds anything but tensors is not opened.

    Raises InputError that names, as the file does, each tensor which is missing, unused, of another shape,
    not finite, or not the same as its duplicate.
    """
    name = str(source) if isinstance(source, Path | str) else "the state dict"
    theirs = _tensors(source, name)
    tasks = _tasks(heads, theirs, name)
    config = _config(theirs, image_heads, task_heads, text_heads, next(iter(tasks.values())).head, name)
    model = M3FM(config, tasks)
    own = model.state_dict()
    names = {ours: _their_names(ours, config.scales) for ours in own}
    expected = {
        their: _their_shape(ours, tuple(own[ours].shape), len(parts), config.scales)
        for ours, parts in names.items()
        for their in parts
    }
    check_weights(_without_copies(theirs), expected, name)
    _check_copies(theirs, config, name)
    with torch.no_grad():
        for ours, tensor in own.items():
            # Their convolution moves by its own size: a linear map of patches.
            tensor.copy_(torch.cat([theirs[their] for their in names[ours]]).view_as(tensor))
    return model.eval()


def _tensors(source: Path | str | Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Read their state dict, without the wrappings that training scripts put around one."""
    found = read_weights(Path(source)) if isinstance(source, Path | str) else source
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{name} holds no tensors by name")
    others = [str(key) for key, value in found.items() if not isinstance(value, Tensor | np.ndarray)]
    if others:
        raise InputError(f"{name} holds what is not a tensor: {listed(others)}")
    prefix = "module." if all(str(key).startswith("module.") for key in found) else ""
    return {str(key).removeprefix(prefix): torch.as_tensor(value) for key, value in found.items()}


def _shape(theirs: Mapping[str, Tensor], name: str, axes: int, source: str) -> Shape:
    """Return the shape of a tensor that sizes are taken from."""
    if name not in theirs:
        raise InputError(f"{source} does not fit the model: it lacks {name}")
    shape = tuple(theirs[name].shape)
    if len(shape) != axes:
        raise InputError(f"{source} does not fit the model: {name} is {shape}, and should have {axes} axes")
    return shape


def _config(
    theirs: Mapping[str, Tensor], image_heads: int, task_heads: int, text_heads: int, head: str, source: str
) -> ModelConfig:
    """Derive sizes from the shapes; the width inside the predictors, from that of one head."""

    def shape(name: str, axes: int) -> Shape:
        return _shape(theirs, name, axes, source)

    def depth(prefix: str) -> int:
        return max(1, len({found[1] for name in theirs if (found := re.match(rf"{prefix}\.(\d+)\.", name))}))

    vocabulary, text_width = shape("encoder_txt.embeddings.word_embeddings.weight", 2)
    positions, _ = shape("encoder_txt.embeddings.position_embeddings.weight", 2)
    try:
        return ModelConfig(
            width=shape("encoder_img.norm.weight", 1)[0],
            depth=depth(r"encoder_img\.blocks"),
            heads=image_heads,
            task_depth=depth(r"task_attention\.blocks"),
            task_heads=task_heads,
            registers=shape("task_registers", 3)[1],
            head_width=shape(f"multi_task_head.{head}.transform.dense.weight", 2)[0],
            monotone_risk=False,
            task_id=False,
            scales=_scales(theirs, source),
            text=TextConfig(
                width=text_width,
                depth=depth(r"encoder_txt\.encoder\.layer"),
                heads=text_heads,
                vocabulary=vocabulary,
                positions=positions,
                max_tokens=min(TextConfig().max_tokens, positions - 2),
                max_question_tokens=min(TextConfig().max_question_tokens, positions - 2),
                close_truncated=False,
            ),
        )
    except ValidationError as error:
        raise InputError(f"{source} does not fit the model: {first_problem(error, ModelConfig)}") from error


def _scales(theirs: Mapping[str, Tensor], source: str) -> dict[str, Scale]:
    """Derive their scales, in order; the paper's have the paper's names and HU windows."""
    known = {scale.shape: name for name, scale in PAPER_SCALES.items()}
    scales: dict[str, Scale] = {}
    for name in theirs:
        if found := TOKENIZER.fullmatch(name):
            shape = (int(found[1]), int(found[2]), int(found[3]))
            _, _, d, h, w = _shape(
                theirs, f"{_tokenizer(shape)}.{_TOKENIZER_PARTS['proj.weight']}", 5, source
            )
            ours = known.get(shape, "x".join(map(str, shape)))
            window = PAPER_SCALES.get(ours, PAPER_SCALES["lung_cancer"]).hu_window
            scales[ours] = Scale(shape=shape, patch=(d, h, w), hu_window=window, spacing_follows=False)
    return scales


def _tasks(
    heads: Mapping[str, tuple[str, Outputs]], theirs: Mapping[str, Tensor], source: str
) -> dict[str, Task]:
    """Make a table of tasks; those that share a head are in the order of its outputs, one task each."""
    if not isinstance(heads, Mapping) or not heads:
        raise InputError(
            f"heads is {heads!r}, and should map tasks to outputs, as {{'heart': ('binary', 2)}}"
        )
    owners: dict[str, dict[int, str]] = {}
    for name, entry in heads.items():
        try:
            head, outputs = entry
            taken = owners.setdefault(head, {})
            # nn.ModuleDict has no place for a name of its own.
            if f"multi_task_head.{head}.bias" not in theirs or "." in head or hasattr(nn.ModuleDict, head):
                raise InputError(f"{source} has no head {head!r}, which task {name!r} is to have")
            total = _outputs(theirs, head, source)
            chosen = _chosen(outputs, max(taken, default=-1) + 1, total)
        except (TypeError, ValueError) as error:
            raise InputError(f"task {name!r} has {entry!r} in heads, expected (head, outputs)") from error
        if not chosen or chosen != list(range(total))[chosen[0] : chosen[-1] + 1]:
            raise InputError(f"task {name!r} cannot have outputs {outputs} of the {total} of head {head!r}")
        if len(chosen) == 1:
            raise InputError(
                f"task {name!r} has one output of head {head!r}, whose softmax is 1 for any input"
            )
        for output in chosen:
            if output in taken:
                raise InputError(
                    f"output {output} of head {head!r} is given to {taken[output]!r} and {name!r}"
                )
            taken[output] = name
    for head, taken in owners.items():
        if free := sorted(set(range(_outputs(theirs, head, source))) - taken.keys()):
            raise InputError(f"{source}: no task has outputs {free} of head {head!r}")
    return {
        name: _task(name, head, list(taken.values()).count(name))
        for head, taken in owners.items()
        for _, name in sorted(taken.items())
    }


def _outputs(theirs: Mapping[str, Tensor], head: str, source: str) -> int:
    return _shape(theirs, f"multi_task_head.{head}.bias", 1, source)[0]


def _chosen(outputs: Outputs, before: int, total: int) -> list[int]:
    if isinstance(outputs, slice):
        return list(range(total)[outputs])
    if isinstance(outputs, Sequence):
        return [operator.index(output) for output in outputs]
    return list(range(before, before + operator.index(outputs)))


def _task(name: str, head: str, outputs: int) -> Task:
    risk = outputs == YEARS + 1
    return Task(
        name=name,
        title=name,
        answers=YEAR_ANSWERS if risk else tuple(map(str, range(outputs))),
        head=head,
        loss="hazard" if risk else "softmax",
        source="",
        kind="transfer",
    )


def _tokenizer(shape: Size3) -> str:
    return f"img_tokenizer.tokenizer_({', '.join(map(str, shape))})"


def _their_names(name: str, scales: Mapping[str, Scale]) -> list[str]:
    """Return their names for one of our tensors; three for that of queries, keys and values."""
    if name.startswith("ctvit.tokenizers."):
        _, _, scale, part = name.split(".", 3)
        return [f"{_tokenizer(scales[scale].shape)}.{_TOKENIZER_PARTS[part]}"]
    for ours, theirs in _RULES:
        name = re.sub(rf"^{ours}", theirs, name)
    if ".attn.qkv." in name:
        return [name.replace(".qkv.", f".{part}.") for part in "qkv"]
    return [name]


def _their_shape(name: str, shape: Shape, parts: int, scales: Mapping[str, Scale]) -> Shape:
    """Return the shape in their file of one of our tensors, or of each of its parts."""
    if name.startswith("ctvit.tokenizers.") and name.endswith(".proj.weight"):
        return shape[0], 1, *scales[name.split(".")[2]].patch
    return shape[0] // parts, *shape[1:]


def _without_copies(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return their tensors less constants and second names."""
    return {
        name: tensor
        for name, tensor in theirs.items()
        if name not in (HAZARDS, POSITION_IDS)
        and not SAME_PROJECTION.fullmatch(name)
        and not ((found := SAME_BIAS.fullmatch(name)) and f"{found[1]}.bias" in theirs)
    }


def _check_copies(theirs: Mapping[str, Tensor], config: ModelConfig, source: str) -> None:
    """Refuse constants that are others, and second names of what is not the same."""
    for name, constant in (
        (HAZARDS, torch.ones(YEARS, YEARS).triu()),
        (POSITION_IDS, torch.arange(config.text.positions)[None]),
    ):
        if name in theirs and not _same(theirs[name], constant):
            raise InputError(f"{source} has another {name} than the authors' code")
    for name in theirs:
        if (found := SAME_BIAS.fullmatch(name)) and not _same(theirs[name], theirs[f"{found[1]}.bias"]):
            raise InputError(f"{source} has {name}, which should be the same as {found[1]}.bias, and is not")
    free = [f"{_tokenizer(scale.shape)}.patch_embed.proj" for scale in config.scales.values()]
    convolutions = {found[1]: None for name in theirs if (found := SAME_PROJECTION.fullmatch(name))}
    for copy in convolutions:
        names = {part: f"{copy}.{part}" for part in ("weight", "bias") if f"{copy}.{part}" in theirs}
        same = [
            stem
            for stem in free
            if all(_same(theirs[name], theirs[f"{stem}.{part}"]) for part, name in names.items())
        ]
        if not same:
            raise InputError(
                f"{source} has {', '.join(names.values())}, which should be some tokenizer's patch_embed.proj"
                " that has no other copy, and is none"
            )
        free.remove(same[0])


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.double(), other.double())
