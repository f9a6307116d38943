"""What is read without pydicom is what pydicom reads, and damage leads to nothing but a reason."""

import contextlib
from io import BytesIO
from pathlib import Path

import dicom_series as series
import malformed
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed import KINDS

from m3fm.ct import dicom, tags
from m3fm.ct.geometry import Rejected
from m3fm.ct.headers import _WANTED
from m3fm.dataset.examine import quiet_pydicom

BY_PYDICOM = {"deflated", "big endian"}


@pytest.mark.integration
@pytest.mark.parametrize("kind", [kind for kind, (reason, _) in KINDS.items() if reason != "multi_frame"])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_the_tags_are_those_that_pydicom_finds(kind, tmp_path):
    file = malformed.write(kind, tmp_path, "1.2.3")[0]
    quick = tags.read_tags(file, _WANTED)
    slow = tags._by_pydicom(file, _WANTED)
    assert quick.values == slow.values
    assert (quick.syntax, quick.byteorder) == (slow.syntax, slow.byteorder)
    if quick.pixels:
        start, length = quick.pixels
        assert file.read_bytes()[start : start + length] == pydicom.dcmread(file).PixelData


@pytest.mark.integration
@pytest.mark.parametrize("kind", sorted(set(KINDS) - BY_PYDICOM))
def test_usual_files_are_read_without_pydicom(kind, tmp_path, monkeypatch):
    file = malformed.write(kind, tmp_path, "1.2.3")[0]
    if kind != "no pixels" and not kind.startswith(("segmentation", "report", "radiotherapy")):
        monkeypatch.setattr(tags, "_by_pydicom", None)
    tags.read_tags(file, _WANTED)


def test_a_header_longer_than_the_first_read(tmp_path):
    (dataset,) = series.datasets(series.volume(1))
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "OB", bytes(200_000))
    (file,) = series.write(tmp_path, [dataset])
    found = tags.read_tags(file, _WANTED)
    assert found.pixels is not None
    assert found.pixels[0] > 200_000
    np.testing.assert_array_equal(found.values, tags._by_pydicom(file, _WANTED).values)


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
        for read in (lambda: dicom.read_series(files), lambda: dicom.describe(files[victim])):
            with contextlib.suppress(Rejected):
                read()


@pytest.mark.parametrize("wrong", [-20, -1, 1, 6, 5000])
@pytest.mark.parametrize("kind", ["sound", "implicit VR"])
def test_a_wrong_length_of_the_meta_information_is_seen(tmp_path, kind, wrong):
    file = malformed.write(kind, tmp_path, "1.2.3")[0]
    content = bytearray(file.read_bytes())
    told = int.from_bytes(content[140:144], "little")
    content[140:144] = (told + wrong).to_bytes(4, "little")
    right = tags.read_tags(file, _WANTED)
    file.write_bytes(content)
    assert tags.read_tags(file, _WANTED).values == right.values


def test_bytes_are_read_from_where_pydicom_would(tmp_path):
    """A file with something behind its pixels."""
    (dataset,) = series.datasets(series.volume(1))
    dataset.add_new(0xFFFCFFFC, "OB", bytes(64))
    (file,) = series.write(tmp_path, [dataset])
    start, length = tags.read_tags(Path(file), _WANTED).pixels
    assert BytesIO(file.read_bytes()[start : start + length]).getvalue() == dataset.PixelData
