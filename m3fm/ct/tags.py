"""The few elements of a DICOM file that tell of its slice, found without decoding all the others.

pydicom takes longer for a header than a disk for the pixels. So a file of the usual kind is walked here,
from element to element, and only what is asked for is taken. Of whatever is unusual pydicom has the say.
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
"""Transfer syntaxes whose pixels lie in the file as they are."""

_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX = 0x00020010
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
"""How the meta information starts, which tells how long it is."""
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
    """What was asked for and is there: values as the file holds them, by tag."""

    values: dict[int, bytes]
    syntax: str
    """UID of the transfer syntax."""
    byteorder: Literal["little", "big"] = "little"
    pixels: tuple[int, int] | None = None
    """Where the pixels' bytes start in the file, and how many are declared; None unless they are NATIVE."""

    def text(self, tag: int) -> str:
        """A value of characters, "" where it is missing."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def integer(self, tag: int, signed: bool = False) -> int | None:
        """A value of two bytes, None where it is missing or of another length."""
        value = self.values.get(tag, b"")
        return int.from_bytes(value, self.byteorder, signed=signed) if len(value) == 2 else None


def tag(keyword: str) -> int:
    """The number of an element, by its keyword in the standard."""
    number = tag_for_keyword(keyword)
    assert number is not None, keyword
    return number


def read_tags(file: Path, wanted: frozenset[int]) -> Tags:
    """Read elements of a file, no further than the last of `wanted`; PIXELS stands for their place.

    Raises InvalidDicomError for what is no DICOM file, and whatever pydicom raises at a damaged one.
    """
    with file.open("rb", buffering=0) as stream:
        data = stream.read(_FIRST_READ)
        if data[128:132] != b"DICM":
            raise InvalidDicomError
        for more in (_SECOND_READ, 0):
            try:
                return _walk(data, wanted)
            except struct.error:  # the header goes on after what was read
                data += stream.read(more)
            except _Unusual:
                break
    return _by_pydicom(file, wanted)


def _walk(data: bytes, wanted: frozenset[int]) -> Tags:
    if data[132:140] != _META_LENGTH:
        raise _Unusual
    values: dict[int, bytes] = {}
    after = 144 + _length(data, 140)[0]
    for element, start, length in _elements(data, 144, True):
        if element >> 16 != 2 or start + length > after:
            raise _Unusual
        values[element] = data[start : start + length]
        if start + length == after:
            break
    syntax = values.get(_SYNTAX, b"").decode("ascii", "replace").strip(" \0")
    values = {element: value for element, value in values.items() if element in wanted}
    if syntax in ("", DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        raise _Unusual
    last = max(wanted)
    for element, start, length in _elements(data, after, syntax != ImplicitVRLittleEndian):
        if element == PIXELS and element in wanted:
            native = syntax in NATIVE and length != _UNDEFINED
            return Tags(values, syntax, pixels=(start, length) if native else None)
        if element > last:
            return Tags(values, syntax)
        if element in wanted:
            values[element] = data[start : start + length]
            if element == last:
                if start + length > len(data):
                    raise struct.error
                return Tags(values, syntax)
    raise AssertionError("the walk ends by an error at the latest")


def _elements(data: bytes, at: int, explicit: bool) -> Iterator[tuple[int, int, int]]:
    """Tag, start and length of the value of each element from `at` on; struct.error where the data end."""
    before = 0
    while True:
        element, at, length = _head(data, at, explicit)
        if element <= before:
            raise _Unusual
        before = element
        yield element, at, length
        at = _after_sequence(data, at, explicit) if length == _UNDEFINED else at + length


def _head(data: bytes, at: int, explicit: bool) -> tuple[int, int, int]:
    """Tag of the element at a place, where its value starts, and its length."""
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
    """Where a sequence without a length ends."""
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
    """Where an item without a length ends."""
    while True:
        group, number, _ = _implicit(data, at)
        if group << 16 | number == _ITEM_END:
            return at + 8
        _, at, length = _head(data, at, explicit)
        at = _after_sequence(data, at, explicit) if length == _UNDEFINED else at + length


def _by_pydicom(file: Path, wanted: frozenset[int]) -> Tags:
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(wanted))
    values = {}
    for element in wanted:
        for source in (dataset.file_meta, dataset):
            if element in source:
                value = source.get_item(element).value
                values[element] = value if isinstance(value, bytes) else str(value).encode()
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    return Tags(values, syntax, "big" if syntax == ExplicitVRBigEndian else "little")
