"""The sizes of the model: of an image scale, of the text transformer, and of M3FM as a whole."""

from math import inf
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from m3fm.config.base import Config, Count, Fraction, Natural, Pair, Size3, check_heads


class Scale(Config):
    """One image scale of CTViT: shape of volumes and patches, and HU window (paper, Methods: CTViT)."""

    shape: Size3
    """Slices, rows and columns of a volume, in voxels."""
    patch: Size3
    """Slices, rows and columns of a patch, in voxels; they must divide the shape."""
    hu_window: Pair
    """HU values that map to -1 and to +1; values outside are clipped."""
    spacing_follows: bool = True
    """Whether the voxel size is updated when a volume is resized; the authors' code keeps the old one."""

    @model_validator(mode="after")
    def _hu_window_rises(self) -> Self:
        if not -inf < self.hu_window[0] < self.hu_window[1] < inf:
            raise ValueError(f"hu_window is {self.hu_window}, and must rise, both ends finite")
        return self

    @model_validator(mode="after")
    def _patches_tile_the_volume(self) -> Self:
        if any(size % patch for size, patch in zip(self.shape, self.patch)):
            raise ValueError(f"shape {self.shape} is not a whole number of patches {self.patch}")
        return self

    @property
    def grid(self) -> Size3:
        """Number of patches along slices, rows, columns."""
        d, h, w = (size // patch for size, patch in zip(self.shape, self.patch))
        return d, h, w


class TextConfig(Config):
    """The text transformer and its tokenizer (paper, Methods: Text transformer; RoBERTa base)."""

    width: Count = 768
    """Width of the text tokens (paper: 768)."""
    depth: Count = 12
    """Number of transformer layers (paper: 12)."""
    heads: Count = 12
    """Attention heads of each layer; they must divide the width."""
    vocabulary: Count = 50265
    """Number of different tokens, for the embedding and for a tokenizer that is trained."""
    dropout: Fraction = 0.1
    """Dropout probability of hidden states and attention weights in training."""
    positions: int = Field(default=514, ge=4)
    """Number of position embeddings: RoBERTa counts from 2, so a text may have two tokens fewer."""
    max_tokens: Count = 160
    """Length to which clinical text is cut, in tokens, the closing one included."""
    max_question_tokens: Count = 50
    """Length to which a question is cut, in tokens, the closing one included."""
    close_truncated: bool = True
    """Whether a text that is cut keeps its closing token; in the authors' code it does not."""
    pretrained: Path | None = None
    """Directory of a `transformers` encoder to start from; its sizes replace those of this section."""
    encoder: dict[str, Any] | None = None
    """Configuration of any `transformers` encoder, as in its `config.json`, in place of the sizes here."""
    tokenizer: Path | None = None
    """Directory of a tokenizer; if empty, that of `pretrained`, or else one is trained on the platform's own
    sentences."""

    @model_validator(mode="after")
    def _sizes_have_one_source(self) -> Self:
        if self.pretrained is not None and self.encoder is not None:
            raise ValueError("pretrained and encoder are both given: leave out one of them")
        if self.pretrained is None and self.encoder is None:
            check_heads("heads", self.width, self.heads)
        return self

    @model_validator(mode="after")
    def _texts_have_positions(self) -> Self:
        longest = max(self.max_tokens, self.max_question_tokens)
        if self.pretrained is None and self.encoder is None and self.positions < longest + 2:
            raise ValueError(f"positions is {self.positions}: texts of {longest} tokens need {longest + 2}")
        return self


class ModelConfig(Config):
    """The sizes of M3FM (paper, Methods: M3FM)."""

    width: Count
    """Width of image and task tokens; even (paper: 768, 1024 and 1280 for Base, Large and Huge)."""
    depth: Count
    """Number of blocks of the image encoder."""
    heads: Count
    """Attention heads of the image encoder; they must divide the width."""
    task_depth: Count = 4
    """Number of layers of the task encoder (paper, Methods: Task Encoder; 4)."""
    task_heads: Count | None = None
    """Attention heads of the task encoder; if empty, the same as in the image encoder."""
    registers: Natural = 3
    """Number of register tokens, learned tokens that the task encoder reads beside the others."""
    head_width: Count = 1024
    """Hidden width of the heads, two-layer perceptrons (paper, Methods: Predictors)."""
    monotone_risk: bool = True
    """Whether cumulative risk is forced to be non-decreasing over the years; in the authors' code it can
    fall."""
    task_id: bool = True
    """Whether the model has a Task ID predictor; the authors' published weights have none."""
    scales: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")], Scale] = Field(min_length=1)
    """Image scales by name, which the tasks refer to; a checkpoint has them in alphabetical order."""
    text: TextConfig = TextConfig()
    """Sizes of the text transformer, and its tokenizer."""

    @model_validator(mode="after")
    def _widths_can_be_shared(self) -> Self:
        if self.width % 2:
            raise ValueError(f"width is {self.width}, and should be even: half of it is sines, half cosines")
        check_heads("heads", self.width, self.heads)
        check_heads("task_heads", self.width, self.task_heads or self.heads)
        return self
