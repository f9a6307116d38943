"""M3FM: image, text and question in; answers out (paper, Methods: M3FM; Fig. 8)."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from m3fm.clinical.tasks import TASKS, Task, head_slices
from m3fm.config.model import ModelConfig
from m3fm.model.ctvit import CTViT
from m3fm.model.heads import Head, cumulative_logits, init_hazards, probabilities
from m3fm.model.text import TextTransformer
from m3fm.model.transformer import Transformer, init_weights, learned, upcast

NEEDED = (
    ("images", "voxel_size"),
    ("lung_mask", "images"),
    ("text_ids", "text_mask"),
    ("text_mask", "text_ids"),
    ("question_ids", "question_mask"),
)
"""Arguments of the model, and what each is nothing without."""


class Output(NamedTuple):
    """The model's output for a batch."""

    logits: Tensor
    """The task's answers: [B, outputs] for a choice, [B, 6] for years, [B, 30] for three digits."""
    task_logits: Tensor | None
    """The Task ID predictor's: [B, tasks + 1]; None where the model has none."""


class AttentionMaps(NamedTuple):
    """The attention of the <TASK> token in the last block of the task encoder.

    The maps of a sample sum to less than 1: the rest goes to <TASK>, the registers and the class token.
    """

    image: Tensor | None
    """[B, d, h, w]: of the patches along slices, rows and columns."""
    text: Tensor | None
    """[B, L]: of the tokens of the clinical text."""


class TaskEncoder(nn.Module):
    """Transformer over <TASK>, registers, image and text tokens; gives the <TASK> embedding (Fig. 8e)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.registers = learned(1, config.registers, config.width)
        self.encoder = Transformer(config.width, config.task_depth, config.task_heads or config.heads)

    def sequence(
        self,
        task_token: Tensor,
        image_tokens: Tensor | None,
        image_mask: Tensor | None,
        text_tokens: Tensor | None,
        text_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Join all tokens to one sequence [B, N, C], with the mask [B, N] of those that count, or None."""
        registers = self.registers.expand(task_token.shape[0], -1, -1).to(task_token.dtype)
        masked = [(task_token, None), (registers, None), (image_tokens, image_mask), (text_tokens, text_mask)]
        parts = [(tokens, mask) for tokens, mask in masked if tokens is not None]
        tokens = torch.cat([tokens for tokens, _ in parts], dim=1)
        if all(mask is None for _, mask in parts):
            return tokens, None
        keep = [
            torch.ones_like(tokens[:, :, 0], dtype=torch.bool) if mask is None else mask.bool()
            for tokens, mask in parts
        ]
        return tokens, torch.cat(keep, dim=1)

    def forward(self, tokens_BNC: Tensor, keep_BN: Tensor | None) -> Tensor:
        """Encode tokens, <TASK> first, and return its embedding [B, C].

        The last block computes nothing but <TASK>: no other token is read after it.
        """
        return self.encoder(tokens_BNC, keep_BN, queries=1)[:, 0]


