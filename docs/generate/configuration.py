"""The reference of the configuration: every key, its range, its defaults and its meaning."""

import inspect
import json
import types
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from docs.generate.inputs import attribute_docstrings
from docs.generate.tables import code, table
from m3fm.config.base import Config
from m3fm.config.presets import preset
from m3fm.config.sections import RunConfig

SHOWN = ("tiny", "base")
"""Presets whose values stand in the tables."""
SCHEMAS = RunConfig.model_json_schema()["$defs"]


def configuration() -> str:
    """Return a table for each section, one row for each key."""
    runs = {name: preset(name).model_dump(mode="json") for name in SHOWN}
    parts = []
    for where, section, schema in _sections((), RunConfig, RunConfig.model_json_schema()):
        heads = ["key", "type and range", *SHOWN, "meaning"]
        rows = list(_rows(where, section, schema, runs))
        title = f"## `{'.'.join(where)}`" if where else "## Top level"
        parts.append("\n\n".join([title, inspect.getdoc(section) or "", table(heads, rows)]))
    return "\n\n".join(parts)


def _sections(
    where: tuple[str, ...], section: type[Config], schema: dict[str, Any]
) -> Iterator[tuple[tuple[str, ...], type[Config], dict[str, Any]]]:
    """Yield a section and all that are in it, with their paths and JSON schemas."""
    yield where, section, schema
    for name, field in section.model_fields.items():
        inner = _config_in(field.annotation)
        if inner is not None:
            step = (name, "NAME") if _is_dict(field.annotation) else (name,)
            yield from _sections((*where, *step), inner, SCHEMAS[inner.__name__])


def _config_in(annotation: Any) -> type[Config] | None:
    """Return the section that a field is, or that the values of a dictionary are."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None  # type: ignore[return-value]
    found = (_config_in(part) for part in get_args(annotation))
    return next((one for one in found if one is not None), None)


def _is_dict(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict


def _rows(
    where: tuple[str, ...], section: type[Config], schema: dict[str, Any], runs: dict[str, Any]
) -> Iterator[list[str]]:
    meanings = attribute_docstrings(section)
    for name, field in section.model_fields.items():
        if _config_in(field.annotation) is not None and not _is_dict(field.annotation):
            continue
        if _config_in(field.annotation) is not None:
            kind, values = "sections by name", [", ".join(_at(runs[s], (*where, name))) for s in SHOWN]
        else:
            kind = described(schema["properties"][name])
            values = [_shown(_at(runs[size], (*where, name))) for size in SHOWN]
        yield [code(".".join((*where, name))), kind, *values, meanings.get(name, "")]


def _at(value: Any, where: tuple[str, ...]) -> Any:
    """Return the value at a path; of dictionaries on the way, the values by name."""
    for number, name in enumerate(where):
        if name == "NAME":
            return {key: _at(part, where[number + 1 :]) for key, part in value.items()}
        value = value[name]
    return value


def _shown(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "; ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    return "" if value is None else code(value if isinstance(value, str) else json.dumps(value))


def described(schema: dict[str, Any]) -> str:
    """Return the type and the range of a value, from its JSON schema, in words."""
    if "anyOf" in schema:
        kinds = [described(one) for one in schema["anyOf"] if one.get("type") != "null"]
        optional = [", or nothing"] if len(kinds) < len(schema["anyOf"]) else []
        return "".join([" or ".join(kinds), *optional])
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    match schema.get("type"):
        case "integer" | "number" as kind:
            return " ".join([kind, *_range(schema)])
        case "string":
            return "path" if schema.get("format") == "path" else "text"
        case "boolean":
            return "`true`, `false`"
        case "array" if "prefixItems" in schema:
            kinds = [described(one) for one in schema["prefixItems"]]
            return f"[{', '.join(kinds)}]" if len(set(kinds)) > 1 else f"{len(kinds)} × {kinds[0]}"
        case "array":
            return f"list of {described(schema['items'])}"
        case "object":
            inner = schema.get("additionalProperties")
            return f"by name: {described(inner)}" if isinstance(inner, dict) else "object"
    return ""


def _range(schema: dict[str, Any]) -> list[str]:
    if "minimum" in schema and "maximum" in schema:
        return [f"{schema['minimum']:g} to {schema['maximum']:g}"]
    if "exclusiveMinimum" in schema and "exclusiveMaximum" in schema:
        return [f"between {schema['exclusiveMinimum']:g} and {schema['exclusiveMaximum']:g}"]
    signs = {"minimum": "≥", "exclusiveMinimum": ">"}
    return [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
