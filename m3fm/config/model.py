"""The sizes of the model: image scales, text transformer, and M3FM itself."""

from math import inf
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from m3fm.config.base import Config, Count, Fraction, Natural, Pair, Size3, check_heads


class Scale(Config):
    """One image scale of CTViT: volumes of one shape, cut into patches of one shape, windowed in HU."""

    shape: Size3
    """Slices, rows, columns in voxels."""
    patch: Size3
    """Slices, rows, columns of a patch in voxels."""
    hu_window: Pair
    """HU that map to -1 and +1."""
    spacing_follows: bool = True
    """Whether a volume that is resized has another voxel size then; the authors' code keeps the old one."""

    @model_validator(mode="after")
    def _hu_window_rises(self) -> Self:
        if not -inf < self.hu_window[0] < self.hu_window[1] < inf:
            raise ValueError(f"hu_window is {self.hu_window}, and should rise from one number to another")
        return self

    @model_validator(mode="after")
    def _patches_tile_the_volume(self) -> Self:
        if any(size % patch for size, patch in zip(self.shape, self.patch)):
            raise ValueError(f"shape {self.shape} is not a whole number of patches {self.patch}")
        return self

    @property
    def grid(self) -> Size3:
        """Patches along slices, rows, columns."""
        d, h, w = (size // patch for size, patch in zip(self.shape, self.patch))
        return d, h, w


class TextConfig(Config):
    """The text transformer (paper: RoBERTa base, 12 layers of 768) and its tokenizer."""

    width: Count = 768
    depth: Count = 12
    heads: Count = 12
    vocabulary: Count = 50265
    dropout: Fraction = 0.1
    positions: int = Field(default=514, ge=4)
    """Position embeddings: RoBERTa counts from 2, so texts have two tokens fewer at most."""
    max_tokens: Count = 160
    """Clinical text is cut to this many tokens, the closing one included."""
    max_question_tokens: Count = 50
    close_truncated: bool = True
    """Whether a text that is cut keeps its closing token; in the authors' code it does not."""
    pretrained: Path | None = None
    """Directory of a `transformers` encoder whose weights are taken; the sizes above then come from it."""
    encoder: dict[str, Any] | None = None
    """Configuration of any encoder of `transformers`, as in its `config.json`, instead of the sizes above."""
    tokenizer: Path | None = None
    """Directory with a tokenizer; without one, one is trained on the platform's own sentences."""

    @model_validator(mode="after")
    def _sizes_have_one_source(self) -> Self:
        if self.pretrained is not None and self.encoder is not None:
            raise ValueError("pretrained and encoder are both given: one of them says what the encoder is")
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
    """M3FM's sizes (paper, Methods: M3FM)."""

    width: Count
    """Of image and task tokens."""
    depth: Count
    """Blocks of the image encoder."""
    heads: Count
    """Of the image encoder's attention."""
    task_depth: Count = 4
    task_heads: Count | None = None
    """Of the task encoder's attention; as many as the image encoder's where not given."""
    registers: Natural = 3
    head_width: Count = 1024
    """Hidden width of the predictors."""
    monotone_risk: bool = True
    """Whether risks never fall from year to year; in the authors' code they can."""
    task_id: bool = True
    """Whether there is a Task ID predictor; the authors' published weights have none."""
    scales: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")], Scale] = Field(min_length=1)
    """By name; a checkpoint has them in alphabetical order."""
    text: TextConfig = TextConfig()

    @model_validator(mode="after")
    def _widths_can_be_shared(self) -> Self:
        if self.width % 2:
            raise ValueError(f"width is {self.width}, and should be even: sines and cosines share it")
        check_heads("heads", self.width, self.heads)
        check_heads("task_heads", self.width, self.task_heads or self.heads)
        return self
