import re
from collections.abc import Callable
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest

from m3fm.clinical.tasks import TASKS
from m3fm.config.sections import EvaluateConfig
from m3fm.core.notice import NOTICE
from m3fm.evaluation import figures
from m3fm.evaluation.decisions import checked
from m3fm.evaluation.evaluate import summarise
from m3fm.evaluation.report import page

CONFIG = EvaluateConfig(resamples=50)
CONTEXT = {
    "pipeline": "screening",
    "dataset": {"version": "md5:0f.dir", "source": "<simulated & small>"},
    "counts": {"train": {"patients": 7, "exams": 19}, "test": {"patients": 12, "exams": 24}},
    "configuration": {"model": {"scales": {"heart": [32, 32, 32]}}},
}


class _Balance(HTMLParser):
    """Checks that every tag that is opened is closed in order, and collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def points(html: str, identifier: str) -> list[tuple[float, float]]:
    """The points (x, y) of the line that is drawn in the group with this id."""
    found = re.search(rf'<g id="{identifier}">.*?<path d="([^"]+)"', html)
    assert found is not None, identifier
    numbers = [float(word) for word in found[1].split() if word not in "ML"]
    return list(zip(numbers[::2], numbers[1::2]))


HISTORY = [
    {"step": step, "lr": 0.1, "emphysema": 2.0 / (step + 1), "covid19": 1.0}
    | ({"validation/emphysema": 3.0 / (step + 1)} if step % 50 == 49 else {})
    for step in range(150)
]


@pytest.fixture(scope="module")
def html(predictions: Callable[..., pd.DataFrame]) -> str:
    given = checked(predictions(patients=12, leave_out=("covid19",)))
    return page(given, summarise(given, CONFIG), CONFIG, CONTEXT, HISTORY)


def test_the_losses_of_the_training_are_drawn(html: str):
    section = html.split('<section id="training">')[1].split("</section>")[0]
    training, validation = (points(section, f"losses-curve-{number}") for number in range(2))
    assert len(training) == 50, "150 steps, three to a point"
    assert len(validation) == 3
    heights = [y for _, y in training]
    assert heights == sorted(heights), "it falls: down is a larger y"
    assert ">150<" in section


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(html: str):
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    assert f"{NOTICE}." in parser.text
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import|https?:", html)


def test_many_drawings_stand_in_one_page_and_each_has_a_name(html: str):
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    drawings = re.findall(r"<svg ([^>]*)>", html)
    assert len(drawings) >= 30
    for attributes in drawings:
        assert 'role="img"' in attributes
        assert re.search(r'aria-label="[^"]+"', attributes)
    assert len(html) < 250_000


def test_the_same_predictions_give_the_same_bytes_with_any_settings_of_matplotlib(
    html: str, predictions: Callable[..., pd.DataFrame]
):
    given = checked(predictions(patients=12, leave_out=("covid19",)))
    with matplotlib.rc_context({"svg.fonttype": "path", "font.size": 30, "axes.facecolor": "red"}):
        settings = dict(matplotlib.rcParams)
        assert page(given, summarise(given, CONFIG), CONFIG, CONTEXT, HISTORY) == html
        assert dict(matplotlib.rcParams) == settings


def test_the_page_shows_every_task_and_why_one_is_absent(html: str):
    for name in TASKS:
        assert f'id="{name}"' in html
        assert f'href="#{name}"' in html
    assert "not evaluated: no predictions" in html
    assert len(re.findall(r'id="\w+-roc-curve-\d"', html)) >= 30


def test_the_page_shows_what_was_evaluated_and_no_patient(html: str):
    assert "md5:0f.dir" in html
    assert "&lt;simulated &amp; small&gt;" in html
    assert "<td>train</td>" in html
    assert "ab" * 32 in html
    assert not re.search(r"\b[pe]\d+(-\d)?\b", html)


def test_the_numbers_on_the_page_are_the_tables(html: str, predictions: Callable[..., pd.DataFrame]):
    table = summarise(predictions(patients=12, leave_out=("covid19",)), CONFIG)
    for row in table[table["auc"].notna()].itertuples():
        assert f'<td class="number">{row.auc:.3f}</td>' in html
        assert f"{row.low:.3f}–{row.high:.3f}" in html


def test_a_curve_runs_from_corner_to_corner_without_repeated_points():
    rate = np.linspace(0, 1, 50_000)
    drawing = figures.roc("roc", [figures.Curve("a<b", rate, np.sqrt(rate))], "title")
    found = points(drawing, "roc-curve-0")
    assert len(found) == len(set(found)) < 5_000
    assert found[0] == (figures.LEFT, figures.MARGIN + figures.SIDE)
    assert found[-1] == (figures.LEFT + figures.SIDE, figures.MARGIN)
    assert "<title>a&lt;b</title>" in drawing


def test_a_drawing_refers_to_its_own_parts_alone():
    drawings = [
        figures.bars(name, {"a": [0.5, 0.75], "b": [1.0, 0.5]}, "AUC") for name in ("first", "second")
    ]
    for name, drawing in zip(("first", "second"), drawings):
        used = set(re.findall(r'href="#([^"]*)"', drawing))
        assert used
        assert all(
            identifier.startswith(f"{name}-") and f'id="{identifier}"' in drawing for identifier in used
        )
    assert str(drawings[0]).replace("first", "second") == drawings[1]


def test_an_interval_that_includes_chance_is_grey(predictions: Callable[..., pd.DataFrame]):
    given = checked(predictions(patients=12))
    table = summarise(given, CONFIG)
    for task, auc, low, high in (
        ("emphysema", 0.6, 0.5, 0.7),
        ("covid19", 0.6, 0.51, 0.7),
        ("clinical_number", 0.4, 0.3, 0.5),
    ):
        table.loc[table["task"] == task, ["auc", "low", "high"]] = auc, low, high
    html = page(given, table, CONFIG, {}, [])
    bars = dict(re.findall(r'href="#(\w+)".*?<span class="(bar[^"]*)" role="img"', html, re.DOTALL))
    assert bars["emphysema"] == "bar grey"
    assert bars["covid19"] == "bar"
    assert bars["clinical_number"] == "bar", "a fraction has no chance of a half"
    assert 'aria-label="0.600, from 0.510 to 0.700"' in html
    assert 'class="interval" style="left: 51.00%; width: 19.00%"' in html
