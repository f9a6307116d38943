"""The few DICOM tags that describe a slice, read without decoding all the others.

pydicom takes longer for a header than a disk for the pixels. So the usual kind of file is walked here, tag by
tag, and only the wanted values are taken. Unusual files are left to pydicom.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

PIXELS = 0x7FE00010
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Transfer syntaxes with uncompressed pixels."""

_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX = 0x00020010
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
"""First bytes of the meta information, before its length."""
_UNDEFINED = 0xFFFFFFFF
_FIRST_READ, _SECOND_READ = 1 << 14, 1 << 20
"""Bytes: most headers end within the first, nearly all within both."""

_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHI").unpack_from
_length = struct.Struct("<I").unpack_from


class _Unusual(Exception):
    """A file that is left to pydicom."""


@dataclass(frozen=True, slots=True)
class Tags:
    """The wanted tags that a file has: raw values by tag number."""

    values: dict[int, bytes]
    syntax: str
    """UID of the transfer syntax."""
    byteorder: Literal["little", "big"] = "little"
    pixels: tuple[int, int] | None = None
    """Offset of the pixels' bytes in the file and their declared number; None unless they are NATIVE."""

    def text(self, tag: int) -> str:
        """Return a tag's text, "" where it is missing."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def integer(self, tag: int, signed: bool = False) -> int | None:
        """Return a tag's two-byte integer, None where it is missing or of another length."""
        value = self.values.get(tag, b"")
        return int.from_bytes(value, self.byteorder, signed=signed) if len(value) == 2 else None


def tag(keyword: str) -> int:
    """Return the number of a tag by its keyword in the standard."""
    number = tag_for_keyword(keyword)
    assert number is not None, keyword
    return number


def read_tags(file: Path, wanted: frozenset[int]) -> Tags:
    """Read the `wanted` tags of a file, and no further; PIXELS asks for their offset and length only.

    Raises InvalidDicomError where it is not a DICOM file, and whatever pydicom raises for a damaged one.
    """
    with file.open("rb", buffering=0) as stream:
        data = stream.read(_FIRST_READ)
        if data[128:132] != b"DICM":
            raise InvalidDicomError
        for more in (_SECOND_READ, 0):
            try:
                return _walk(data, wanted)
            except struct.error:  # the header is longer than the bytes read
                data += stream.read(more)
            except _Unusual:
                break
    return _by_pydicom(file, wanted)


def _walk(data: bytes, wanted: frozenset[int]) -> Tags:
    if data[132:140] != _META_LENGTH:
        raise _Unusual
    values: dict[int, bytes] = {}
    after = 144 + _length(data, 140)[0]
    for number, start, length in _tags(data, 144, True):
        if number >> 16 != 2 or start + length > after:
            raise _Unusual
        values[number] = data[start : start + length]
        if start + length == after:
            break
    syntax = values.get(_SYNTAX, b"").decode("ascii", "replace").strip(" \0")
    values = {number: value for number, value in values.items() if number in wanted}
    if syntax in ("", DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        raise _Unusual
    last = max(wanted)
    for number, start, length in _tags(data, after, syntax != ImplicitVRLittleEndian):
        if number == PIXELS and number in wanted:
            native = syntax in NATIVE and length != _UNDEFINED
            return Tags(values, syntax, pixels=(start, length) if native else None)
        if number > last:
            return Tags(values, syntax)
        if number in wanted:
            values[number] = data[start : start + length]
            if number == last:
                if start + length > len(data):
                    raise struct.error
                return Tags(values, syntax)
    raise AssertionError("the walk always ends with a result or an error")


def _tags(data: bytes, at: int, explicit: bool) -> Iterator[tuple[int, int, int]]:
    """Yield number, value start and value length of each tag from `at` on; raises struct.error at the end."""
    before = 0
    while True:
        number, at, length = _head(data, at, explicit)
        if number <= before:
            raise _Unusual
        before = number
        yield number, at, length
        at = _after_sequence(data, at, explicit) if length == _UNDEFINED else at + length


def _head(data: bytes, at: int, explicit: bool) -> tuple[int, int, int]:
    """Return the number of the tag at `at`, the start of its value, and the value's length."""
    if not explicit:
        group, number, length = _implicit(data, at)
        return group << 16 | number, at + 8, length
    group, number, kind, length = _explicit(data, at)
    if kind in _SHORT:
        return group << 16 | number, at + 8, length
    if kind not in _LONG:
        raise _Unusual
    (length,) = _length(data, at + 8)
    if kind == b"UN" and length == _UNDEFINED:
        raise _Unusual
    return group << 16 | number, at + 12, length


def _after_sequence(data: bytes, at: int, explicit: bool) -> int:
    """Return the end of a sequence of undefined length."""
    while True:
        group, number, length = _implicit(data, at)
        at += 8
        kind = group << 16 | number
        if kind == _SEQUENCE_END:
            return at
        if kind != _ITEM:
            raise _Unusual
        at = _after_item(data, at, explicit) if length == _UNDEFINED else at + length


def _after_item(data: bytes, at: int, explicit: bool) -> int:
    """Return the end of an item of undefined length."""
    while True:
        group, number, _ = _implicit(data, at)
        if group << 16 | number == _ITEM_END:
            return at + 8
        _, at, length = _head(data, at, explicit)
        at = _after_sequence(data, at, explicit) if length == _UNDEFINED else at + length


def _by_pydicom(file: Path, wanted: frozenset[int]) -> Tags:
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(wanted))
    values = {}
    for number in wanted:
        for source in (dataset.file_meta, dataset):
            if number in source:
                value = source.get_item(number).value
                values[number] = value if isinstance(value, bytes) else str(value).encode()
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    return Tags(values, syntax, "big" if syntax == ExplicitVRBigEndian else "little")
