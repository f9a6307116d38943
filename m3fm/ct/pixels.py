"""Pixels of one DICOM file to HU, in as few passes as exactness allows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import pixel_array

from m3fm.ct.geometry import PADDING_HU, Rejected
from m3fm.ct.tags import read_dataset

_LIMITS = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Storage of a file's pixels, and their conversion to HU."""

    place: tuple[int, int] | None
    """Offset of their bytes in the file and the declared number; None where they are compressed."""
    bits_allocated: int
    bits_stored: int
    high_bit: int
    """Place of a value's highest bit among those allocated; bits of no value may hold overlays."""
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    """Lowest and highest stored value that mark padding."""

    @property
    def direct(self) -> bool:
        """Whether the bytes in the file are int16 or uint16 and can be read as they are."""
        return self.place is not None and self.bits_allocated == 16

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and the highest value that can be stored."""
        values = 1 << self.bits_stored
        return (-values // 2, values // 2 - 1) if self.signed else (0, values - 1)


def check_length(pixels: Pixels, shape: tuple[int, int], where: str) -> None:
    """Refuse a file that declares fewer bytes than its rows and columns need."""
    if pixels.place and pixels.place[1] < shape[0] * shape[1] * (pixels.bits_allocated // 8):
        raise Rejected("unreadable", f"{where}: fewer pixels than rows times columns")


def read_hu(file: Path, pixels: Pixels, out: NDArray[np.int16], where: str) -> None:
    """Read the pixels of a file into `out` [rows, columns] as HU; padding becomes -1024.

    Raises Rejected("unreadable") where they are cut short or no decoder reads them.
    """
    try:
        stored = _read_direct(file, pixels, out) if pixels.direct else _decode(file, pixels)
    except (Rejected, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # each decoder raises its own errors; a panic in Rust is not an Exception
        raise Rejected("unreadable", f"{where}: {type(error).__name__}") from error
    if stored.shape != out.shape:
        raise Rejected("unreadable", f"{where}: the pixels are not rows times columns")
    _to_hu(stored, pixels, out)


def _read_direct(file: Path, pixels: Pixels, out: NDArray[np.int16]) -> NDArray[Any]:
    """Read the bytes of the file straight into `out` [rows, columns]; return a view of it."""
    assert pixels.place is not None
    with file.open("rb", buffering=0) as stream:
        stream.seek(pixels.place[0])
        if stream.readinto(out.data.cast("B")) < out.nbytes:
            raise EOFError
    stored = out if pixels.signed else out.view(np.uint16)
    _keep_stored_bits(stored, pixels)
    return stored


def _decode(file: Path, pixels: Pixels) -> NDArray[Any]:
    # pydicom's own correction takes HighBit to be BitsStored - 1.
    stored = pixel_array(read_dataset(file), raw=True, correct_unused_bits=False)
    stored = stored.astype(stored.dtype.newbyteorder("="))
    _keep_stored_bits(stored, pixels)
    return stored


def _keep_stored_bits(stored: NDArray[Any], pixels: Pixels) -> None:
    """Move the stored bits of values [rows, columns] to the lowest place; others become 0, or the sign."""
    above, beside = pixels.bits_allocated - 1 - pixels.high_bit, pixels.bits_allocated - pixels.bits_stored
    if beside and above == beside and not pixels.signed:
        stored &= stored.dtype.type(pixels.stored_range[1])
    elif beside:
        stored <<= above
        stored >>= beside


def _to_hu(stored: NDArray[Any], pixels: Pixels, out: NDArray[np.int16]) -> None:
    """Convert stored values to HU in `out` [rows, columns]; `stored` may be a view of it."""
    padded = _padded(stored, pixels)
    if _fits(stored, pixels):
        # Modulo 2**16 the sum is right for signed and unsigned stored values.
        np.add(stored.view(np.int16), np.int16(pixels.intercept), out=out)
    elif pixels.slope.is_integer() and pixels.intercept.is_integer():
        hu = stored.astype(np.int64) * int(pixels.slope) + int(pixels.intercept)
        out[:] = hu.clip(_LIMITS.min, _LIMITS.max)
    else:
        out[:] = np.rint(stored * pixels.slope + pixels.intercept).clip(_LIMITS.min, _LIMITS.max)
    if padded is not None:
        # Padding values that could be tissue are kept: replacing them would punch holes into the body.
        out[padded & ((out < -1000) | (out > 3000))] = PADDING_HU


def _padded(stored: NDArray[Any], pixels: Pixels) -> NDArray[np.bool_] | None:
    """Return a mask of the values declared as padding, or None without any."""
    if pixels.padding is None:
        return None
    low, high = pixels.padding
    padded = stored == low if low == high else (stored >= low) & (stored <= high)
    return padded if padded.any() else None


def _fits(stored: NDArray[Any], pixels: Pixels) -> bool:
    """Return whether HU are the 16-bit values plus a whole number, all within the range of int16."""
    shift = pixels.intercept
    if pixels.slope != 1 or not shift.is_integer() or abs(shift) > _LIMITS.max or stored.itemsize != 2:
        return False
    low, high = pixels.stored_range
    if low + shift >= _LIMITS.min and high + shift <= _LIMITS.max:
        return True
    return int(stored.min()) + shift >= _LIMITS.min and int(stored.max()) + shift <= _LIMITS.max
