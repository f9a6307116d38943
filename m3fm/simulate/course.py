"""A patient's course through the trial: the person, the findings of the exams, and the outcome."""

from dataclasses import dataclass

import numpy as np

from m3fm.config.sections import SimulateConfig
from m3fm.simulate.anatomy import draw_anatomy
from m3fm.simulate.exam import SimulatedExam, plan_exam
from m3fm.simulate.findings import ExamFindings, draw_abnormalities, draw_nodules, nodules_at
from m3fm.simulate.outcomes import Outcome, draw_outcome
from m3fm.simulate.people import Person, draw_person

FIRST_PID = 100001
COVID_TESTED = 0.9
"""Fraction of the exams with a test for COVID-19; patients without a test do not have it here."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Everything about one patient except the images, which are drawn from it."""

    person: Person
    outcome: Outcome
    exams: list[SimulatedExam]


def draw_course(config: SimulateConfig, number: int) -> Course:
    """Draw the course of one patient from the seed and the patient's number, from 0, alone."""

    def rng(*stream: int) -> np.random.Generator:
        return np.random.default_rng([config.seed, number, *stream])

    person = draw_person(FIRST_PID + number, rng(0))
    anatomy = draw_anatomy(person, rng(1))
    abnormalities = draw_abnormalities(person, rng(2))
    nodules = draw_nodules(anatomy, set().union(*abnormalities), rng(3))
    outcome = draw_outcome(person, nodules, abnormalities[0].get("cvd_diagnosis", 0.0), rng(4))
    growing = outcome.cancer.nodule if outcome.cancer else None
    exams = []
    for timepoint, day in enumerate(outcome.scan_days):
        tested = bool(rng(5, timepoint).random() < COVID_TESTED)
        seen = abnormalities[timepoint].items()
        findings = ExamFindings(
            severity={name: value for name, value in seen if tested or name != "covid19"},
            nodules=tuple(nodules_at(timepoint, nodules, growing, rng(6))),
            covid_tested=tested,
        )
        exams.append(plan_exam(person, anatomy, findings, timepoint, day, config, rng(7, timepoint)))
    return Course(person=person, outcome=outcome, exams=exams)
