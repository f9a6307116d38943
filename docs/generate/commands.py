"""The reference of the command line: every command, argument and option."""

import inspect
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from docs.generate.tables import code, table
from m3fm.cli import app


def root() -> Any:
    """Return the command line as a click group."""
    return typer.main.get_command(app)


def leaves(group: Any, words: tuple[str, ...] = ("m3fm",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command below a group, by the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))
        else:
            yield (*words, name), command


def commands() -> str:
    """Return the reference: options of `m3fm` itself, then a part for each command."""
    group = root()
    own = [option for option in group.params if option.opts]
    parts = [] if not own else ["## `m3fm`\n\n" + _options(own)]
    for words, command in leaves(group):
        parts.append("\n\n".join(filter(None, _described(words, command))))
    return "\n\n".join(parts)


def _described(words: tuple[str, ...], command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([*words, *(_named(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    rows = [[code(_named(p)), p.help or ""] for p in arguments]
    return [
        f"## `{' '.join(words)}`",
        "\n\n".join(paragraphs),
        f"Usage: `{usage}`",
        table(["argument", "meaning"], rows) if rows else "",
        _options(options, command.callback) if options else "",
    ]


def _named(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _options(options: list[Any], callback: Any = None) -> str:
    infos = {} if callback is None else get_type_hints(inspect.unwrap(callback), include_extras=True)
    rows = []
    for option in options:
        names = " / ".join(code(name) for name in (*option.opts, *option.secondary_opts))
        default = "" if option.required or option.is_flag else _default(option.default)
        text = ("Required. " if option.required else "") + (option.help or "")
        rows.append([names, _kind(infos.get(option.name, bool)), default, text])
    return table(["option", "value", "default", "meaning"], rows)


def _kind(annotated: Any) -> str:
    """Return what an option takes, from the annotation of its parameter."""
    kind, *infos = get_args(annotated) if get_origin(annotated) is Annotated else [annotated]
    inner = [part for part in get_args(kind) if part is not type(None)]
    if inner:
        return _kind(inner[0])
    if issubclass(kind, StrEnum):
        return ", ".join(code(choice.value) for choice in kind)
    low = next((f" ≥ {info.min}" for info in infos if info.min is not None), "")
    return {bool: "", int: "integer", float: "number", Path: "path"}.get(kind, "text") + low


def _default(value: Any) -> str:
    if value is None or value == "":
        return ""
    return code(str(getattr(value, "value", value)))
