"""Reading of DICOM CT series into HU volumes; an unreliable series is refused with a named reason.

All headers are read, each once, and checked before the first pixel is read: most bad series cost no more.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3fm.ct.arrange import Geometry, check, in_order, measure
from m3fm.ct.geometry import Rejected, canonical
from m3fm.ct.headers import Header, check_constant, describe, index, read, to_header
from m3fm.ct.pixels import check_length, read_hu
from m3fm.ct.plausible import check_hu, measure_hu
from m3fm.ct.tags import Tags
from m3fm.ct.unread import reasons_of
from m3fm.ct.volume import Series

__all__ = ["Survey", "index", "read_series", "read_volume", "survey"]

NONE_UNREAD: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Survey:
    """Headers of a series, read and measured before any pixel is."""

    slices: list[Header]
    """In order, without copies and unusable files."""
    geometry: Geometry
    refusal: Rejected | None
    """Fault of the first unusable file, or else of all files together."""
    first: dict[str, Any]
    """Description of the first file, as fields of Series, even where its slice is unusable."""

    @property
    def padded(self) -> bool:
        """Whether files declare a padding value."""
        return any(header.pixels.padding is not None for header in self.slices)


def survey(
    files: Sequence[Path],
    inspect: Callable[[Tags], object] | None = None,
    unread: Mapping[str, int] = NONE_UNREAD,
) -> Survey:
    """Read the headers of the files of one series, each once; `inspect` is called with the tags of each.

    `unread` counts the files beside it that cannot be read, by reason; with any, the series is incomplete.
    """
    headers, refusal, first = [], None, dict[str, Any]()
    for number, file in enumerate(files, 1):
        where = f"file {number} of {len(files)}"
        try:
            tags = read(file, where)
            if inspect:
                inspect(tags)
            first = describe(tags) if number == 1 else first
            headers.append(to_header(tags, file, where))
        except Rejected as rejected:
            refusal = refusal or rejected
    try:
        check_constant(headers)
        slices = _without_copies(headers)
    except Rejected as rejected:
        slices, refusal = headers, refusal or rejected
    if unread:
        refusal = refusal or Rejected("incomplete", reasons_of(unread))
    slices = in_order(slices) if slices else []
    return Survey(slices, measure(slices, len(files), len(headers) - len(slices)), refusal, first)


def read_series(
    files: Sequence[Path], min_slices: int = 2, unread: Mapping[str, int] = NONE_UNREAD
) -> Series:
    """Read the files of one series into HU in the canonical orientation; `unread` is as for `survey`.

    Raises Rejected with any reason of REASONS but no_lungs and no_heart.
    """
    surveyed = survey(files, unread=unread)
    series = read_volume(surveyed, min_slices)
    check_hu(measure_hu(series.voxels, surveyed.padded))
    return series


def read_volume(surveyed: Survey, min_slices: int) -> Series:
    """Read a surveyed series into HU in the canonical orientation; its headers must make one axial volume.

    Raises Rejected with any reason of REASONS but implausible_hu, no_lungs and no_heart.
    """
    if surveyed.refusal:
        raise surveyed.refusal
    slices = surveyed.slices
    check(slices, surveyed.geometry, min_slices)
    where = [f"slice {number} of {len(slices)}" for number in range(len(slices))]
    # Check before allocating memory: rows and columns may hold anything.
    for header, name in zip(slices, where):
        check_length(header.pixels, header.shape, name)
    voxels = np.empty((len(slices), *slices[0].shape), np.int16)
    for header, out, name in zip(slices, voxels, where):
        read_hu(header.file, header.pixels, out, name)
    voxels, voxel_size, origin = canonical(voxels, _affine(slices))
    instance_first, instance_last = _instances(slices)
    return Series(
        voxels=voxels,
        voxel_size=voxel_size,
        origin_mm=origin,
        **describe(slices[0].description),
        instance_first=instance_first,
        instance_last=instance_last,
    )


def _instances(slices: Sequence[Header]) -> tuple[int, int]:
    """Return the InstanceNumbers of first and last slice, or (0, 0) where they do not locate the others.

    They do where every slice has a number, within half a step of an even rise or fall from first to last.
    """
    numbers = [header.instance_number for header in slices if header.instance_number is not None]
    if len(numbers) < len(slices) or numbers[0] == numbers[-1]:
        return 0, 0
    even, step = np.linspace(numbers[0], numbers[-1], len(numbers), retstep=True)
    return (numbers[0], numbers[-1]) if (np.abs(numbers - even) < abs(step) / 2).all() else (0, 0)


def _affine(slices: Sequence[Header]) -> NDArray[np.float64]:
    """Return the affine [4, 4] from indices (slice, row, column) to LPS mm, with the mean slice step."""
    first = slices[0]
    along_columns, along_rows = first.orientation.reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = (slices[-1].position - first.position) / (len(slices) - 1)
    affine[:3, 1] = along_rows * first.spacing[0]
    affine[:3, 2] = along_columns * first.spacing[1]
    affine[:3, 3] = first.position
    return affine


def _without_copies(headers: Sequence[Header]) -> list[Header]:
    """Leave out files that repeat the instance, pixels and position of an earlier file.

    Two different images with one instance UID are both kept; checking their positions finds them.
    """
    instances: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        instances[header.instance_uid].append(header)
    copies: set[int] = set()
    for uid, alike in instances.items():
        for earlier, later in combinations(alike if uid else [], 2):
            if id(later) not in copies and _same_image(earlier, later):
                copies.add(id(later))
    return [header for header in headers if id(header) not in copies]


def _same_image(one: Header, other: Header) -> bool:
    if one.shape != other.shape or not np.allclose(one.position, other.position):
        return False
    hu = np.empty((2, *one.shape), np.int16)
    for header, out in zip((one, other), hu):
        check_length(header.pixels, header.shape, "a file that occurs twice")
        read_hu(header.file, header.pixels, out, "a file that occurs twice")
    return bool((hu[0] == hu[1]).all())
