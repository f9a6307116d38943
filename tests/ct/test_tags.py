"""Tags that are read without pydicom are those that pydicom reads, and damage leads to a reason alone."""

import contextlib
from io import BytesIO
from pathlib import Path

import dicom_series as series
import malformed
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed import KINDS
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from m3fm.ct import dicom, tags
from m3fm.ct.geometry import Rejected
from m3fm.ct.headers import _TAGS
from m3fm.dataset.examine import quiet_pydicom
from m3fm.privacy.identifiers import in_headers
from m3fm.privacy.pseudonyms import Salt

TAGS = _TAGS.values()
SALT = Salt("a salt for tests")
BY_PYDICOM = {"deflated", "big endian"}
NOT_WALKED = ("no pixels", "segmentation", "report", "radiotherapy")


@pytest.mark.integration
@pytest.mark.parametrize("kind", [kind for kind, (reason, _) in KINDS.items() if reason != "multi_frame"])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_the_tags_are_those_that_pydicom_finds(kind, tmp_path):
    file = malformed.write(kind, tmp_path, "1.2.3")[0]
    quick, slow = tags.read_tags(file), tags._by_pydicom(file)
    assert decoded(quick) == decoded(slow)
    assert [quick.value(tag) for tag in TAGS] == [slow.value(tag) for tag in TAGS]
    assert (quick.kind, quick.syntax, quick.little) == (slow.kind, slow.syntax, slow.little)
    if quick.pixels:
        start, length = quick.pixels
        assert file.read_bytes()[start : start + length] == pydicom.dcmread(file).PixelData


def decoded(found):
    """Every value as pydicom decodes and prints it, or the type of the error."""
    dataset, values = found.dataset(), {}
    for tag in found.raw:
        try:
            values[tag] = (dataset[tag].VR, str(dataset[tag].value))
        except Exception as error:
            values[tag] = type(error)
    return values


@pytest.mark.integration
@pytest.mark.parametrize("kind", sorted(set(KINDS) - BY_PYDICOM))
def test_usual_files_are_read_without_pydicom(kind, tmp_path, monkeypatch):
    file = malformed.write(kind, tmp_path, "1.2.3")[0]
    if not kind.startswith(NOT_WALKED):
        monkeypatch.setattr(tags, "_by_pydicom", None)
    tags.read_tags(file)


def test_no_more_is_read_than_is_asked_for(tmp_path):
    file = malformed.write("sound", tmp_path, "1.2.3")[0]
    last = tags.tag_of("SeriesInstanceUID")
    found = tags.read_tags(file, last)
    assert max(found.raw) == last
    assert found.text(last) == "1.2.3"
    assert found.text(tags.tag_of("Rows")) == ""


def test_a_header_longer_than_the_first_read(tmp_path):
    (dataset,) = series.datasets(series.volume(1))
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "OB", bytes(200_000))
    (file,) = series.write(tmp_path, [dataset])
    found = tags.read_tags(file)
    assert found.pixels is not None
    assert found.pixels[0] > 200_000
    assert decoded(found) == decoded(tags._by_pydicom(file))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_private_sequence_of_undefined_length(tmp_path, syntax):
    (dataset,) = series.datasets(series.volume(1))
    item = pydicom.Dataset()
    item.PatientName = "Zaphod^Trillian"
    item.is_undefined_length_sequence_item = True
    block = dataset.private_block(0x0009, "ACME", create=True)
    block.add_new(1, "SQ", [item])
    block[1].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    (file,) = series.write(tmp_path, [dataset])
    found = tags.read_tags(file)
    assert found.pixels is not None
    assert decoded(found) == decoded(tags._by_pydicom(file))
    assert found.dataset()[0x00091001].value[0].PatientName == "Zaphod^Trillian"


def test_a_file_that_is_explicit_and_says_implicit(tmp_path):
    file = malformed.write("sound", tmp_path, "1.2.3")[0]
    explicit, implicit = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"
    right = decoded(tags.read_tags(file))
    file.write_bytes(file.read_bytes().replace(explicit, implicit))
    with quiet_pydicom():
        assert decoded(tags.read_tags(file)) == right


class Sound:
    """Files of sound series in several encodings; a class, so that a failure does not print them."""

    def __init__(self, directory):
        self.contents = [
            {file.name: file.read_bytes() for file in malformed.write(kind, directory / kind, "1.2.3")}
            for kind in ("nested sequences", "nested sequences, implicit VR", "JPEG 2000", "RLE")
        ]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return Sound(tmp_path_factory.mktemp("sound"))


DAMAGES = {
    "write": lambda content, place, piece: content[:place] + piece + content[place + len(piece) :],
    "insert": lambda content, place, piece: content[:place] + piece + content[place:],
    "delete": lambda content, place, piece: content[:place] + content[place + len(piece) :],
    "cut": lambda content, place, piece: content[:place],
}
# Mostly in the header, where most can go wrong.
damage = st.tuples(
    st.sampled_from(sorted(DAMAGES)),
    st.one_of(st.integers(128, 1500), st.integers(0, 30_000)),
    st.binary(min_size=1, max_size=8),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    encoding=st.integers(0, 3),
    victim=st.integers(0, malformed.SLICES - 1),
    damages=st.lists(damage, min_size=1),
)
@pytest.mark.filterwarnings("ignore")
def test_any_damage_is_a_reason_or_is_harmless(sound, tmp_path, encoding, victim, damages):
    files = []
    for name, content in sound.contents[encoding].items():
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    content = files[victim].read_bytes()
    for kind, place, piece in damages:
        content = DAMAGES[kind](content, place, piece)
    files[victim].write_bytes(content)
    with quiet_pydicom():
        assert dicom.index(files)
        for read in (lambda: dicom.read_series(files), lambda: in_headers(files, SALT)):
            with contextlib.suppress(Rejected):
                read()


@pytest.mark.parametrize("wrong", [-20, -1, 1, 6, 5000])
@pytest.mark.parametrize("kind", ["sound", "implicit VR"])
def test_a_wrong_length_of_the_meta_information_is_seen(tmp_path, kind, wrong):
    file = malformed.write(kind, tmp_path, "1.2.3")[0]
    content = bytearray(file.read_bytes())
    declared = int.from_bytes(content[140:144], "little")
    content[140:144] = (declared + wrong).to_bytes(4, "little")
    right = decoded(tags.read_tags(file))
    file.write_bytes(content)
    assert decoded(tags.read_tags(file)) == right


def test_bytes_are_read_from_where_pydicom_would(tmp_path):
    """A file with something behind its pixels."""
    (dataset,) = series.datasets(series.volume(1))
    dataset.add_new(0xFFFCFFFC, "OB", bytes(64))
    (file,) = series.write(tmp_path, [dataset])
    start, length = tags.read_tags(Path(file)).pixels
    assert BytesIO(file.read_bytes()[start : start + length]).getvalue() == dataset.PixelData
