"""The report's drawings, as SVG text: few shapes, no scripts, the same bytes for the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

# Okabe and Ito's colours, told apart with any colour vision; dashes tell them apart in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00")
DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "4 4", "12 3")
SIDE = 240
"""Pixels of a plot's axes."""
LEFT, BELOW, MARGIN = 42, 38, 10


@dataclass(frozen=True, slots=True)
class Curve:
    """One ROC curve."""

    name: str
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray


def swatch(number: int) -> str:
    """The line that stands for a curve in a table."""
    return (
        f'<svg class="swatch" width="26" height="8" aria-hidden="true"><line x1="1" y1="4" x2="25" y2="4" '
        f'stroke="{COLOURS[number]}" stroke-width="2" stroke-dasharray="{DASHES[number]}"/></svg>'
    )


def key(number: int) -> str:
    """The square that stands for a filled outline in a legend."""
    return (
        '<svg class="swatch" width="12" height="12" aria-hidden="true"><rect x="1" y="1" width="10" '
        f'height="10" fill="{COLOURS[number]}" fill-opacity="0.16" stroke="{COLOURS[number]}"/></svg>'
    )


def roc(curves: Sequence[Curve], title: str) -> str:
    """ROC curves of the answers of one task, with the diagonal of chance."""
    lines = [f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" class="chance"/>']
    for number, curve in enumerate(curves):
        lines.append(
            f'<polyline points="{_points(curve)}" fill="none" stroke="{COLOURS[number]}" stroke-width="1.6" '
            f'stroke-dasharray="{DASHES[number]}" stroke-linejoin="round">'
            f"<title>{escape(curve.name)}</title></polyline>"
        )
    axes = _axes(QUARTERS, "false positive rate", "true positive rate")
    return _plot(f"ROC curves: {title}", axes + "".join(lines))


def losses(curves: Mapping[str, Sequence[tuple[float, float]]], steps: int) -> str:
    """Losses by optimiser step, of which there are `steps`: points (step, loss) by the name of the curve."""
    values = [loss for points in curves.values() for _, loss in points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    lines = []
    for number, (name, points) in enumerate(curves.items()):
        drawn = " ".join(f"{_x(step / steps):.1f},{_y((loss - low) / span):.1f}" for step, loss in points)
        lines.append(
            f'<polyline points="{drawn}" fill="none" stroke="{COLOURS[number]}" stroke-width="1.6" '
            f'stroke-dasharray="{DASHES[number]}" stroke-linejoin="round"><title>{escape(name)}</title>'
            "</polyline>"
        )
    ticks = [fraction / 4 for fraction in range(5)]
    axes = _axes(
        tuple(f"{low + tick * span:.3g}" for tick in ticks),
        "optimiser step",
        "mean loss of the tasks",
        tuple(f"{tick * steps:.0f}" for tick in ticks),
    )
    return _plot("Losses by step", axes + "".join(lines))


def histogram(positive: np.ndarray, score: np.ndarray, title: str, axis: str) -> str:
    """How often each score from 0 to 1 was given to positives and to negatives, as fractions of each."""
    bins = np.linspace(0, 1, 21)
    fractions = [
        np.histogram(score[chosen], bins)[0] / max(chosen.sum(), 1) for chosen in (~positive, positive)
    ]
    top = np.ceil(25 * max(fractions[0].max(), fractions[1].max())) / 25
    shapes = []
    for number, fraction in zip((0, 1), fractions):
        outline = " ".join(
            f"{_x(bins[i]):.1f},{_y(value / top):.1f} {_x(bins[i + 1]):.1f},{_y(value / top):.1f}"
            for i, value in enumerate(fraction)
        )
        shapes.append(
            f'<polygon points="{_x(0)},{_y(0)} {outline} {_x(1)},{_y(0)}" fill="{COLOURS[number]}" '
            f'fill-opacity="0.16" stroke="{COLOURS[number]}" stroke-width="1.3"/>'
        )
    labels = tuple(f"{top * tick:.0%}" for tick in (0, 0.25, 0.5, 0.75, 1))
    return _plot(f"Scores: {title}", _axes(labels, axis, "fraction of the class") + "".join(shapes))


def bars(folds: Mapping[str, Sequence[float]], title: str) -> str:
    """Means of values from 0 to 1 as bars, with their standard deviation, and every value as a dot."""
    apart = 110
    width = LEFT + apart * len(folds) + MARGIN
    shapes = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        shapes.append(
            f'<line x1="{LEFT}" y1="{_y(tick):g}" x2="{width - MARGIN}" y2="{_y(tick):g}" class="tick"/>'
            f'<text x="{LEFT - 5}" y="{_y(tick) + 3.5:g}" text-anchor="end">{tick:g}</text>'
        )
    for number, (name, values) in enumerate(folds.items()):
        middle, colour = LEFT + apart * (number + 0.5), COLOURS[number]
        mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
        low, high = _y(mean - deviation), _y(mean + deviation)
        shapes.append(
            f'<rect x="{middle - 20:g}" y="{_y(mean):.1f}" width="40" height="{_y(0) - _y(mean):.1f}" '
            f'fill="{colour}" fill-opacity="0.3" stroke="{colour}"/>'
            f'<path d="M{middle:g} {low:.1f}V{high:.1f}M{middle - 7:g} {low:.1f}h14M{middle - 7:g} '
            f'{high:.1f}h14" stroke="#1d2733" stroke-width="1.5"/>'
            + "".join(
                f'<circle cx="{middle + 12:g}" cy="{_y(v):.1f}" r="2.5" fill="{colour}"/>' for v in values
            )
            + f'<text x="{middle:g}" y="{_y(0) + 14}" text-anchor="middle">{escape(name)}</text>'
        )
    return _plot(title, "".join(shapes), width)


def interval_bar(value: float, low: float, high: float, chance: float | None) -> str:
    """A value from 0 to 1 and its interval, on a line; grey where the interval reaches chance."""
    width, middle = 200, 9
    below_chance = chance is not None and low <= chance
    ticks = "".join(
        f'<line x1="{5 + t * width:g}" y1="2" x2="{5 + t * width:g}" y2="16" class="tick"/>'
        for t in (0, 0.25, 0.75, 1)
    )
    if chance is not None:
        x = 5 + chance * width
        ticks += f'<line x1="{x:g}" y1="0" x2="{x:g}" y2="18" class="chance"/>'
    colour = "#8a8f98" if below_chance else COLOURS[0]
    ends = [5 + end * width for end in (low, value, high)]
    return (
        f'<svg class="bar" width="{width + 10}" height="18" role="img" '
        f'aria-label="{value:.3f}, from {low:.3f} to {high:.3f}">{ticks}'
        f'<line x1="{ends[0]:.1f}" y1="{middle}" x2="{ends[2]:.1f}" y2="{middle}" stroke="{colour}" '
        f'stroke-width="3" stroke-linecap="round"/>'
        f'<circle cx="{ends[1]:.1f}" cy="{middle}" r="4.5" fill="{colour}" stroke="#fff"/></svg>'
    )


def _points(curve: Curve) -> str:
    """The curve's points to a tenth of a pixel, each once: more cannot be seen."""
    points = [f"{_x(x):.1f},{_y(y):.1f}" for x, y in zip(curve.false_positive_rate, curve.true_positive_rate)]
    return " ".join(dict.fromkeys(points))


def _x(fraction: float) -> float:
    return LEFT + fraction * SIDE


def _y(fraction: float) -> float:
    return MARGIN + (1 - fraction) * SIDE


QUARTERS = ("0", "0.25", "0.5", "0.75", "1")
"""Names of the ticks of an axis from 0 to 1."""


def _axes(vertical: tuple[str, ...], x_name: str, y_name: str, horizontal: tuple[str, ...] = QUARTERS) -> str:
    parts = [f'<rect x="{LEFT}" y="{MARGIN}" width="{SIDE}" height="{SIDE}" class="frame"/>']
    for tick, label, below in zip((0, 0.25, 0.5, 0.75, 1), vertical, horizontal):
        if 0 < tick < 1:
            parts.append(
                f'<line x1="{_x(tick):g}" y1="{_y(0)}" x2="{_x(tick):g}" y2="{_y(1)}" class="tick"/>'
            )
            parts.append(
                f'<line x1="{_x(0)}" y1="{_y(tick):g}" x2="{_x(1)}" y2="{_y(tick):g}" class="tick"/>'
            )
        parts.append(f'<text x="{_x(tick):g}" y="{_y(0) + 14}" text-anchor="middle">{below}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{_y(tick) + 3.5:g}" text-anchor="end">{label}</text>')
    parts.append(f'<text x="{_x(0.5):g}" y="{_y(0) + 31}" text-anchor="middle" class="name">{x_name}</text>')
    turned = f'transform="translate(10 {_y(0.5):g}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle" class="name">{y_name}</text>')
    return "".join(parts)


def _plot(title: str, content: str, width: int = LEFT + SIDE + MARGIN) -> str:
    height = MARGIN + SIDE + BELOW
    return (
        f'<svg class="plot" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{content}</svg>'
    )
