"""The authors' published weights: their state dict into our model, with their behaviour.

The names on the left of the tables here are those in their files. Some of their tensors are there twice under
two names; both must be the same. What their model does otherwise than ours is in docs/model.md.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from m3fm.config import ModelConfig, Scale, TextConfig
from m3fm.errors import InputError
from m3fm.model.m3fm import M3FM
from m3fm.model.weights import set_weights
from m3fm.presets import PAPER_SCALES
from m3fm.tasks import YEAR_ANSWERS, YEARS, Task

Outputs = int | slice | Sequence[int]
"""How many outputs of its head a task has, in the order of the tasks; or which ones, without gaps."""

TOKENIZER = re.compile(r"img_tokenizer\.tokenizer_\((\d+), (\d+), (\d+)\)\.(.+)")
SAME_PROJECTION = re.compile(r"img_tokenizer\.conv\d+\.(weight|bias)")
"""The projection of a tokenizer, under a second name."""
HAZARDS = "multi_task_head.hazard_layer.upper_triagular_mask"
"""A constant: which hazards a year's risk adds up."""
POSITION_IDS = "encoder_txt.embeddings.position_ids"
"""A constant of old versions of `transformers`."""

_RULES = [
    (r"task_registers", r"task_encoder.registers"),
    (r"encoder_img\.", r"ctvit.encoder."),
    (r"task_attention\.", r"task_encoder.encoder."),
    (r"encoder_txt\.", r"text.encoder."),
    (r"cross_embedding_img\.", r"image_to_task."),
    (r"cross_embedding_txt\.", r"text_to_task."),
    (r"cross_embedding_task\.", r"question_to_task."),
    (r"multi_task_head\.(\w+)\.transform\.dense\.", r"heads.\1.dense."),
    (r"multi_task_head\.(\w+)\.transform\.LayerNorm\.", r"heads.\1.norm."),
    (r"multi_task_head\.(\w+)\.decoder\.", r"heads.\1.out."),
    (r"multi_task_head\.(\w+)\.bias$", r"heads.\1.out.bias"),
]
_MLP = [(r"\.mlp\.fc1\.", r".mlp.0."), (r"\.mlp\.fc2\.", r".mlp.2.")]
_TOKENIZER_PARTS = {
    "cls_token": "class_token",
    "pos_embed_class": "position_class",
    "pos_embed_spatial": "position_in_plane",
    "pos_embed_slice": "position_slice",
    "patch_embed.proj.weight": "proj.weight",
    "patch_embed.proj.bias": "proj.bias",
}


def load_reference(
    source: Path | str | Mapping[str, Tensor],
    *,
    image_heads: int,
    task_heads: int,
    text_heads: int,
    heads: Mapping[str, tuple[str, Outputs]],
) -> M3FM:
    """The authors' model in evaluation mode, from their `.pth` file, safetensors, or a dict of tensors.

    The heads of the three attentions are not in the file, nor which task has which outputs of which head:
    `heads` maps each task to the name of its head and its `Outputs`. A task of one output more than there
    are years has hazards, the last one the base. All other sizes come from the shapes. A pickle that holds
    anything but tensors is not opened.

    Raises InputError that names each tensor which is missing, unused, of another shape, or not the same as
    its duplicate.
    """
    name = str(source) if isinstance(source, Path | str) else "the state dict"
    theirs = _tensors(source)
    config = _config(theirs, image_heads, task_heads, text_heads, name)
    tasks = _tasks(heads, theirs, name)
    ours = _renamed(theirs, config, name)
    model = M3FM(config, tasks)
    set_weights(model, ours, name)
    return model.eval()


