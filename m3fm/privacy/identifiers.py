"""Keyed hashes, by DICOM tag, of what identifies a patient in a source; the values themselves are not kept.

Every text, name, date and UID of a header counts, private ones included, except those that a dataset keeps
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

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from m3fm.ct.tags import Tags, read_tags, tag_of
from m3fm.privacy.pseudonyms import Salt

Words = tuple[str, ...]

KEPT = ("Manufacturer", "ManufacturerModelName", "ConvolutionKernel")
"""Tags of the scanner that a dataset keeps."""
IDENTIFYING = frozenset(
    {
        *("PatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "AccessionNumber"),
        *("StudyID", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
        *("DeviceSerialNumber", "ClinicalTrialSubjectID", "MedicalRecordLocator", "IssuerOfPatientID"),
    }
)
"""Tags whose texts are always a leak; another text is not a leak where the scanner has the same name."""
TEXTS = frozenset({"AE", "LO", "LT", "SH", "ST", "UC", "UN", "UR", "UT"})
IDENTITIES = frozenset({"DA", "DT", "PN", "UI"})
EACH_IMAGE_HAS_ONE = frozenset(map(tag_of, ("SOPInstanceUID", "ReferencedSOPInstanceUID")))
"""Tags of which each image has its own, not remembered: any UID is a leak, remembered or not."""
STANDARD_UID = "1.2.840.10008."
"""Prefix of the UIDs in the DICOM standard itself."""

NOT_IN_DATASETS = Path(__file__).parents[1] / "questions"
"""Sources that hold the words of questions, thousands of everyday ones; a dataset has no questions."""

LONGEST = 6
"""Most words that are compared at once; a longer text is compared by every run of this length."""
SHORTEST_RUN = 4
"""Least number of printable characters in a row that are a text in bytes of an unknown kind."""
_CHARACTER_SET = tag_of("SpecificCharacterSet")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")
_WORD = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")
"""Decimal number or UID, or letters and digits."""


class Seen(NamedTuple):
    """Keyed hashes of what must not be written, by tag, and of what may be, because the dataset keeps it."""

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


class Identifiers:
    """Identifying values in the headers of a series."""

    def __init__(self, salt: Salt) -> None:
        self._salt = salt
        self._identifying, self._other = defaultdict[str, set[Words]](set), defaultdict[str, set[Words]](set)
        self._kept: set[Words] = set()
        self._before: set[object] = set()

    def add(self, tags: Tags) -> None:
        """Remember the values of one header, nested ones included; a repeated value is decoded once."""
        for value in self._values(tags):
            texts = [_text(part) for part in (value.value if value.VM > 1 else [value.value])]
            name = value.keyword or f"({value.tag.group:04x},{value.tag.element:04x})"
            forms = (form for text in texts for form in _forms(value.VR, text))
            if name in KEPT:
                self._kept.update(run for text in texts for run in runs(words(text)))
            elif value.VR in IDENTITIES or name in IDENTIFYING:
                self._identifying[name].update(forms)
            else:
                self._other[name].update(form for form in forms if not _vocabulary().issuperset(form))

    def seen(self) -> Seen:
        """Return the keyed hashes of the remembered values."""
        return Seen(
            {name: _keyed(self._salt, forms) for name, forms in sorted(self._identifying.items()) if forms},
            {name: _keyed(self._salt, forms) for name, forms in sorted(self._other.items()) if forms},
            _keyed(self._salt, self._kept),
        )

    def _values(self, tags: Tags) -> Iterator[DataElement]:
        """Yield the decoded texts, names, dates and UIDs that no earlier header had."""
        dataset, charset = None, str(tags.raw.get(_CHARACTER_SET))
        for tag, found in tags.raw.items():
            if isinstance(found, tuple):
                vr, value = found
                seen = (tag, vr, charset, value)
                if seen in self._before or not _matters(tag, vr):
                    continue
                self._before.add(seen)
            dataset = tags.dataset() if dataset is None else dataset
            yield from _flat(dataset, tag)


def in_headers(files: Iterable[Path], salt: Salt) -> Seen:
    """Return keyed hashes of the identifying values in headers; files without readable header are skipped."""
    identifiers = Identifiers(salt)
    for file in files:
        try:
            tags = read_tags(file)
        except Exception:  # whatever a damaged file makes pydicom raise
            continue
        identifiers.add(tags)
    return identifiers.seen()


def in_tables(identifiers: Iterable[str], salt: Salt) -> list[int]:
    """Return keyed hashes of the identifiers in a source's tables."""
    return _keyed(salt, {form for text in identifiers for form in _forms("LO", text)})


def _keyed(salt: Salt, forms: set[Words]) -> list[int]:
    return sorted(keyed(salt, form) for form in forms)


def _matters(tag: int, vr: str | None) -> bool:
    if tag in EACH_IMAGE_HAS_ONE:
        return False
    if vr is None:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            vr = "UN"
    return vr == "SQ" or vr in TEXTS or vr in IDENTITIES


def _flat(dataset: Dataset, tag: int) -> Iterator[DataElement]:
    """Yield the value of a tag, or of a sequence all values, that are to be remembered."""
    try:
        element = dataset[tag]
    except Exception:  # a value that its VR does not allow: the dataset cannot have read it either
        return
    if element.VR == "SQ":
        for item in element.value:
            for nested in item.keys():  # noqa: SIM118 (else one value that cannot be decoded ends the loop)
                yield from _flat(item, nested)
        return
    remembered = element.tag not in EACH_IMAGE_HAS_ONE and not element.tag.is_private_creator
    if element.value and remembered and (element.VR in TEXTS or element.VR in IDENTITIES):
        yield element


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin1")
    # The tags and lengths between the texts of an undecoded sequence are not printable.
    return " ".join(run for run in _PRINTABLE.findall(text) if len(run) >= SHORTEST_RUN)


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
            yield from (form for form in found if _is_distinctive(form, shortest=3))
        case _:
            found = [form for form in _windows(words(text)) if _is_distinctive(form, shortest=4)]
            yield from found
            # A number may have lost its leading zeros as an integer.
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


def _is_distinctive(form: Sequence[str], shortest: int) -> bool:
    """Report whether a run of words differs from what any dataset may contain."""
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
