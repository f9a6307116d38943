"""Files beside a series are read, or the series says that they are not; and links lead where they point."""

import functools
import gzip
import json
import os
import tempfile
import zipfile
from pathlib import Path

import malformed
import numpy as np
import pandas as pd
import permissions
import pydicom
import pytest
import SimpleITK as sitk
from malformed import CHEST, SLICES
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from m3fm.cohort.source import open_source
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.core.files import files_below
from m3fm.ct import dicom
from m3fm.ct.geometry import Rejected
from m3fm.ct.read import read_ct
from m3fm.ct.unread import UNREAD, Unread, count_beside, find_unread
from m3fm.dataset.curate import curate

UID = "1.2.3"


def write(folder: Path, kind: str = "sound", uid: str = UID) -> list[Path]:
    """Write a series, and list its files from the feet to the head."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents(kind, uid).items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents(kind, uid)]


@functools.cache
def contents(kind: str, uid: str) -> dict[str, bytes]:
    """Make the files of a series once, from the feet to the head."""
    with tempfile.TemporaryDirectory() as folder:
        files = malformed.write(kind, Path(folder), uid)
        files.sort(key=lambda file: int(file.stem.split("-")[1]))
        return {file.name: file.read_bytes() for file in files}


# Files without the 128 bytes and the four letters that DICOM files begin with.


def headless(content: bytes, form: str) -> bytes:
    meta_length = int.from_bytes(content[140:144], "little")
    match form:
        case "no preamble":
            return content[132:]
        case "no preamble, but the letters":
            return content[128:]
        case "no length of the meta information":
            return content[144:]
        case "no preamble and no meta information":
            return content[144 + meta_length :]
        case "a preamble and no meta information":
            return content[:132] + content[144 + meta_length :]
    raise AssertionError(form)


FORMS = (
    "no preamble",
    "no preamble, but the letters",
    "no length of the meta information",
    "no preamble and no meta information",
    "a preamble and no meta information",
)
ENCODINGS = {
    "sound": None,
    "implicit VR": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "RLE": RLELossless,
}
LOST = {
    ("RLE", "no preamble and no meta information"): "unreadable",
    ("RLE", "a preamble and no meta information"): "unreadable",
    ("big endian", "no preamble and no meta information"): "incomplete",
}
"""What is refused, and how: without meta information nothing says that pixels are compressed, and a file of
big endian does not begin like others."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ENCODINGS)
def test_files_that_do_not_begin_as_dicom_files_do_are_read(tmp_path, kind, form):
    files = write(tmp_path, kind)
    expected = {file.name: pydicom.dcmread(file).pixel_array for file in files}
    for file in files[:15]:
        file.write_bytes(headless(file.read_bytes(), form))
    if (kind, form) in LOST:
        assert reason_and_detail(tmp_path)[0] == LOST[kind, form]
        return
    assert dicom.index([tmp_path])[UID] == sorted(files)
    np.testing.assert_array_equal(read_ct(tmp_path).voxels, CHEST)
    if form in ("no preamble", "no length of the meta information"):
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(files[3]), imageIO="GDCMImageIO"))[0]
        np.testing.assert_array_equal(image, expected[files[3].name].astype(int) - 1024)


def test_what_begins_like_dicom_by_chance_is_not_dicom(tmp_path):
    files = write(tmp_path / "s")
    for name, content in {
        "a.bin": b"\x08\x00" + bytes(100),
        "b.bin": b"\x02\x00\x01\x00UI\x04\x001.2\0" * 9,
        "c.bin": b"\x08\x00\x05\x00\x02\x00\x00\x00ab",
        "d.bin": b"DICM",
    }.items():
        (tmp_path / name).write_bytes(content)
    found = dicom.index([tmp_path])
    assert found.pop(UID) == sorted(files)
    assert set(found) <= {""}


# Files that cannot be read.


def to_gzip(file: Path) -> None:
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


def to_zip(file: Path) -> None:
    with zipfile.ZipFile(file.with_name(f"{file.name}.zip"), "w") as packed:
        packed.write(file)
    file.unlink()


def to_broken_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("gone"))


def to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


