"""Files that look like images and cannot be read, and the series that they may be of.

An unread file is taken for a slice of the series in its folder: of those whose files have its name but for
the last number, or else of all of them. Files of another kind (README, DICOMDIR, .xml, .jpg) are not slices.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from m3fm.ct.headers import NAMELESS

UNREAD = {
    "empty": "it has no bytes",
    "no_permission": "its permissions do not let it be read",
    "not_openable": "the system fails to read it",
    "broken_link": "a symbolic link that leads nowhere",
    "compressed": "gzip, bzip2, xz, zip or zstd around it: unpack it",
    "nameless": "DICOM that is damaged before it names its series, or names none",
    "not_dicom": "its content is not DICOM",
}
"""Every reason not to read a file, and what it means."""
IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima", ".img", ".acr"})
_PACKED = re.compile(r"\.(gz|bz2|xz|zip|zst|z|part|partial|filepart|crdownload|tmp)$", re.IGNORECASE)
"""Endings that packing, or an unfinished transfer, adds to a name."""
_SUFFIX = re.compile(r"\.[a-z]\w{0,5}", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_PACKERS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
"""First bytes of packed files."""


class Unread(NamedTuple):
    """A file that cannot be read."""

    reason: str
    """A key of UNREAD."""
    series: list[str]
    """SeriesInstanceUIDs of the series that it may be of."""


class Name(NamedTuple):
    """The parts of a file's name that the slices of one series share."""

    shape: str
    """The name with # for its last number."""
    suffix: str

    @classmethod
    def of(cls, name: str) -> "Name":
        """Take a file's name apart."""
        bare = _bare(name)
        return cls(_LAST_NUMBER.sub("#", bare), Path(bare).suffix.lower())

    @property
    def has_own_suffix(self) -> bool:
        """Whether the suffix says of what kind the file is; the last part of a UID does not."""
        return _SUFFIX.fullmatch(self.suffix) is not None


def find_unread(paths: Iterable[Path], series: Mapping[str, Sequence[Path]]) -> dict[Path, Unread]:
    """Find the files that look like images and cannot be read; `series` is what `index` finds in `paths`."""
    nameless = set(series.get(NAMELESS, ()))
    read = {file: uid for uid, files in series.items() if uid != NAMELESS for file in files}
    others = [path for path in paths if path not in read]
    beside: dict[Path, dict[str, set[Name]]] = {path.parent: defaultdict(set) for path in others}
    for file, uid in read.items():
        if file.parent in beside:
            beside[file.parent][uid].add(Name.of(file.name))
    found = {}
    for path in others:
        if path.with_name(_bare(path.name)) in read:
            continue  # the packed copy, or the unfinished transfer, of a file that is there
        series_of = _series_of(path.name, beside[path.parent], path in nameless)
        if series_of is not None:
            found[path] = Unread("nameless" if path in nameless else _why(path), series_of)
    return found


def count_beside(unread: Iterable[Unread]) -> dict[str, Counter[str]]:
    """Count the unread files that may be of each series, by reason; a series without any is not a key."""
    counts: dict[str, Counter[str]] = {}
    for file in unread:
        for uid in file.series:
            counts.setdefault(uid, Counter())[file.reason] += 1
    return counts


def reasons_of(counts: Mapping[str, int]) -> str:
    """Describe numbers of unread files by their reasons."""
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(counts.items()))


def _bare(name: str) -> str:
    """Return a file's name without what packing or transfer has added to it."""
    return _PACKED.sub("", name)


def _series_of(name: str, beside: Mapping[str, set[Name]], is_dicom: bool) -> list[str] | None:
    """Return the series in the same folder that a file may be of, or None where it looks like no image."""
    if name.startswith(".") and not is_dicom:
        return None  # what systems leave beside a file, under its name
    own = Name.of(name)
    alike = [uid for uid, names in beside.items() if own.shape in (other.shape for other in names)]
    if alike:
        return alike
    suffixes = {other.suffix for names in beside.values() for other in names if other.has_own_suffix}
    return list(beside) if is_dicom or own.suffix in suffixes or _looks_like_image(name) else None


def _looks_like_image(name: str) -> bool:
    """Check for a name that images have: a suffix of theirs, or none and a number."""
    own = Name.of(name)
    if own.suffix in IMAGE_SUFFIXES:
        return True
    return not own.has_own_suffix and not _PACKED.search(name) and any(map(str.isdigit, name))


def _why(path: Path) -> str:
    """Return the key of UNREAD for a file that does not hold an image."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except PermissionError:
        return "no_permission"
    except OSError:
        return "not_openable" if os.path.exists(path) else "broken_link"
    if not start:
        return "empty"
    return "compressed" if start.startswith(_PACKERS) else "not_dicom"
