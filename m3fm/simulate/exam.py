"""One screening exam: its identifiers, its geometry, and its series."""

from dataclasses import dataclass

import numpy as np
from pydicom.uid import generate_uid

from m3fm.config.sections import SimulateConfig
from m3fm.simulate.anatomy import Anatomy
from m3fm.simulate.faults import FAULTS
from m3fm.simulate.findings import ExamFindings, SimulatedNodule
from m3fm.simulate.people import Person
from m3fm.simulate.phantom import ABOVE_MM, BELOW_MM, Grid
from m3fm.simulate.scanner import SCANNERS, Kernel, Scanner

STUDY_DATES = ("19990102", "20000102", "20010102")
"""Dates of T0, T1 and T2, shifted as in NLST, so that they reveal the screening year alone."""


@dataclass(frozen=True, kw_only=True)
class SeriesPlan:
    """One series: a reconstruction with a kernel, or the localizer, which has none."""

    uid: str
    number: int
    kernel: Kernel | None
    fault: str | None = None
    """Fault of a broken series, a key of FAULTS."""


@dataclass(frozen=True, kw_only=True)
class SimulatedExam:
    """The exam of a patient at T0, T1 or T2."""

    timepoint: int
    day: int
    """Days since randomisation."""
    study_uid: str
    frame_uid: str
    scanner: Scanner
    grid: Grid
    centre: tuple[float, float]
    """Middle of the chest in the scanner's coordinates, y and x in mm."""
    table_z: float
    """Coordinate z of the bases of the lungs in the scanner's coordinates, in mm."""
    anatomy: Anatomy
    findings: ExamFindings
    series: tuple[SeriesPlan, ...]

    def slice_number(self, nodule: SimulatedNodule) -> int:
        """Return the InstanceNumber of the slice through the middle of a nodule; 1 is the most cranial."""
        z = nodule.centre(self.anatomy)[0]
        index = round((z - self.grid.origin[0]) / self.grid.voxel_size[0])
        return self.grid.slices - min(max(index, 0), self.grid.slices - 1)


def plan_exam(
    person: Person,
    anatomy: Anatomy,
    findings: ExamFindings,
    timepoint: int,
    day: int,
    config: SimulateConfig,
    rng: np.random.Generator,
) -> SimulatedExam:
    """Choose the patient's position in the scanner, and the series, some of them broken."""
    anatomy = anatomy.breathed(rng)
    slices = int(rng.integers(config.slices[0], config.slices[1] + 1))
    pixel = round(config.field_of_view_mm * float(rng.uniform(0.99, 1.05)) / config.rows, 4)
    spacing = round((anatomy.length + BELOW_MM + ABOVE_MM) / (slices - 1), 2)
    y, x = (round(float(rng.normal(0, 3)), 1) for _ in range(2))
    corner = -pixel * (config.rows - 1) / 2
    identity = [str(config.seed), str(person.pid), str(timepoint)]
    return SimulatedExam(
        timepoint=timepoint,
        day=day,
        study_uid=_uid("study", identity),
        frame_uid=_uid("frame", identity),
        scanner=SCANNERS[person.centre - 1],
        grid=Grid(
            slices=slices,
            rows=config.rows,
            origin=(-BELOW_MM, corner - y, corner - x),
            voxel_size=(spacing, pixel, pixel),
        ),
        centre=(y, x),
        table_z=round(float(rng.uniform(-330, -230)), 1),
        anatomy=anatomy,
        findings=findings,
        series=_plan_series(SCANNERS[person.centre - 1], identity, config.broken_fraction, rng),
    )


def _plan_series(
    scanner: Scanner, identity: list[str], broken_fraction: float, rng: np.random.Generator
) -> tuple[SeriesPlan, ...]:
    """Plan a localizer and two reconstructions, at most one of them broken."""
    broken = rng.random() < 2 * broken_fraction
    which, fault = int(rng.integers(2)), str(rng.choice(sorted(FAULTS)))
    plans = [SeriesPlan(uid=_uid("localizer", identity), number=1, kernel=None)]
    for index, kernel in enumerate(scanner.kernels):
        plans.append(
            SeriesPlan(
                uid=_uid(kernel.name, identity),
                number=2 + index,
                kernel=kernel,
                fault=fault if broken and which == index else None,
            )
        )
    return tuple(plans)


def _uid(what: str, identity: list[str]) -> str:
    return str(generate_uid(entropy_srcs=["m3fm simulate", what, *identity]))