class M3FM(nn.Module):
    """The medical multimodal multitask foundation model, for the tasks of a table."""

    def __init__(self, config: ModelConfig, tasks: Mapping[str, Task] = TASKS) -> None:
        super().__init__()
        self.config = config
        self.tasks = dict(tasks)
        self.ctvit = CTViT(config)
        self.text = TextTransformer(config.text)
        self.image_to_task = nn.Linear(config.width, config.width)
        self.text_to_task = nn.Linear(self.text.width, config.width)
        self.question_to_task = nn.Linear(self.text.width, config.width)
        self.task_encoder = TaskEncoder(config)
        self.slices = head_slices(self.tasks.values())
        self.heads = nn.ModuleDict(
            {
                head: Head(config.width, config.head_width, max(part.stop for part in parts.values()))
                for head, parts in self.slices.items()
            }
        )
        # One class more than there are tasks: a question of no task is refused.
        outputs = len(self.tasks) + 1
        self.task_id = Head(config.width, config.head_width, outputs) if config.task_id else None
        for part in (self.image_to_task, self.text_to_task, self.question_to_task, self.heads, self.task_id):
            if part is not None:
                init_weights(part)
        for name, task in self.tasks.items():
            if task.loss == "hazard":
                bias = cast(Head, self.heads[task.head]).out.bias
                init_hazards(bias[self.slices[task.head][name]])

    def encode_image(
        self, scale: str, images: Tensor, voxel_size: Tensor, lung_mask: Tensor | None = None
    ) -> Tensor:
        """Encode volumes [B, 1, D, H, W] in [-1, 1], voxel sizes [B, 3] in mm, as tokens [B, 1 + N, C]."""
        return self.image_to_task(self.ctvit(scale, images, voxel_size, lung_mask))

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode clinical text [B, L] as text tokens [B, L, C]."""
        return self.text_to_task(self.text(ids, mask))

    def encode_question(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode questions [B, L] as the <TASK> token [B, 1, C], the first; the others are not used."""
        return self.question_to_task(self.text(ids, mask)[:, :1])

    def task_logits(self, task_token: Tensor) -> Tensor:
        """Return the Task ID predictor's logits [B, tasks + 1], in the task table's order, "no task" last."""
        assert self.task_id is not None, "the model has no Task ID predictor"
        return self.task_id(task_token[:, 0])

    def embed(
        self,
        task_token: Tensor,
        image_tokens: Tensor | None = None,
        image_mask: Tensor | None = None,
        text_tokens: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the task embedding [B, C] of any modalities; masks are true where a token counts."""
        return self.task_encoder(
            *self.task_encoder.sequence(task_token, image_tokens, image_mask, text_tokens, text_mask)
        )

    def answer(self, embedding: Tensor, task: str) -> Tensor:
        """Return the logits of a task's answers, as in `Output`, from task embeddings [B, C]."""
        head = self.tasks[task].head
        outputs = self.heads[head](embedding)[:, self.slices[head][task]]
        if self.tasks[task].loss == "hazard":
            return cumulative_logits(outputs, self.config.monotone_risk)
        return outputs

    def forward(
        self,
        task: str,
        images: Tensor | None = None,
        voxel_size: Tensor | None = None,
        text_ids: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        question_ids: Tensor,
        question_mask: Tensor,
        lung_mask: Tensor | None = None,
    ) -> Output:
        """Answer a task for a batch; image, text, or both may be absent.

        Takes `images` [B, 1, D, H, W] in [-1, 1] with their `voxel_size` [B, 3] in mm (slice, row, column),
        and token ids and masks [B, L]. With a `lung_mask` [B, D, H, W], only patches with a voxel of it are
        attended to.

        Raises ValueError where one of two arguments that belong together is missing, or nothing is asked, and
        InputError where the volumes are of another shape than the task's scale.
        """
        _check_given(
            images=images,
            voxel_size=voxel_size,
            lung_mask=lung_mask,
            text_ids=text_ids,
            text_mask=text_mask,
            question_ids=question_ids,
            question_mask=question_mask,
        )
        task_token = self.encode_question(question_ids, question_mask)
        image = self._image(task, images, voxel_size, lung_mask)
        text = self._text(text_ids, text_mask)
        logits = self.answer(self.embed(task_token, *image, *text), task)
        return Output(logits, None if self.task_id is None else self.task_logits(task_token))

    def _image(
        self, task: str, images: Tensor | None, voxel_size: Tensor | None, lung_mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Encode the images at the task's scale, or that of their shape; return tokens and their mask."""
        if images is None or voxel_size is None:
            return None, None
        scale = self.tasks[task].scale or self.ctvit.scale_of(images)
        mask = None if lung_mask is None else self.ctvit.token_mask(scale, lung_mask)
        return self.encode_image(scale, images, voxel_size, lung_mask), mask

    def _text(self, ids: Tensor | None, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return (None, None) if ids is None or mask is None else (self.encode_text(ids, mask), mask)

    @torch.no_grad()
    def predict(self, task: str, **inputs: Tensor | None) -> Tensor:
        """Return a task's probabilities [B, answers]; takes the arguments of `forward`, refuses what it does.

        Raises ValueError for a voxel size that is none, too; `forward` does not check it.
        """
        _check_voxel_size(inputs.get("voxel_size"))
        logits = cast(Output, self(task, **inputs)).logits
        return probabilities(self.tasks[task], upcast(logits))

    @torch.no_grad()
    def attention(
        self,
        task: str,
        images: Tensor | None = None,
        voxel_size: Tensor | None = None,
        text_ids: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        question_ids: Tensor,
        question_mask: Tensor,
        lung_mask: Tensor | None = None,
    ) -> AttentionMaps:
        """Return the attention behind an answer (paper, Fig. 5), [B, N]; takes the arguments of `forward`.

        `ct.transforms.patches_to_volume` takes the map of a sample's patches back to the voxels of its CT.
        Raises the errors of `predict`.
        """
        _check_given(
            images=images,
            voxel_size=voxel_size,
            lung_mask=lung_mask,
            text_ids=text_ids,
            text_mask=text_mask,
            question_ids=question_ids,
            question_mask=question_mask,
        )
        _check_voxel_size(voxel_size)
        image, image_mask = self._image(task, images, voxel_size, lung_mask)
        text, mask = self._text(text_ids, text_mask)
        question = self.encode_question(question_ids, question_mask)
        tokens, keep = self.task_encoder.sequence(question, image, image_mask, text, mask)
        weights = self.task_encoder.encoder.last_attention(tokens, keep, queries=1)[:, 0]
        of_image = of_text = None
        if image is not None and images is not None:
            scale = self.tasks[task].scale or self.ctvit.scale_of(images)
            first = 1 + self.config.registers + 1  # after <TASK>, the registers and the class token
            patches = weights[:, first : first + image.shape[1] - 1]
            of_image = patches.unflatten(1, self.config.scales[scale].grid)
        if text is not None:
            of_text = weights[:, -text.shape[1] :]
        return AttentionMaps(of_image, of_text)


def _check_given(**given: Tensor | None) -> None:
    """Refuse half of what belongs together, and batches and texts of nothing."""
    if given["question_ids"] is None:
        raise ValueError("question_ids is missing: a task is asked by a question")
    for name, needed in NEEDED:
        if given[name] is not None and given[needed] is None:
            raise ValueError(f"{name} is given and {needed} is missing: give both, or neither")
    for name in ("question_ids", "text_ids"):
        ids = given[name]
        if ids is not None and 0 in ids.shape:
            raise ValueError(f"{name} is {list(ids.shape)}, and should hold at least one text of one token")


def _check_voxel_size(voxel_size: Tensor | None) -> None:
    if voxel_size is not None and not ((voxel_size > 0) & voxel_size.isfinite()).all():
        raise ValueError(f"voxel_size is {voxel_size.tolist()}, and should be above 0 mm along each axis")
