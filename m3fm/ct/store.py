"""The volume store: one memory-mappable `.npy` file per series."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3fm.core.errors import InputError


def write_volume(path: Path, voxels: NDArray[np.int16]) -> None:
    """Write HU [slices, rows, columns] atomically: a reader sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(voxels, dtype=np.int16))
    partial.replace(path)


def open_volume(path: Path) -> np.memmap:
    """Map a stored volume [slices, rows, columns] read-only; only the slices used are read from the disk.

    Raises InputError where the file is missing, damaged or does not hold a volume.
    """
    try:
        volume = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: curate its dataset again") from error
    if volume.dtype != np.int16 or volume.ndim != 3:
        raise InputError(f"{path} does not hold a volume of HU: curate its dataset again")
    return volume