WAYS = {
    "empty": ("empty", lambda file: file.write_bytes(b"")),
    "a part of a transfer": ("empty", lambda file: file.rename(f"{file}.part").write_bytes(b"")),
    "zeros": ("not_dicom", lambda file: file.write_bytes(bytes(file.stat().st_size))),
    "cut in its preamble": ("not_dicom", lambda file: file.write_bytes(file.read_bytes()[:100])),
    "cut after its preamble": ("nameless", lambda file: file.write_bytes(file.read_bytes()[:140])),
    "cut in its header": ("nameless", lambda file: file.write_bytes(file.read_bytes()[:400])),
    "a page of a server": ("not_dicom", lambda file: file.write_text("<html>503 Service Unavailable</html>")),
    "gzip under its own name": (
        "compressed",
        lambda file: file.write_bytes(gzip.compress(file.read_bytes())),
    ),
    "gzip": ("compressed", to_gzip),
    "zip": ("compressed", to_zip),
    "a broken link": ("broken_link", to_broken_link),
    "a link to itself": ("broken_link", to_itself),
    "not permitted": ("no_permission", lambda file: file.chmod(0)),
}
"""Ways to spoil a file, and the reason why it cannot be read."""
NAMINGS = {
    "numbers": lambda number: f"{number:03d}.dcm",
    "no suffix": lambda number: f"IM{number:04d}",
    "UIDs": lambda number: f"1.2.840.99.{number}",
    "hexadecimal": lambda number: f"{number * 7919 % 65521:04x}.dcm",
}
PLACES = {"feet": range(3), "head": range(30, SLICES), "middle": (16,)}


def named(files: list[Path], naming: str) -> list[Path]:
    return [file.rename(file.with_name(NAMINGS[naming](n))) for n, file in enumerate(files)]


