"""From what a trial recorded to what a task is asked: the formulas of the labels.

Cancer risk follows Sybil (Mikhael et al. 2023), whose labels OpenM3Chest carries; the risk of death from
cardiovascular disease has the same form, with the day of death as the event.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable

from m3fm.clinical.records import Nodule, Risk
from m3fm.clinical.tasks import LUNGS, TASKS, YEARS

CHEST_FINDINGS = {
    54: "atelectasis",
    55: "pleural_thickening_effusion",
    56: "adenopathy_mass",
    57: "chest_wall_abnormality",
    58: "consolidation",
    59: "emphysema",
    60: "cvd_diagnosis",
    61: "reticular_fibrosis_scar",
}
"""Tasks by NLST's code of an abnormality (sct_ab_desc)."""

NODULES = (51, 52, 62)
"""A nodule of 4 mm or more, which comes with lobe, slice, size, margin and attenuation; micronodules; and six
or more nodules that are not suspicious. Of the last two it is not said where they are."""

LOBES = {1: "RUL", 2: "RML", 3: "RLL", 4: "LUL", 5: "LUL", 6: "LLL"}
"""By sct_epi_loc; the lingula (5) is a part of the left upper lobe."""
ATTENUATIONS = {1: "solid", 2: "ground glass", 3: "other", 4: "other", 6: "other", 7: "other", 9: "other"}
"""By sct_pre_att; the paper counts part-solid, fluid, fat and undetermined among the others."""
MARGINS = {1: "spiculated", 2: "smooth", 3: "poorly defined", 9: "undetermined"}
"""By sct_margins."""

SIZES_MM = (4.0, 6.0, 8.0, 15.0, 30.0)
"""Upper ends, inclusive, of all size classes but the last."""

SIDES = {
    "left": ("loclhil", "loclup", "loclin", "locllow", "loclmsb"),
    "right": ("locrhil", "locrup", "locrmid", "locrlow", "locrmsb"),
}
"""Columns that place a cancer in a lung; carina, mediastinum, other and unknown do not."""
DAYS_A_YEAR = 365


def risk(event_day: int | None, followup_day: int | None, scan_day: int | None) -> Risk | None:
    """Labels and mask for 1 to 6 years after a scan; days count from randomisation, None is unknown.

    The years that count end with that of the event, or else with the one in which follow-up ended (Sybil's
    rule; 727 days of follow-up count as two years). None where the scan's day is not known or before
    randomisation, the event or the end of follow-up came before the scan, or neither is known.
    """
    if scan_day is None or scan_day < 0:
        return None
    years_to_event = YEARS if event_day is None else (event_day - scan_day) // DAYS_A_YEAR
    if years_to_event < YEARS:
        last = years_to_event
    elif followup_day is None:
        return None
    else:
        last = min((followup_day - scan_day) // DAYS_A_YEAR, YEARS - 1)
    if last < 0:
        return None
    return Risk(
        labels=tuple(int(year >= years_to_event) for year in range(YEARS)),
        mask=tuple(int(year <= last) for year in range(YEARS)),
    )


def cardiovascular_death_day(icd10: str, death_day: int | None, prefixes: Iterable[str]) -> int | None:
    """Day of a death whose underlying cause, an ICD-10 code with or without its dot, begins with a prefix."""
    code = _plain_code(icd10)
    return death_day if code.startswith(tuple(map(_plain_code, prefixes))) else None


def _plain_code(icd10: str) -> str:
    return icd10.replace(".", "").upper()


def covid19(
    positive_days: Iterable[int], negative_days: Iterable[int], before: int, after: int
) -> int | None:
    """1 with a positive test near the scan, 0 with negative ones only, None with neither.

    Days count from the scan to the test; near is from `before` days before the scan to `after` days after it.
    """
    if any(-before <= day <= after for day in positive_days):
        return 1
    return 0 if any(-before <= day <= after for day in negative_days) else None


_NAMED = re.compile(
    r"LUNG[\s-]*RADS\W*(?:(?:VERSION|V)?\s*(?:1\.[01]|2022)\W*)?"
    r"(?:(?:ASSESSMENT|CATEGORY|SCORE|CLASSIFICATION|IS|OF|THE)\b\W*)*([0-4])(?:[ABX]?S?)\b(?!\.\d)"
)
_BARE = re.compile(r"\s*([0-4])[ABX]?S?\s*")


def lung_rads(text: str) -> int | None:
    """The Lung-RADS category that a report states, 1 to 4: 4A, 4B and 4X are 4 (paper, Fig. 3a), 2S is 2.

    `text` is a report or the category alone. None where it states none, 0 (incomplete), or several, of which
    all but one are those of earlier exams.
    """
    upper = text.upper()
    bare = _BARE.fullmatch(upper)
    categories = {int(bare[1])} if bare else {int(found[1]) for found in _NAMED.finditer(upper)}
    return categories.pop() or None if len(categories) == 1 else None


def cancer_side(locations: Iterable[str]) -> str | None:
    """The lung or lungs of a cancer, from the loc* columns that are set; None where none tells the side."""
    found = set(locations)
    sides = [side for side in LUNGS if found & set(SIDES[side])]
    return "both" if len(sides) == 2 else sides[0] if sides else None


def findings(codes: Iterable[int]) -> dict[str, int]:
    """0 or 1 for each task that a report answers, from the codes of the abnormalities that it lists.

    Only for an exam that was read: what a reader does not list is not there.
    """
    listed = set(codes)
    present = {task: int(code in listed) for code, task in CHEST_FINDINGS.items()}
    return {"nodule_presence": int(not listed.isdisjoint(NODULES)), **present}


def lung_of(lobe: str) -> str:
    """ "left" or "right"."""
    return "left" if lobe.startswith("L") else "right"


def clear_lungs(nodules: Iterable[Nodule]) -> tuple[str, ...]:
    """The lungs that a read exam says to be free of nodules: none where some nodule's lobe is not known."""
    lobes = {nodule.lobe for nodule in nodules}
    if None in lobes:
        return ()
    return tuple(lung for lung in LUNGS if not any(lobe and lung_of(lobe) == lung for lobe in lobes))


def nodule_labels(nodule: Nodule) -> dict[str, int]:
    """Index of the answer for each task that characterises the nodule; a task is left out where unknown."""
    answers = {
        "nodule_location": nodule.lobe,
        "nodule_attenuation": nodule.attenuation,
        "nodule_margin": nodule.margin,
    }
    labels = {task: TASKS[task].answers.index(answer) for task, answer in answers.items() if answer}
    if nodule.long_mm is not None:
        labels["nodule_size"] = bisect_left(SIZES_MM, nodule.long_mm)
    return labels
