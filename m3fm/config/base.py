"""The parts that all sections of the configuration share.

`Config` is the base class of a section, the types carry the range of a number, and `first_problem` turns
pydantic's error into one line that names the key:

class EvaluateConfig(Config):
    resamples: Count = 2000

EvaluateConfig(resamples=0)   # resamples: Input should be greater than or equal to 1
"""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from m3fm.core.files import text_digest

Count = Annotated[int, Field(ge=1)]
"""A whole number from 1."""
Natural = Annotated[int, Field(ge=0)]
"""A whole number from 0."""
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A number from 0 to 1."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number from 0."""
Size3 = tuple[Count, Count, Count]
"""Slices, rows, columns."""
Pair = tuple[float, float]
"""Lower and upper end of a range."""


class Config(BaseModel):
    """A frozen section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """Return one line of JSON with sorted keys, which pipelines pass on and `digest` hashes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def digest(self) -> str:
        """Return the SHA-256 of the section's JSON."""
        return text_digest(self.to_json())


def first_problem(error: ValidationError, of: type[BaseModel]) -> str:
    """Describe the first fault of a validation of the class `of` in one line: the key and the reason."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "unknown key" + _known_keys(first["loc"], of)
    return f"{where}: {what}" if where else what


def _known_keys(where: tuple[int | str, ...], section: Any) -> str:
    """List the keys of the section in which an unknown key stands; return nothing where it is not known."""
    for part in where[:-1]:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        section = None if field is None else field.annotation
    return f"; known keys: {', '.join(section.model_fields)}" if hasattr(section, "model_fields") else ""


def check_heads(what: str, width: int, heads: int) -> None:
    """Raise ValueError where the number of attention heads does not divide the width."""
    if width % heads:
        raise ValueError(f"{what} is {heads}, which does not divide the width {width}")


def check_whole(what: str, samples: int, micro_batch: int) -> None:
    """Raise ValueError where samples do not fill whole micro-batches: the rest would be left out silently."""
    if samples < micro_batch or samples % micro_batch:
        raise ValueError(f"{what} is {samples}, not a whole number of micro-batches of {micro_batch}")
