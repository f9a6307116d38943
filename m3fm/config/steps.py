"""What the result of each step depends on, declared once: fields of the configuration, and code.

The pipeline's store, a training's question whether it is the same run, and registration all derive from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from m3fm.config.sections import RunConfig
from m3fm.core.code import code_digest, libraries
from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, folder_digest, text_digest, to_json


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and what decides its result beside its inputs."""

    name: str
    fields: tuple[str, ...]
    """Fields or sections of `RunConfig` that change the result; how many workers make it does not."""
    entries: tuple[str, ...]
    """Modules that make the result, or packages; what they import counts, too (`m3fm.core.code`)."""

    def depends_on(self, run: RunConfig | None, /, **inputs: Any) -> dict[str, Any]:
        """Return all that decides the result, by name: inputs, fields, `code` and `libraries`.

        `inputs` are digests of artifacts. Raises InputError where a file that a field names does not exist.
        """
        fields = {} if run is None else field_digests(run, self.fields)
        code = {"code": code_digest(self.entries), "libraries": libraries(self.entries)}
        return {**inputs, **fields, **code}

    def key(self, depends_on: Mapping[str, Any]) -> str:
        """Return the name that a result with these dependencies has in a store: 16 hexadecimal digits."""
        return text_digest(to_json({"step": self.name, **depends_on}))[:16]


SIMULATE = Step("simulate", ("simulate",), ("m3fm.simulate",))
CURATE = Step("curate", ("curate",), ("m3fm.dataset.curate", "m3fm.cohort"))
EXAMINE = Step("examine", (), ("m3fm.dataset.curate",))
"""The part of curation that reads images; it does not depend on the tables."""
VALIDATE = Step("validate", (), ("m3fm.dataset.validate",))
PRETRAIN = Step("pretrain", ("model", "pretrain", "launch.precision"), ("m3fm.training.pretrain",))
TRAIN = Step("train", ("model", "train", "launch.precision"), ("m3fm.training.multitask",))
FINETUNE = Step("finetune", ("model", "finetune", "launch.precision"), ("m3fm.transfer.finetune",))
EVALUATE = Step("evaluate", ("evaluate",), ("m3fm.evaluation",))
EXPORT = Step("export", (), ("m3fm.deploy.export",))

STORED = (SIMULATE, CURATE, VALIDATE, PRETRAIN, TRAIN, EVALUATE, EXPORT)
"""Steps of the screening pipeline whose output the store keeps, in order."""
WITHOUT_EFFECT = {"keep_checkpoints"}
"""Fields inside of sections that change no result."""


def field_digests(run: RunConfig, fields: Sequence[str]) -> dict[str, str]:
    """Return a digest of each field; a text stands for itself, and a path for the content of its files."""
    found = {}
    for field in fields:
        value: Any = run
        for name in field.split("."):
            value = getattr(value, name)
        content = _content(value)
        found[field] = content if isinstance(content, str) else text_digest(to_json(content))
    return found


def result_digest(run: RunConfig) -> str:
    """Return one digest of all fields that decide a result of the chain: that of a registered model."""
    fields = sorted({name for step in STORED for name in step.fields})
    return text_digest(to_json(field_digests(run, fields)))


def _content(value: Any) -> Any:
    """Replace paths by the digest of what they hold: another tokenizer at the same path is another one."""
    match value:
        case BaseModel():
            fields = [name for name in type(value).model_fields if name not in WITHOUT_EFFECT]
            return {name: _content(getattr(value, name)) for name in fields}
        case dict():
            return {name: _content(part) for name, part in value.items()}
        case list() | tuple():
            return [_content(part) for part in value]
        case Path():
            if not value.exists():
                raise InputError(f"{value} does not exist: correct the path in the configuration")
            return folder_digest(value) if value.is_dir() else file_digest(value)
    return value
