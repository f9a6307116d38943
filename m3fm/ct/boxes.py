"""The boxes of lungs and heart, from the source that a configuration or a bundle names.

Curation and prediction call the same function, so a model sees the regions that it was trained on.
"""

from collections.abc import Sequence
from pathlib import Path

from m3fm.config.sections import RegionsConfig
from m3fm.ct import masks
from m3fm.ct.geometry import Box
from m3fm.ct.regions import find_regions
from m3fm.ct.volume import Series


def region_boxes(series: Series, config: RegionsConfig, segmentations: Sequence[Path] = ()) -> dict[str, Box]:
    """Return the boxes of left_lung, right_lung, both_lungs and heart, in voxels of the series.

    Raises Rejected("no_lungs"), Rejected("no_heart"), or Rejected("no_segmentation") where the source is
    `segmentations` and none of them can be used.
    """
    match config.source:
        case "built_in":
            return find_regions(series.voxels, series.voxel_size)
        case "segmentations":
            return masks.regions_from_segmentations(segmentations, masks.LABEL_MAPS[config.labels], series)
        case "totalsegmentator":
            masks.check_totalsegmentator()
            return masks.regions_by_totalsegmentator(series)
