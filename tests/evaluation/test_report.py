import re
from collections.abc import Callable
from html.parser import HTMLParser

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
    training, validation = re.findall(r'<polyline points="([^"]*)"', section)
    assert len(training.split()) == 50, "150 steps, three to a point"
    assert len(validation.split()) == 3
    heights = [float(point.split(",")[1]) for point in training.split()]
    assert heights == sorted(heights), "it falls: down is a larger y"
    assert ">150<" in section


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(html: str):
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    assert NOTICE in parser.text
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import", html)


def test_the_page_shows_every_task_and_why_one_is_absent(html: str):
    for name in TASKS:
        assert f'id="{name}"' in html
        assert f'href="#{name}"' in html
    assert "not evaluated: no predictions" in html
    assert html.count("<polyline") >= 30


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
    drawing = figures.roc([figures.Curve("a<b", rate, np.sqrt(rate))], "title")
    found = re.search(r'points="([^"]+)"', drawing)
    assert found is not None
    points = found[1].split(" ")
    assert len(points) == len(set(points)) < 5_000
    assert points[0] == f"{figures.LEFT:.1f},{figures.MARGIN + figures.SIDE:.1f}"
    assert points[-1] == f"{figures.LEFT + figures.SIDE:.1f},{figures.MARGIN:.1f}"
    assert "a&lt;b" in drawing


def test_an_interval_that_reaches_chance_is_grey():
    assert "#8a8f98" in figures.interval_bar(0.6, 0.5, 0.7, 0.5)
    assert "#8a8f98" not in figures.interval_bar(0.6, 0.51, 0.7, 0.5)
    assert "#8a8f98" not in figures.interval_bar(0.4, 0.3, 0.5, None)
