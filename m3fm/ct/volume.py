"""One CT series in memory, and its conversion from and to NIfTI."""

import gzip
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from m3fm.ct.arrange import MAX_TILT_DEGREES
from m3fm.ct.geometry import PADDING_HU, SPACING_MM, Rejected, Triple, canonical
from m3fm.ct.plausible import check_hu, measure_hu

AGREED_MM = 0.5
"""Largest distance between the places that sform and qform give a corner of the volume."""
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
    """Read a 3D NIfTI volume of HU, stored in any orientation; further dimensions of length 1 do not count.

    The affine is the sform's or, without one, the qform's; where both have a code, they must agree. Values
    that are not finite become -1024 HU where they are background: connected, with each other, to an edge of
    the volume. Raises Rejected: unreadable, derived, multi_frame, too_few_slices, missing_tags, bad_tags,
    tilted, not_axial, implausible_hu.
    """
    import nibabel

    try:
        image = nibabel.load(path)
        stored = np.asanyarray(image.dataobj)
        if path.name.lower().endswith(".gz"):
            _check_gzip(path)
        sform, qform = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
    except Exception as error:  # nibabel, gzip and zlib each raise their own errors
        raise Rejected("unreadable", type(error).__name__) from error
    if stored.dtype.kind not in "iuf":
        raise Rejected("derived", "colours or complex numbers")
    while stored.ndim > 3 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    if stored.ndim > 3:
        raise Rejected("multi_frame", f"{stored.ndim} dimensions")
    if stored.ndim < 3 or min(stored.shape) < 2:
        raise Rejected("too_few_slices", "the image is not a volume")
    affine = _affine(sform, qform, stored.shape)
    background = _background(stored, affine)
    if background is not None:
        stored = np.where(background, np.float64(PADDING_HU), stored)
    voxels, voxel_size, origin = canonical(_whole(stored), _RAS @ affine)
    check_hu(measure_hu(voxels, padded=background is not None))
    return Series(voxels=voxels, voxel_size=voxel_size, origin_mm=origin)


def _check_gzip(path: Path) -> None:
    """Read a file to its end, where gzip compares its checksum: nibabel stops at the last voxel."""
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def _affine(
    sform: NDArray[np.float64] | None, qform: NDArray[np.float64] | None, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the one affine [4, 4] of a NIfTI header; a form is None where its code is 0. Raises Rejected."""
    affine = qform if sform is None else sform
    if affine is None:
        raise Rejected("missing_tags", "the NIfTI header lacks an orientation")
    _check_spacing(affine)
    if sform is not None and qform is not None:
        corners = np.array([*product(*((0, size - 1) for size in shape))])
        apart = np.linalg.norm(corners @ (sform - qform)[:3, :3].T + (sform - qform)[:3, 3], axis=1).max()
        if not apart <= AGREED_MM:
            raise Rejected("bad_tags", f"sform and qform place a corner {apart:.1f} mm apart: correct one")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    shear = np.degrees(np.arcsin(np.abs(axes.T @ axes - np.eye(3)).max().clip(0, 1)))
    if shear > MAX_TILT_DEGREES:
        raise Rejected("tilted", f"the axes are sheared by {shear:.0f} degrees")
    return affine


def _check_spacing(affine: NDArray[np.float64]) -> None:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sizes.min() >= SPACING_MM[0] and sizes.max() <= SPACING_MM[1]):
        raise Rejected("bad_tags", f"voxels of {' x '.join(f'{size:g}' for size in sizes)} mm")


def _background(stored: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Return a mask [i, j, k] of the values that are not finite, or None without any.

    Raises Rejected("implausible_hu") where some lie inside the volume, or a whole slice has no value.
    """
    if stored.dtype.kind != "f" or np.isfinite(stored).all():
        return None
    missing = ~np.isfinite(stored)
    parts, _ = ndimage.label(missing)
    edges = [np.unique(parts.take(end, axis)) for axis in range(3) for end in (0, -1)]
    inside = missing & ~np.isin(parts, np.concatenate(edges))
    if inside.any():
        raise Rejected("implausible_hu", f"{int(inside.sum())} values inside the volume are not finite")
    along = int(np.abs(affine[2, :3]).argmax())
    empty = int(np.moveaxis(missing, along, 0).all(axis=(1, 2)).sum())
    if empty:
        raise Rejected("implausible_hu", f"{empty} slices have no finite value")
    return missing


def _whole(stored: NDArray[Any]) -> NDArray[np.int16]:
    """Round the values to int16, clipped to its range."""
    if stored.dtype == np.int16:
        return stored
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