def reason_and_detail(folder: Path) -> tuple[str, str]:
    with permissions.obeyed(), pytest.raises(Rejected) as caught:
        read_ct(folder)
    assert str(folder) not in str(caught.value)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_a_series_with_unreadable_files_is_incomplete(tmp_path, way, place):
    files = write(tmp_path)
    for number in PLACES[place]:
        WAYS[way][1](files[number])
    reason = WAYS[way][0].replace("_", " ")
    assert reason_and_detail(tmp_path) == ("incomplete", f"{len(PLACES[place])} {reason}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("naming", NAMINGS)
def test_a_series_with_unreadable_files_is_incomplete_whatever_the_names(tmp_path, naming, way):
    files = named(write(tmp_path), naming)
    WAYS[way][1](files[-1])
    assert reason_and_detail(tmp_path) == ("incomplete", f"1 {WAYS[way][0].replace('_', ' ')}")


def test_every_reason_not_to_read_a_file_is_tried():
    assert {reason for reason, _ in WAYS.values()} == set(UNREAD) - {"not_openable"}, "needs a broken disk"


SIDE_FILES = {
    "README": b"Read me",
    "README.txt": b"",
    "LICENSE": b"Free",
    "DICOMDIR": b"",
    "Thumbs.db": bytes(600),
    ".DS_Store": b"\0\0\0\1Bud1",
    "._000.dcm": b"\0\5\26\7AppleDouble",
    "000.jpg": b"\xff\xd8\xff",
    "IM0001.xml": b"<a/>",
    "1.2.3.nii": b"",
    "report-2004.pdf": b"%PDF",
    "series.zip": b"PK\3\4",
    "patient2.tar.gz": b"\x1f\x8b",
    "checksums.md5": b"0",
    "VERSION": b"1",
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_files_of_another_kind_are_not_missed(tmp_path, naming):
    files = named(write(tmp_path), naming)
    for name, content in SIDE_FILES.items():
        (tmp_path / name).write_bytes(content)
    assert find_unread(files_below(tmp_path), {UID: files}) == {}
    np.testing.assert_array_equal(read_ct(tmp_path).voxels, CHEST)


def test_a_packed_copy_of_a_slice_that_is_there_is_not_missed(tmp_path):
    for file in write(tmp_path)[:9]:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.with_name(f"{file.name}.part").write_bytes(b"")
    np.testing.assert_array_equal(read_ct(tmp_path).voxels, CHEST)


def unread_of(tmp_path: Path, series_files: dict[str, list[str]], name: str) -> Unread | None:
    """What an empty file is taken for beside the files of several series, by name."""
    for path in (name, *(file for files in series_files.values() for file in files)):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    read = {uid: [tmp_path / file for file in files] for uid, files in series_files.items()}
    return find_unread([tmp_path / name], read).get(tmp_path / name)


@pytest.mark.parametrize(
    ("series_files", "name", "owners"),
    [
        ({"a": ["1-01.dcm"], "b": ["2-01.dcm"]}, "2-02.dcm", ["b"]),
        ({"a": ["1-01.dcm"], "b": ["2-01.dcm"]}, "3-01.dcm", ["a", "b"]),
        ({"a": ["ct.9.1.dcm"], "b": ["ct.8.1.dcm"]}, "ct.9.7.dcm.gz", ["a"]),
        ({"a": ["x/1.dcm"], "b": ["y/1.dcm"]}, "x/2.dcm", ["a"]),
        ({"a": ["x/1.dcm"]}, "y/1.dcm", []),
        ({"a": ["x/1.dcm"]}, "x/1.txt", None),
        ({"a": ["slice1.raw"]}, "other.raw", ["a"]),
        ({"a": ["IM1"]}, "x.dcm", ["a"]),
        ({"a": ["1.dcm"]}, "IM1", ["a"]),
        ({"a": ["1.dcm"]}, "notes", None),
    ],
)
def test_an_unread_file_is_of_the_series_that_has_its_name(tmp_path, series_files, name, owners):
    found = unread_of(tmp_path, series_files, name)
    assert (found and found.series) == owners


def test_unread_files_are_counted_by_series():
    files = [
        Unread("empty", ["a", "b"]),
        Unread("empty", ["a"]),
        Unread("compressed", ["a"]),
        Unread("empty", []),
    ]
    assert count_beside(files) == {"a": {"empty": 2, "compressed": 1}, "b": {"empty": 1}}


def test_a_folder_of_unreadable_files_alone_says_so(tmp_path):
    for file in write(tmp_path):
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no DICOM image that can be read \(its files: 33 empty\)"):
        read_ct(tmp_path)


@pytest.mark.integration
def test_a_source_of_unreadable_files_alone_says_so(tmp_path):
    for file in write(tmp_path / "s"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no DICOM series \(its files: 33 empty\)"):
        curate(open_source("dicom", tmp_path / "s"), tmp_path / "d", CurateConfig(), workers=1)


# Links, and folders.


def test_links_to_folders_and_files_are_followed_and_each_file_counts_once(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    files = write(elsewhere / "p2")
    root.mkdir()
    (root / "patient2").symlink_to(elsewhere / "p2")
    (root / "again").symlink_to(root / "patient2")
    (root / "one").symlink_to(files[0])
    (root / "chain").symlink_to(root / "one")
    assert [path.relative_to(root).parts[0] for path in files_below(root)] == ["again"] * SLICES
    np.testing.assert_array_equal(read_ct(root).voxels, CHEST)
    assert len(open_source("dicom", root).listing()) == 1


def test_links_to_files_are_followed(tmp_path):
    files = write(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    for number, file in enumerate(files):
        (tmp_path / "root" / f"{number}.dcm").symlink_to(file)
    np.testing.assert_array_equal(read_ct(tmp_path / "root").voxels, CHEST)


def test_links_that_lead_back_end(tmp_path):
    root = tmp_path / "root"
    files = write(root / "a" / "b")
    (tmp_path / "beside.dcm").write_bytes(b"not of this folder")
    (root / "a" / "b" / "itself").symlink_to(root / "a" / "b")
    (root / "a" / "b" / "up").symlink_to("..")
    (root / "a" / "top").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "everything").symlink_to("/")
    assert sorted(files_below(root)) == sorted(files)


def test_a_link_to_a_folder_inside_is_that_folder_once(tmp_path):
    files = write(tmp_path / "z")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    assert sorted(files_below(tmp_path)) == sorted(files)
    (tmp_path / "root").symlink_to(tmp_path / "z")
    assert len(list(files_below(tmp_path / "root"))) == SLICES


def test_a_link_that_leads_nowhere_is_a_file_of_its_own(tmp_path):
    (tmp_path / "patient2").symlink_to("/nowhere/p2")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert [path.name for path in files_below(tmp_path)] == ["loop", "patient2"]
    source = open_source("dicom", tmp_path)
    before = source.digest()
    (tmp_path / "patient2").unlink()
    (tmp_path / "patient2").symlink_to("/nowhere/else/p2")
    assert source.digest() != before


@pytest.mark.parametrize("mode", [0o000, 0o300])
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(tmp_path, mode):
    write(tmp_path / "open")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(mode)
    with permissions.obeyed():
        for read in (read_ct, lambda root: list(open_source("dicom", root).image_paths())):
            with pytest.raises(InputError, match=r"the folder .*closed cannot be read: Permission denied"):
                read(tmp_path)


def test_a_file_that_becomes_readable_changes_the_source(tmp_path):
    files = write(tmp_path)
    files[0].chmod(0)
    with permissions.obeyed():
        before = open_source("dicom", tmp_path).digest()
        files[0].chmod(0o600)
        assert open_source("dicom", tmp_path).digest() != before


# Curation.


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A sound series, one with an empty end, a folder of broken files, and a link that leads nowhere."""
    root = tmp_path_factory.mktemp("source")
    malformed.write("sound", root / "DOE^JANE", "1.2.3")
    for file in write(root / "ROE^RICHARD", uid="1.2.4")[:12]:
        file.write_bytes(b"")
    (root / "ROE^RICHARD" / "README").write_text("none of its slices")
    (root / "POE^EDGAR").mkdir()
    (root / "POE^EDGAR" / "1.dcm.gz").write_bytes(gzip.compress(b"DICM"))
    (root / "patient4").symlink_to("/nowhere/p4")
    return root


@pytest.mark.integration
def test_unread_files_are_counted_without_the_names_of_folders(source, tmp_path, caplog):
    curate(open_source("dicom", source), tmp_path / "d", CurateConfig(min_slices=20), workers=2)
    table = pd.read_parquet(tmp_path / "d" / "series.parquet")
    assert sorted(table["reason"]) == ["", "incomplete"]
    assert list(table.loc[table["reason"] == "incomplete", "detail"]) == ["12 empty"]
    counts = read_manifest(tmp_path / "d")["counts"]
    assert counts["files_of_no_series"] == 12 + 1 + 1 + 1
    assert counts["unread"] == {"empty": 12, "compressed": 1, "broken_link": 1}
    assert sorted(map(json.dumps, counts["unread_by_folder"].values())) == [
        '{"broken_link": 1}',
        '{"compressed": 1}',
        '{"empty": 12}',
    ]
    assert all(len(folder) == 16 for folder in counts["unread_by_folder"])
    written = [path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()]
    for name in (b"JANE", b"RICHARD", b"POE", b"patient4", str(source).encode()):
        assert not any(name in content for content in written)
    assert any("ROE^RICHARD cannot be read: 12 empty" in message for message in caplog.messages)


@pytest.mark.integration
def test_an_incomplete_series_is_kept_where_the_configuration_says_so(source, tmp_path):
    config = CurateConfig(min_slices=20, keep_incomplete=True)
    curate(open_source("dicom", source), tmp_path / "d", config, workers=2)
    table = pd.read_parquet(tmp_path / "d" / "series.parquet")
    assert list(table["status"]) == ["kept", "kept"]
    assert read_manifest(tmp_path / "d")["counts"]["unread"]["empty"] == 12


@pytest.mark.integration
def test_a_patient_behind_a_link_is_in_the_dataset(tmp_path):
    malformed.write("sound", tmp_path / "elsewhere" / "p2", "1.2.4")
    malformed.write("sound", tmp_path / "root" / "p1", "1.2.3")
    (tmp_path / "root" / "p2").symlink_to(tmp_path / "elsewhere" / "p2")
    curate(open_source("dicom", tmp_path / "root"), tmp_path / "d", CurateConfig(min_slices=20), workers=1)
    assert len(pd.read_parquet(tmp_path / "d" / "series.parquet")) == 2
