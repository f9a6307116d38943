"""The layers of the code, drawn and listed from the contract that keeps them (pyproject.toml)."""

import ast
import importlib.util
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

from docs.generate.tables import code, table
from m3fm.config.steps import STORED
from m3fm.core.code import libraries

ROOT = Path(__file__).parents[2]
WIDTH, LEFT, HEIGHT, GAP = 780, 20, 44, 14
INK, PALE, EDGE = "#1d2738", "#e8eef7", "#51607a"


def layers() -> list[list[str]]:
    """Return the packages of each layer, the highest layer first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layered,) = [contract for contract in contracts if contract["type"] == "layers"]
    return [layer.split(" | ") for layer in layered["layers"]]


def purpose(room: str) -> str:
    """Return the first sentence of a package's docstring, without importing it."""
    spec = importlib.util.find_spec(room)
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def rooms() -> str:
    """Return the table of packages, the highest layer first."""
    found = [
        [str(number), code(room)]
        for number, layer in zip(range(len(layers()), 0, -1), layers())
        for room in layer
    ]
    return table(["layer", "package", "contents"], [[*row, purpose(row[1].strip("`"))] for row in found])


def keys() -> str:
    """Return the table of what the key of each stored step is made of, beside its inputs."""
    rows = []
    for step in STORED:
        fields = ", ".join(map(code, step.fields)) or "none"
        entries = ", ".join(map(code, step.entries))
        rows.append([step.name, fields, entries, ", ".join(libraries(step.entries))])
    return table(
        ["step", "fields of the configuration", "modules, with all that they import", "libraries"], rows
    )


def svg() -> str:
    """Return the picture: one row for each layer, imports run downward."""
    drawn = layers()
    height = LEFT * 2 + len(drawn) * (HEIGHT + GAP) - GAP
    root = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=str(WIDTH),
        height=str(height),
        role="img",
    )
    ET.SubElement(root, "title").text = "The layers of the code, highest first; imports run downward alone"
    style = ET.SubElement(root, "style")
    style.text = (
        f"text{{font-family:Helvetica,Arial,sans-serif;text-anchor:middle;fill:{INK};font-size:15px}}"
    )
    _rectangle(root, 0, 0, WIDTH, height, fill="#ffffff")
    for number, layer in enumerate(drawn):
        _layer(root, LEFT + number * (HEIGHT + GAP), layer)
    _arrow(root, height)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _layer(root: ET.Element, top: int, rooms_of_layer: list[str]) -> None:
    """Draw one row, whose boxes have one width."""
    left, space = LEFT + 40, 10
    width = (WIDTH - left - LEFT - space * (len(rooms_of_layer) - 1)) / len(rooms_of_layer)
    for place, room in enumerate(rooms_of_layer):
        x = left + place * (width + space)
        _rectangle(root, x, top, width, HEIGHT, fill=PALE, stroke=EDGE, rx="8")
        label = ET.SubElement(root, "text", x=f"{x + width / 2:g}", y=str(top + HEIGHT // 2 + 5))
        label.text = room


def _rectangle(root: ET.Element, x: float, y: float, width: float, height: float, **how: str) -> None:
    ET.SubElement(root, "rect", how, x=f"{x:g}", y=f"{y:g}", width=f"{width:g}", height=f"{height:g}")


def _arrow(root: ET.Element, height: int) -> None:
    """Draw the direction of imports at the left edge."""
    x, bottom = LEFT + 10, height - LEFT
    ET.SubElement(
        root, "path", {"stroke-width": "2"}, d=f"M{x} {LEFT}V{bottom - 8}", stroke=EDGE, fill="none"
    )
    ET.SubElement(root, "path", d=f"M{x - 6} {bottom - 10}H{x + 6}L{x} {bottom}z", fill=EDGE)
    middle = height // 2
    label = ET.SubElement(
        root, "text", x=str(x + 20), y=str(middle), transform=f"rotate(-90 {x + 20} {middle})"
    )
    label.text = "imports"
