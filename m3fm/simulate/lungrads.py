"""The Lung-RADS category that a report would state."""

from collections.abc import Iterable

from m3fm.simulate.findings import FAT, GROUND_GLASS, MIXED, SimulatedNodule


def lung_rads(nodules: Iterable[SimulatedNodule], timepoint: int) -> int:
    """Return the Lung-RADS category of an exam, 1 to 4: the highest of its nodules', 1 without nodules.

    Sizes are those of version 1.1, simplified: without growth and 4X; 4A and 4B are both 4.
    """
    return max((_category(nodule, nodule.first_exam == timepoint > 0) for nodule in nodules), default=1)


def _category(nodule: SimulatedNodule, new: bool) -> int:
    mean = (nodule.long_mm + nodule.short_mm) / 2
    if nodule.attenuation == FAT:
        return 1
    if nodule.attenuation == GROUND_GLASS:
        return 3 if mean >= 30 else 2
    if nodule.attenuation == MIXED:
        core = mean / 2
        if mean < 6:
            return 3 if new else 2
        return 3 if core < 6 and not (new and core >= 4) else 4
    limits = (4, 6) if new else (6, 8)
    return 2 + sum(mean >= limit for limit in limits)
