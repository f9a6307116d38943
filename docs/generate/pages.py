"""Pages of the documentation, and the blocks in them that are generated from the code.

A block is what stands between `<!-- NAME -->` and `<!-- end -->`; NAME is a key of BLOCKS.
"""

import re
from collections.abc import Callable
from pathlib import Path

from docs.generate.architecture import keys, rooms
from docs.generate.commands import commands
from docs.generate.configuration import configuration
from docs.generate.inputs import diagnoses, elements, nodule, tasks
from docs.generate.series import plan, reasons

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PICTURE = ROOT / "docs/architecture.svg"

BLOCKS: dict[str, Callable[[], str]] = {
    "base": lambda: plan("base"),
    "commands": commands,
    "configuration": configuration,
    "diagnoses": diagnoses,
    "elements": elements,
    "keys": keys,
    "large": lambda: plan("large"),
    "nodule": nodule,
    "reasons": reasons,
    "rooms": rooms,
    "tasks": tasks,
}
BLOCK = re.compile(r"^<!-- (?!end)(\w+) -->\n.*?\n?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def filled(text: str) -> str:
    """Return a page with the content of all its blocks made anew; raise KeyError at an unknown name."""
    return BLOCK.sub(lambda found: f"<!-- {found[1]} -->\n{BLOCKS[found[1]]()}\n<!-- end -->", text)