def _tensors(source: Path | str | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict; without the wrappings that training scripts put around one."""
    found: object = source
    if isinstance(source, Path | str):
        path = Path(source)
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                found = load_file(path)
            else:
                found = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise InputError(f"{path} holds more than tensors, or is no .pth file") from error
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise InputError(f"{source} holds no state dict")
    tensors = {str(name).removeprefix("module."): torch.as_tensor(value) for name, value in found.items()}
    if not tensors:
        raise InputError("the state dict is empty")
    return tensors


def _config(
    theirs: Mapping[str, Tensor], image_heads: int, task_heads: int, text_heads: int, source: str
) -> ModelConfig:
    """Sizes, from the shapes."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in theirs:
            raise InputError(f"{source} does not fit the model: it lacks {name}")
        return tuple(theirs[name].shape)

    def depth(prefix: str) -> int:
        numbers = [int(found[1]) for name in theirs if (found := re.match(rf"{prefix}\.(\d+)\.", name))]
        return max(numbers, default=0) + 1

    vocabulary, text_width = shape("encoder_txt.embeddings.word_embeddings.weight")
    positions, _ = shape("encoder_txt.embeddings.position_embeddings.weight")
    hidden = {
        size[0]
        for name, size in ((name, tuple(tensor.shape)) for name, tensor in theirs.items())
        if name.endswith(".transform.dense.weight")
    }
    if len(hidden) != 1:
        raise InputError(f"{source} does not fit the model: its heads have hidden widths {sorted(hidden)}")
    return ModelConfig(
        width=shape("encoder_img.norm.weight")[0],
        depth=depth(r"encoder_img\.blocks"),
        heads=image_heads,
        task_depth=depth(r"task_attention\.blocks"),
        task_heads=task_heads,
        registers=shape("task_registers")[1],
        head_width=hidden.pop(),
        monotone_risk=False,
        task_id=False,
        scales=_scales(theirs),
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


def _scales(theirs: Mapping[str, Tensor]) -> dict[str, Scale]:
    """Their scales, in their order; those of the paper under the paper's names and with its HU windows."""
    known = {scale.shape: name for name, scale in PAPER_SCALES.items()}
    scales: dict[str, Scale] = {}
    for name, tensor in theirs.items():
        found = TOKENIZER.fullmatch(name)
        if found and found[4] == "patch_embed.proj.weight":
            shape = (int(found[1]), int(found[2]), int(found[3]))
            d, h, w = tensor.shape[2:]
            ours = known.get(shape, _unknown(shape))
            window = PAPER_SCALES.get(ours, PAPER_SCALES["lung_cancer"]).hu_window
            scales[ours] = Scale(shape=shape, patch=(d, h, w), hu_window=window, spacing_follows=False)
    return scales


def _unknown(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _tasks(
    heads: Mapping[str, tuple[str, Outputs]], theirs: Mapping[str, Tensor], source: str
) -> dict[str, Task]:
    """A table of tasks, those that share a head in the order of their outputs."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for name, (head, outputs) in heads.items():
        if f"multi_task_head.{head}.bias" not in theirs:
            raise InputError(f"{source} has no head {head!r}, which task {name!r} is to have")
        total = theirs[f"multi_task_head.{head}.bias"].shape[0]
        before = max((ends[n] for n, (other, _) in heads.items() if other == head and n in ends), default=0)
        chosen = _chosen(outputs, before, total)
        if not chosen or list(chosen) != list(range(chosen[0], chosen[-1] + 1)) or chosen[-1] >= total:
            raise InputError(f"task {name!r} cannot have outputs {outputs} of the {total} of head {head!r}")
        starts[name], ends[name] = chosen[0], chosen[-1] + 1
    tasks = {}
    for name in sorted(heads, key=lambda name: starts[name]):
        count = ends[name] - starts[name]
        risk = count == YEARS + 1
        tasks[name] = Task(
            name=name,
            title=name,
            answers=YEAR_ANSWERS if risk else tuple(map(str, range(count))),
            head=heads[name][0],
            loss="hazard" if risk else "softmax",
            source="",
            kind="transfer",
        )
    return tasks


def _chosen(outputs: Outputs, before: int, total: int) -> Sequence[int]:
    if isinstance(outputs, int):
        return range(before, before + outputs)
    return range(total)[outputs] if isinstance(outputs, slice) else outputs


def _renamed(theirs: Mapping[str, Tensor], config: ModelConfig, source: str) -> dict[str, Tensor]:
    """Their tensors under our names; q, k and v of an attention are one of ours."""
    ours: dict[str, Tensor] = {}
    apart: dict[str, dict[str, Tensor]] = {}
    scales = {scale.shape: name for name, scale in config.scales.items()}
    for name, tensor in theirs.items():
        if name in (HAZARDS, POSITION_IDS):
            _check_constant(name, tensor, source)
            continue
        if found := SAME_PROJECTION.fullmatch(name):
            _check_duplicate(name, tensor, theirs, f".patch_embed.proj.{found[1]}", source)
            continue
        new = _new_name(name, scales)
        if found := re.fullmatch(r"(.+\.attn\.)([qkv])\.(weight|bias)", new):
            apart.setdefault(f"{found[1]}qkv.{found[3]}", {})[found[2]] = tensor
        else:
            # Their convolution moves by its own size: a linear map of patches.
            ours[new] = tensor.flatten(1) if tensor.ndim == 5 else tensor
    for new, parts in apart.items():
        missing = sorted(set("qkv") - set(parts))
        if missing:
            raise InputError(f"{source} does not fit the model: {new} lacks its part {', '.join(missing)}")
        ours[new] = torch.cat([parts[part] for part in "qkv"])
    return ours


def _new_name(name: str, scales: Mapping[tuple[int, int, int], str]) -> str:
    """Our name for one of theirs, or theirs where it belongs to nothing."""
    if found := TOKENIZER.fullmatch(name):
        scale = scales[int(found[1]), int(found[2]), int(found[3])]
        part = _TOKENIZER_PARTS.get(found[4])
        return name if part is None else f"ctvit.tokenizers.{scale}.{part}"
    for pattern, replacement in _RULES:
        new, count = re.subn(rf"^{pattern}", replacement, name)
        if count:
            for theirs, ours in _MLP:
                new = re.sub(theirs, ours, new)
            return new
    return name


def _check_duplicate(
    name: str, tensor: Tensor, theirs: Mapping[str, Tensor], ending: str, source: str
) -> None:
    if not any(torch.equal(tensor, other) for key, other in theirs.items() if key.endswith(ending)):
        raise InputError(f"{source} has {name}, which should be some tokenizer's {ending[1:]}, and is none")


def _check_constant(name: str, tensor: Tensor, source: str) -> None:
    if name == HAZARDS:
        expected = torch.ones(YEARS, YEARS).triu()
    else:
        expected = torch.arange(tensor.shape[-1]).expand_as(tensor)
    if not torch.equal(tensor.float(), expected.float()):
        raise InputError(f"{source} has another {name} than the authors' code")
