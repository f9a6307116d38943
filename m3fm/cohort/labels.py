"""The formulas of the labels: from the records of a trial to the answers of the tasks.

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
"""Task names by NLST's code of an abnormality (sct_ab_desc)."""

NODULES = (51, 52, 62)
"""Codes (sct_ab_desc) of a nodule of 4 mm or more, with lobe, slice, size, margin and attenuation; of
micronodules; and of six or more nodules that are not suspicious. The last two have no recorded place."""

LOBES = {1: "RUL", 2: "RML", 3: "RLL", 4: "LUL", 5: "LUL", 6: "LLL"}
"""Lobes by sct_epi_loc; the lingula (5) is a part of the left upper lobe."""
ATTENUATIONS = {1: "solid", 2: "ground glass", 3: "other", 4: "other", 6: "other", 7: "other", 9: "other"}
"""Attenuations by sct_pre_att; the paper counts part-solid, fluid, fat and undetermined as other."""
MARGINS = {1: "spiculated", 2: "smooth", 3: "poorly defined", 9: "undetermined"}
"""Margins by sct_margins."""

SIZES_MM = (4.0, 6.0, 8.0, 15.0, 30.0)
"""Upper ends in mm, inclusive, of all size classes but the last."""

SIDES = {
    "left": ("loclhil", "loclup", "loclin", "locllow", "loclmsb"),
    "right": ("locrhil", "locrup", "locrmid", "locrlow", "locrmsb"),
}
"""Columns that place a cancer in a lung; those of carina, mediastinum, other and unknown do not."""
DAYS_A_YEAR = 365


def risk(event_day: int | None, followup_day: int | None, scan_day: int | None) -> Risk | None:
    """Compute labels and mask for 1 to 6 years after a scan; days count from randomisation, None is unknown.

    The last year that counts is that of the event, or else the one in which follow-up ended (Sybil's rule;
    727 days of follow-up count as two years). Returns None where the scan's day is unknown or before
    randomisation, the event or the end of follow-up came before the scan, or both are unknown.
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
    """Return the day of death if its cause, an ICD-10 code with or without its dot, begins with a prefix."""
    code = _plain_code(icd10)
    return death_day if code.startswith(tuple(map(_plain_code, prefixes))) else None


def _plain_code(icd10: str) -> str:
    return icd10.replace(".", "").upper()


def covid19(
    positive_days: Iterable[int], negative_days: Iterable[int], before: int, after: int
) -> int | None:
    """Return 1 with a positive test near the scan, 0 with only negative ones, None without tests near it.

    Days count from the scan to the test; near is from `before` days before the scan to `after` days after it.
    """
    if any(-before <= day <= after for day in positive_days):
        return 1
    return 0 if any(-before <= day <= after for day in negative_days) else None


_NAMED = re.compile(
    r"LUNG[\s-]*RADS\W*(?:(?:VERSION|V)?\s*(?:1\.[01]|2022)\W*)?"
    r"(?:(?:ASSESSMENT|CATEGORY|SCORE|CLASSIFICATION|IS|OF|THE)\b\W*)*([0-4])(?:[ABX]?S?)\b(?!\.\d)"
)
_BARE = re.compile(r"\s*([0-4])(?:\.0+|[ABX]?S?)\s*")


def lung_rads(text: str) -> int | None:
    """Parse the Lung-RADS category of a report, 1 to 4: 4A, 4B and 4X are 4 (paper, Fig. 3a), 2S is 2.

    `text` is a report or the category alone. Returns None where it states no category, 0 (incomplete), or
    several different ones, of which all but one belong to earlier exams.
    """
    upper = text.upper()
    bare = _BARE.fullmatch(upper)
    categories = {int(bare[1])} if bare else {int(found[1]) for found in _NAMED.finditer(upper)}
    return categories.pop() or None if len(categories) == 1 else None


def cancer_side(locations: Iterable[str]) -> str | None:
    """Return the lung of a cancer from the loc* columns that are set; None where no column states a lung."""
    found = set(locations)
    sides = [side for side in LUNGS if found & set(SIDES[side])]
    return "both" if len(sides) == 2 else sides[0] if sides else None


def findings(codes: Iterable[int]) -> dict[str, int]:
    """Return 0 or 1 for each task that a report answers, from the codes of the abnormalities that it lists.

    Valid only for an exam that was read: an abnormality that its reader does not list is absent.
    """
    listed = set(codes)
    present = {task: int(code in listed) for code, task in CHEST_FINDINGS.items()}
    return {"nodule_presence": int(not listed.isdisjoint(NODULES)), **present}


def lung_of(lobe: str) -> str:
    """Return the lung of a lobe, "left" or "right"."""
    return "left" if lobe.startswith("L") else "right"


def clear_lungs(nodules: Iterable[Nodule]) -> tuple[str, ...]:
    """Return the lungs without nodules in an exam that was read; none where a nodule's lobe is unknown."""
    lobes = {nodule.lobe for nodule in nodules}
    if None in lobes:
        return ()
    return tuple(lung for lung in LUNGS if not any(lobe and lung_of(lobe) == lung for lobe in lobes))


def nodule_labels(nodule: Nodule) -> dict[str, int]:
    """Return the index of the answer for each task on the nodule; tasks without an answer are left out."""
    answers = {
        "nodule_location": nodule.lobe,
        "nodule_attenuation": nodule.attenuation,
        "nodule_margin": nodule.margin,
    }
    labels = {task: TASKS[task].answers.index(answer) for task, answer in answers.items() if answer}
    if nodule.long_mm is not None:
        labels["nodule_size"] = bisect_left(SIZES_MM, nodule.long_mm)
    return labels
