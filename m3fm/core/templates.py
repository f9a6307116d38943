"""Pages and model cards from jinja2 templates, which lie as package data in `templates` folders."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from m3fm.core.notice import NOTICE, PHANTOMS


def render(template: str, **values: Any) -> str:
    """Render a template, given by its path below `m3fm`; HTML templates escape the values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("m3fm", ""),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(NOTICE=NOTICE, PHANTOMS=PHANTOMS)
    return environment
