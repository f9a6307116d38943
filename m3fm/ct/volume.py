"""One CT series in memory, and its conversion from and to NIfTI."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3fm.ct.geometry import SPACING_MM, Rejected, Triple, canonical
from m3fm.ct.plausible import check_hu, measure_hu

_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Affine from LPS (DICOM) to RAS (NIfTI) and back."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """HU in the canonical orientation (see `m3fm.ct.geometry`), with fields of its files' headers.

    Holds the patient's identifiers, which leave this object only as salted hashes.
    """

    voxels: NDArray[np.int16]
    """[slices, rows, columns]."""
    voxel_size: Triple
    """mm along slices, rows and columns."""
    origin_mm: Triple
    """LPS position (x, y, z) of voxel (0, 0, 0)."""
    series_uid: str = ""
    study_uid: str = ""
    patient_id: str = ""
    study_date: str = ""
    """YYYYMMDD."""
    manufacturer: str = ""
    model: str = ""
    kernel: str = ""
    thickness_mm: float = 0.0
    """SliceThickness, 0 where the files lack it; never the spacing."""
    instance_first: int = 0
    """InstanceNumber of slice index 0; both are 0 where the files' numbers locate no slice."""
    instance_last: int = 0
    """InstanceNumber of the last slice."""
    timepoint: str = ""
    """ClinicalTrialTimePointID."""


def read_nifti(path: Path) -> Series:
    """Read a 3D NIfTI volume of HU, stored in any orientation.

    Raises Rejected: unreadable, derived, multi_frame, too_few_slices, missing_tags, bad_tags, not_axial,
    implausible_hu.
    """
    import nibabel

    try:
        image = nibabel.load(path)
        stored = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel, gzip and zlib each raise their own errors
        raise Rejected("unreadable", type(error).__name__) from error
    if stored.dtype.kind not in "iuf":
        raise Rejected("derived", "colours or complex numbers")
    if stored.ndim > 3:
        raise Rejected("multi_frame", f"{stored.ndim} dimensions")
    if stored.ndim < 3 or min(stored.shape) < 2:
        raise Rejected("too_few_slices", "the image is not a volume")
    if not (image.header["sform_code"] or image.header["qform_code"]):
        raise Rejected("missing_tags", "the NIfTI header lacks an orientation")
    _check_spacing(image.affine)
    voxels, voxel_size, origin = canonical(_whole(stored), _RAS @ image.affine)
    check_hu(measure_hu(voxels))
    return Series(voxels=voxels, voxel_size=voxel_size, origin_mm=origin)


def _check_spacing(affine: NDArray[np.float64]) -> None:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sizes.min() >= SPACING_MM[0] and sizes.max() <= SPACING_MM[1]):
        raise Rejected("bad_tags", f"voxels of {' x '.join(f'{size:g}' for size in sizes)} mm")


def _whole(stored: NDArray[Any]) -> NDArray[np.int16]:
    """Round the values to int16, clipped to its range."""
    if stored.dtype == np.int16:
        return stored
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise Rejected("implausible_hu", "some values are not finite")
    limits = np.iinfo(np.int16)
    return np.rint(stored).clip(limits.min, limits.max).astype(np.int16)


def write_nifti(series: Series, path: Path) -> None:
    """Write the voxels and their geometry, and nothing that identifies the patient."""
    import nibabel

    nibabel.save(to_nifti(series), path)


def to_nifti(series: Series) -> Any:
    """Return the voxels and their geometry as a `nibabel.Nifti1Image`."""
    import nibabel

    affine = np.diag([*series.voxel_size[::-1], 1.0])
    affine[:3, 3] = series.origin_mm
    image = nibabel.Nifti1Image(series.voxels.transpose(2, 1, 0), _RAS @ affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    return image
