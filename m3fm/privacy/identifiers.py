"""What identifies a patient in a source, remembered without being kept: keyed hashes of it, by DICOM tag.

Every text, name, date and UID of a header counts, private ones included, but for those that a dataset keeps
on purpose (KEPT). A value is compared word by word, so case, punctuation and the order of a name do not
matter. Left out is what cannot be distinguished from the dataset's own language: numbers under 10,000, texts
under four letters (three for a name), and single words that stand in this program's own source.
"""

import functools
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement

from m3fm.privacy.pseudonyms import Salt

Words = tuple[str, ...]

KEPT = ("Manufacturer", "ManufacturerModelName", "ConvolutionKernel")
"""What a dataset says of the scanner, as the headers have it."""
IDENTIFYING = frozenset(
    {
        *("PatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "AccessionNumber"),
        *("StudyID", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
        *("DeviceSerialNumber", "ClinicalTrialSubjectID", "MedicalRecordLocator", "IssuerOfPatientID"),
    }
)
"""Texts that are a leak whatever else they are; other texts are none where the scanner is called the same."""
TEXTS = frozenset({"AE", "LO", "LT", "SH", "ST", "UC", "UN", "UR", "UT"})
IDENTITIES = frozenset({"DA", "DT", "PN", "UI"})
EACH_IMAGE_HAS_ONE = frozenset({"SOPInstanceUID", "ReferencedSOPInstanceUID"})
"""Not remembered, for they are many: what looks like a UID is a leak whether it is remembered or not."""
STANDARD_UID = "1.2.840.10008."
"""How the UIDs of the DICOM standard itself begin."""

NOT_IN_DATASETS = Path(__file__).parents[1] / "questions"
"""Sources that hold the words of questions, thousands of everyday ones; a dataset has no questions."""

LONGEST = 6
"""Words that are compared at once; of a longer text, every run of so many."""
_WORD = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")
"""A decimal number or a UID, or letters and digits."""


class Seen(NamedTuple):
    """Keyed hashes: of what must not get out, by tag, and of what may, because the dataset keeps it."""

    identifying: dict[str, list[int]]
    other: dict[str, list[int]]
    kept: list[int]


def words(text: str) -> Words:
    """Return the words of a text, in lower case."""
    return tuple(_WORD.findall(text.casefold()))


def runs(text: Words) -> Iterator[Words]:
    """Yield every run of one to LONGEST words."""
    for start in range(len(text)):
        for stop in range(start + 1, min(start + LONGEST, len(text)) + 1):
            yield text[start:stop]


def keyed(salt: Salt, run: Words) -> int:
    """Hash a run of words to 64 bits that cannot be guessed back without the salt."""
    key = hashlib.sha256(salt.secret.encode()).digest()
    return int.from_bytes(hashlib.blake2b(" ".join(run).encode(), digest_size=8, key=key).digest())


def in_headers(files: Iterable[Path], salt: Salt) -> Seen:
    """Collect what identifies somebody in the headers of a series; an unreadable header has nothing."""
    identifying, other = defaultdict[str, set[Words]](set), defaultdict[str, set[Words]](set)
    kept: set[Words] = set()
    for element in _elements(files):
        texts = [_text(value) for value in (element.value if element.VM > 1 else [element.value])]
        name = element.keyword or f"({element.tag.group:04x},{element.tag.element:04x})"
        if name in KEPT:
            kept.update(run for text in texts for run in runs(words(text)))
        elif element.VR in IDENTITIES or name in IDENTIFYING:
            identifying[name].update(form for text in texts for form in _forms(element.VR, text))
        else:
            found = (form for text in texts for form in _forms(element.VR, text))
            other[name].update(form for form in found if not _vocabulary().issuperset(form))
    return Seen(
        {name: _keyed(salt, forms) for name, forms in sorted(identifying.items()) if forms},
        {name: _keyed(salt, forms) for name, forms in sorted(other.items()) if forms},
        _keyed(salt, kept),
    )


def in_tables(identifiers: Iterable[str], salt: Salt) -> list[int]:
    """Return the keyed hashes of the identifiers of a source's tables."""
    return _keyed(salt, {form for text in identifiers for form in _forms("LO", text)})


def _keyed(salt: Salt, forms: set[Words]) -> list[int]:
    return sorted(keyed(salt, form) for form in forms)


def _elements(files: Iterable[Path]) -> Iterator[DataElement]:
    """Yield the tags that matter of all headers, nested ones too; repeated values come once."""
    before: set[object] = set()
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception:  # whatever a damaged file makes pydicom raise
            continue
        for tag in header.keys():  # noqa: SIM118 (iterating over a Dataset converts its elements)
            raw = header.get_item(tag)
            if isinstance(raw, RawDataElement):
                if (tag, raw.value) in before or not _matters(tag, raw.VR):
                    continue
                before.add((tag, raw.value))
            try:
                yield from _flat(header[tag])
            except Exception:  # a value that its VR does not allow: the dataset cannot have read it either
                continue


def _matters(tag: pydicom.tag.BaseTag, vr: str | None) -> bool:
    if vr is None:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            vr = "UN"
    return vr == "SQ" or vr in TEXTS or vr in IDENTITIES


def _flat(element: DataElement) -> Iterator[DataElement]:
    if element.VR == "SQ":
        for item in element.value:
            for nested in item:
                yield from _flat(nested)
        return
    remembered = element.keyword not in EACH_IMAGE_HAS_ONE and not element.tag.is_private_creator
    if element.value and remembered and (element.VR in TEXTS or element.VR in IDENTITIES):
        yield element


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    text = value.decode("latin1").strip("\0 ")
    return text if text.isprintable() else ""


def _forms(vr: str, text: str) -> Iterator[Words]:
    """Yield the runs of words by which a value is found."""
    match vr:
        case "UI":
            if not text.startswith(STANDARD_UID):
                yield (text,)
        case "DA" | "DT":
            yield words(text)
            yield from _date_forms(text)
        case "PN":
            name = words(text)
            parts = [words(part) for part in re.split(r"[\^=]", text)]
            found = [name, *parts, tuple(part for pair in parts[1::-1] for part in pair)]
            yield from (form for form in found if _tells(form, shortest=3))
        case _:
            found = [form for form in _windows(words(text)) if _tells(form, shortest=4)]
            yield from found
            # A number may have lost its leading zeros on the way through an integer.
            yield from ((form[0].lstrip("0"),) for form in found if form[0].isdecimal() and len(form) == 1)


def _date_forms(text: str) -> Iterator[Words]:
    if found := re.match(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", text):
        year, month, day = found.groups()
        for order in ((year, month, day), (day, month, year), (month, day, year)):
            yield order
            yield (".".join(order),)
            yield ("".join(order),)


def _windows(text: Words) -> Iterator[Words]:
    for start in range(max(1, len(text) - LONGEST + 1)):
        yield text[start : start + LONGEST]


def _tells(form: Sequence[str], shortest: int) -> bool:
    """Check whether a run of words differs from what any dataset may hold."""
    if len(form) != 1:
        return sum(map(len, form)) >= 6
    (word,) = form
    if re.fullmatch(r"[\d.]+", word):
        return len(word.lstrip("0")) >= 5 and word.count(".") != 1
    return len(word) >= shortest and word not in _vocabulary()


@functools.cache
def _vocabulary() -> frozenset[str]:
    """Collect the words of this program's source: alone they may be a dataset's own."""
    paths = (path for path in NOT_IN_DATASETS.parent.rglob("*.py") if NOT_IN_DATASETS not in path.parents)
    sources = (path.read_text(encoding="utf-8") for path in sorted(paths))
    return frozenset(word for source in sources for word in words(source) if word.isalpha())
