"""The canonical orientation, and the closed list of reasons to refuse a series.

Voxels are ordered [slice, row, column], and the three indices rise towards the patient's head, back and
left: reversed, these are the axes of DICOM's patient coordinates (LPS, mm).
"""

import numpy as np
from numpy.typing import NDArray

from m3fm.core.errors import InputError

Box = tuple[int, int, int, int, int, int]
"""(slice, slice, row, row, column, column), half open, in voxels."""
Triple = tuple[float, float, float]

PADDING_HU = -1024
"""HU that replaces padding: the lowest air."""
SPACING_MM = (0.1, 10.0)
"""Range of distances between rows, columns or slices of a chest CT; others are in another unit, or wrong."""
MAX_OBLIQUE_DEGREES = 10.0
"""Largest angle between the axes of a scan and the patient's."""

REASONS: dict[str, str] = {
    "unreadable": "a file is damaged, cut short, or in a format that no decoder reads",
    "not_ct": "the modality is not CT: MR, PET, segmentations, structured reports, plans",
    "derived": "made from other images: reformats, projections (MIP), screenshots, images in colour",
    "multi_frame": "several frames in one file (enhanced CT, 4D NIfTI): convert to one slice per file",
    "localizer": "a localizer (scout) image",
    "missing_tags": "position, orientation, pixel spacing, size, rescale or identifiers are missing",
    "bad_tags": "position, orientation, pixel spacing, size or rescale hold impossible values",
    "not_hu": "the rescaled values are not Hounsfield units: RescaleType is another (US, OD, Z_EFF, HU_MOD)",
    "incomplete": "files beside it that look like its own cannot be read: replace or remove them",
    "mixed": "slices of several patients, studies, frames of reference, scanners, kernels or thicknesses",
    "too_few_slices": "fewer axial slices than the configuration requires",
    "inconsistent": "slices differ in size, spacing, orientation or alignment, or are unevenly spaced",
    "several_volumes": "several acquisitions or time phases of the same region, or interleaved ones",
    "duplicate_slices": "two different slices at the same position",
    "gap": "one or more slices are missing between others",
    "tilted": "slices are sheared against each other (tilted gantry, sheared NIfTI affine)",
    "not_axial": "not an axial scan: its axes are too far from the patient's",
    "implausible_hu": "no air near -1000 HU or no soft tissue near 0 HU: wrong, lost or doubled rescale",
    "no_lungs": "no lungs are found in the volume: another part of the body",
    "no_heart": "no heart is found between the lungs",
    "no_segmentation": "the configuration takes regions from segmentations, and none of the series is usable",
}
"""Every reason to refuse a series, and what it means."""


class Rejected(InputError):
    """A series that cannot be used: `reason` is a key of REASONS, `detail` gives specifics."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Build the message; `detail` must not identify a patient: no paths, identifiers or dates."""
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {REASONS[reason]}" + (f" ({detail})" if detail else ""))

    def __reduce__(self) -> tuple[type["Rejected"], tuple[str, str]]:
        """Rebuild from both parts, so that the error can be pickled by a worker process."""
        return type(self), (self.reason, self.detail)


def canonical(
    voxels: NDArray[np.int16], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int16], Triple, Triple]:
    """Transpose and flip a volume into the canonical orientation, without resampling.

    `affine` [4, 4] takes the array's indices, in the array's own axis order, to LPS mm. Returns the voxels
    [slices, rows, columns], the voxel size in mm, and the LPS position of voxel (0, 0, 0). Raises
    Rejected("not_axial") where an axis is more than MAX_OBLIQUE_DEGREES from the patient's.
    """
    steps = affine[:3, :3]
    sizes = np.linalg.norm(steps, axis=0)
    cosines = steps / sizes
    axes = np.abs(cosines).argmax(axis=1)[::-1]  # the array's axis along z, then y, then x
    signed = cosines[[2, 1, 0], axes]
    if len(set(axes)) < 3 or np.abs(signed).min() < np.cos(np.radians(MAX_OBLIQUE_DEGREES)):
        raise Rejected("not_axial", f"{np.degrees(np.arccos(np.abs(signed).min())):.0f} degrees off")
    corner = np.zeros(3)
    flips = [slice(None)] * 3
    for position, (axis, sign) in enumerate(zip(axes, signed)):
        if sign < 0:
            flips[position] = slice(None, None, -1)
            corner[axis] = voxels.shape[axis] - 1
    origin = steps @ corner + affine[:3, 3]
    z, y, x = sizes[axes].tolist()
    return np.ascontiguousarray(voxels.transpose(axes)[tuple(flips)]), (z, y, x), tuple(origin.tolist())
