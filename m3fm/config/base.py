"""What all sections of the configuration are made of: types with ranges, and errors that name the key."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from m3fm.core.files import text_digest

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size3 = tuple[Count, Count, Count]
Pair = tuple[float, float]


class Config(BaseModel):
    """A frozen section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """One line of JSON with sorted keys: what a pipeline passes on, and what the digest is of."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def digest(self) -> str:
        """SHA-256 of the section's JSON."""
        return text_digest(self.to_json())


def first_problem(error: ValidationError, of: type[BaseModel]) -> str:
    """Where the first fault of what was to be an `of` is, and what it is."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "there is no such key" + _keys_beside(first["loc"], of)
    return f"{where}: {what}" if where else what


def _keys_beside(where: tuple[int | str, ...], section: Any) -> str:
    """The keys that there are where one is that is not."""
    for part in where[:-1]:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        section = None if field is None else field.annotation
    return f"; there are {', '.join(section.model_fields)}" if hasattr(section, "model_fields") else ""


def check_heads(what: str, width: int, heads: int) -> None:
    """Raise ValueError where a width cannot be shared evenly among the heads of an attention."""
    if width % heads:
        raise ValueError(f"{what} is {heads}, which does not divide the width {width}")


def check_whole(what: str, samples: int, micro_batch: int) -> None:
    """Raise ValueError where samples do not come in whole micro-batches: some would be left out unsaid."""
    if samples < micro_batch or samples % micro_batch:
        raise ValueError(f"{what} is {samples}, which is no whole number of micro-batches of {micro_batch}")
