"""The figures of a page, as matplotlib's SVG: the same numbers give the same bytes.

A figure's text takes its font from the page. Its ids begin with the figure's name, so that many stand in one
page.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

# Okabe and Ito's colours, distinct with any colour vision; dashes make them distinct in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00")
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2.5), (9, 3, 2, 3), (4, 4), (12, 3))
"""Pixels drawn and left free along each curve; none where the curve is solid."""
SIDE = 240
"""Height of the axes in pixels, and their width in a plot of curves."""
LEFT, BELOW, MARGIN = 54, 38, 10
BAR = 110
"""Width of a bar's column in pixels."""
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
PER_INCH = 72
"""Units of an SVG file by matplotlib in an inch; one unit is one pixel of the page."""
INK, CHANCE, FRAME = "#1d2733", "#6b7684", "#9aa5b1"
SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "m3fm",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.parse_math": False,
    "path.simplify": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e8ee",
    "grid.linewidth": 1,
    "lines.linewidth": 1.6,
    "lines.scale_dashes": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
"""matplotlib's settings while a figure is drawn; all others have matplotlib's defaults."""
EMPTY_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Curve:
    """One ROC curve."""

    name: str
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray


def roc(name: str, curves: Sequence[Curve], title: str) -> Markup:
    """Draw the ROC curves of one task's answers, and the diagonal of chance."""

    def draw(axes: Any) -> None:
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
        _tick(axes.xaxis, TICKS)
        _tick(axes.yaxis, TICKS)
        axes.plot((0, 1), (0, 1), color=CHANCE, linewidth=1, linestyle=(0, (3, 3)))
        for number, curve in enumerate(curves):
            _line(axes, number, curve.name, curve.false_positive_rate, curve.true_positive_rate)

    return _svg(name, f"ROC curves: {title}", draw)


def losses(name: str, curves: Mapping[str, Sequence[tuple[float, float]]], steps: int) -> Markup:
    """Draw losses over `steps` optimiser steps: points (step, loss) by the name of the curve."""
    values = [loss for points in curves.values() for _, loss in points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def draw(axes: Any) -> None:
        axes.set(xlabel="optimiser step", ylabel="mean loss of the tasks", xlim=(0, 1), ylim=(0, 1))
        _tick(axes.xaxis, TICKS, [f"{tick * steps:.0f}" for tick in TICKS])
        _tick(axes.yaxis, TICKS, [f"{low + tick * span:.3g}" for tick in TICKS])
        for number, (curve, points) in enumerate(curves.items()):
            step, loss = np.array(points).T
            _line(axes, number, curve, step / steps, (loss - low) / span)

    return _svg(name, "Losses by step", draw)


def histogram(name: str, positive: np.ndarray, score: np.ndarray, title: str, axis: str) -> Markup:
    """Draw how often positives and negatives got each score, as fractions of each class.

    `positive` (bool) and `score` (0 to 1) are [samples].
    """
    bins = np.linspace(0, 1, 21)
    fractions = [
        np.histogram(score[chosen], bins)[0] / max(chosen.sum(), 1) for chosen in (~positive, positive)
    ]
    top = np.ceil(25 * max(fractions[0].max(), fractions[1].max())) / 25

    def draw(axes: Any) -> None:
        axes.set(xlabel=axis, ylabel="fraction of the class", xlim=(0, 1), ylim=(0, 1))
        _tick(axes.xaxis, TICKS)
        _tick(axes.yaxis, TICKS, [f"{top * tick:.0%}" for tick in TICKS])
        for number, fraction in enumerate(fractions):
            colour = COLOURS[number]
            axes.stairs(
                _to_tenths(fraction / top),
                bins,
                fill=True,
                facecolor=(colour, 0.16),
                edgecolor=colour,
                linewidth=1.3,
            )

    return _svg(name, f"Scores: {title}", draw)


def bars(name: str, folds: Mapping[str, Sequence[float]], title: str) -> Markup:
    """Draw means of values from 0 to 1 as bars, with their standard deviation, and every value as a dot."""

    def draw(axes: Any) -> None:
        axes.set(xlim=(-0.5, len(folds) - 0.5), ylim=(0, 1))
        axes.grid(visible=False, axis="x")
        _tick(axes.xaxis, range(len(folds)), list(folds))
        _tick(axes.yaxis, TICKS)
        for place, (values, colour) in enumerate(zip(folds.values(), COLOURS)):
            mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
            axes.bar(place, mean, 40 / BAR, facecolor=(colour, 0.3), edgecolor=colour)
            axes.errorbar(place, mean, deviation, color=INK, linewidth=1.5, capsize=7, capthick=1.5)
            dots = [place + 12 / BAR] * len(values)
            axes.scatter(dots, values, s=25, color=colour, linewidth=0, zorder=3)

    return _svg(name, title, draw, BAR * len(folds))


def _line(axes: Any, number: int, label: str, x: np.ndarray, y: np.ndarray) -> None:
    """Draw a curve through points [points] from 0 to 1, to a tenth of a pixel: more cannot be seen."""
    points = np.stack([_to_tenths(x), _to_tenths(y)], axis=1)
    new = np.ones(len(points), bool)
    new[1:] = (points[1:] != points[:-1]).any(axis=1)
    axes.plot(
        *points[new].T,
        color=COLOURS[number],
        linestyle=(0, DASHES[number]) if DASHES[number] else "solid",
        label=label,
        gid=f"curve-{number}",
    )


def _to_tenths(fractions: np.ndarray) -> np.ndarray:
    """Round fractions of the axes to a tenth of a pixel."""
    return np.round(fractions * (SIDE * 10)) / (SIDE * 10)


def _tick(axis: Any, places: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Put ticks at these places, with grid lines between the edges of the frame."""
    axis.set_ticks(places, [f"{place:g}" for place in places] if labels is None else labels)
    for line in (axis.get_gridlines()[0], axis.get_gridlines()[-1]):
        line.set_visible(False)


def _svg(name: str, label: str, draw: Callable[[Any], None], width: int = SIDE) -> Markup:
    """Draw on axes of `width` pixels; return the SVG element `name`, which a screen reader calls `label`.

    A line with a gid shows its label as a tooltip.
    """
    import matplotlib
    from matplotlib.figure import Figure

    across, down = LEFT + width + MARGIN, MARGIN + SIDE + BELOW
    file = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(across / PER_INCH, down / PER_INCH), frameon=False)
        axes = figure.add_axes((LEFT / across, BELOW / down, width / across, SIDE / down))
        axes.spines[:].set_visible(False)
        axes.patch.set(edgecolor=FRAME, linewidth=1)
        draw(axes)
        for artist in figure.findobj():
            artist.set_clip_on(False)
        titles = {str(line.get_gid()): str(line.get_label()) for line in axes.lines if line.get_gid()}
        figure.savefig(file, format="svg", metadata=EMPTY_METADATA)
    return _element(ElementTree.fromstring(file.getvalue()), name, label, titles)


def _element(root: ElementTree.Element, name: str, label: str, titles: Mapping[str, str]) -> Markup:
    """Return matplotlib's SVG as an element of a page, without the parts that only a file needs."""
    used = {element.attrib[LINK].removeprefix("#") for element in root.iter() if LINK in element.attrib}
    for element in list(root.iter()):
        attributes = element.attrib
        element.tag = element.tag.removeprefix(SVG)
        element.text, element.tail = (element.text or "").strip(), ""
        for child in list(element):
            if (child.tag == f"{SVG}g" and not len(child)) or child.find(f"{SVG}style") is not None:
                element.remove(child)
        identifier = attributes.pop("id", "")
        if identifier in used or identifier in titles:
            attributes["id"] = f"{name}-{identifier}"
        if LINK in attributes:
            attributes["href"] = f"#{name}-{attributes.pop(LINK).removeprefix('#')}"
        if "d" in attributes:
            attributes["d"] = " ".join(attributes["d"].split())
        if element.tag == "text":
            styles = attributes["style"].split("; ")
            attributes["style"] = "; ".join(style for style in styles if not style.startswith("font"))
        if identifier in titles:
            title = ElementTree.Element("title")
            title.text = titles[identifier]
            element.insert(0, title)
    box = root.attrib["viewBox"]
    *_, width, height = box.split()
    root.attrib = {"id": name, "class": "plot", "width": width, "height": height, "viewBox": box}
    root.attrib |= {"role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))
