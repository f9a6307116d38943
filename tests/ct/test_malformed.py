"""Whatever comes in is kept or refused by name; nothing crashes and nothing is lost."""

import re
from pathlib import Path

import dicom_series as series
import malformed
import numpy as np
import pandas as pd
import pydicom
import pytest
from malformed import CHEST, DAMAGED, KEPT, KINDS, NO_DICOM, SLICES
from pydicom.uid import ExplicitVRLittleEndian

from m3fm.cohort.source import open_source
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import read_manifest
from m3fm.ct import dicom
from m3fm.ct.geometry import REASONS, Rejected
from m3fm.ct.headers import NAMELESS
from m3fm.ct.regions import find_regions
from m3fm.dataset.curate import curate
from m3fm.dataset.examine import CRASHED, quiet_pydicom
from m3fm.dataset.tables import MEASURED
from m3fm.dataset.validate import validate
from m3fm.privacy.pseudonyms import Salt

MIN_SLICES = 20

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def verdict(files) -> str:
    """The reason for which files are refused as a series of a chest, or KEPT."""
    refusal = None
    try:
        with quiet_pydicom():
            read = dicom.read_series(files, MIN_SLICES)
        find_regions(read.voxels, read.voxel_size)
    except Rejected as rejected:
        refusal = rejected
    if refusal is None:
        np.testing.assert_array_equal(read.voxels, np.where(read.voxels == -1024, -1024, CHEST))
        return KEPT
    for secret in (series.PATIENT, series.DATE, str(files[0].parent)):
        assert secret not in str(refusal)
    return refusal.reason


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_input_has_its_reason(kind, tmp_path):
    assert verdict(malformed.write(kind, tmp_path / "s", "1.2.3")) == KINDS[kind][0]


def test_there_are_more_than_forty_kinds_and_every_reason():
    refused = {kind: reason for kind, (reason, _) in KINDS.items() if reason}
    assert len(refused) >= 40
    elsewhere = {"no_segmentation": "test_masks.py", "incomplete": "test_unread.py"}
    assert set(refused.values()) == set(REASONS) - set(elsewhere)


def test_the_documentation_has_every_reason_and_column():
    page = (Path(__file__).parents[2] / "docs" / "series.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page.split("## The record")[0], re.MULTILINE))
    assert {reason: rows[reason] for reason in REASONS} == REASONS
    assert set(rows) - set(REASONS) == {CRASHED}
    assert set(MEASURED) <= set(re.findall(r"`(\w+)`", page.split("## The record")[1]))


@pytest.mark.parametrize("kind", NO_DICOM)
def test_what_is_no_dicom_is_unreadable(kind, tmp_path):
    (tmp_path / "1.dcm").write_bytes(NO_DICOM[kind])
    assert verdict([tmp_path / "1.dcm"]) == "unreadable"
    assert dicom.index([tmp_path]) == {}
    files = malformed.write("sound", tmp_path / "s", "1.2.3")
    files[5].write_bytes(NO_DICOM[kind])
    assert verdict(files) == "unreadable"


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_unreadable_and_is_not_forgotten(kind, tmp_path):
    files = malformed.write("sound", tmp_path / "s", "1.2.3")
    files[5].write_bytes(files[5].read_bytes()[: DAMAGED[kind]])
    assert verdict(files) in ("unreadable", "missing_tags")
    assert dicom.index([tmp_path]) == {"1.2.3": [*files[:5], *files[6:]], NAMELESS: [files[5]]}


def test_a_list_of_files_is_no_image(tmp_path):
    """A DICOMDIR, as it lies on every disc."""
    files = malformed.write("sound", tmp_path / "s", "1.2.3")
    listing = pydicom.Dataset()
    listing.file_meta = pydicom.dataset.FileMetaDataset()
    listing.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    listing.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    listing.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    listing.FileSetID, listing.DirectoryRecordSequence = "DISC", []
    pydicom.dcmwrite(tmp_path / "DICOMDIR", listing, enforce_file_format=True)
    assert dicom.index([tmp_path]) == {"1.2.3": files}
    assert verdict([tmp_path / "DICOMDIR"]) == "missing_tags"


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """One series of each kind in one folder, curated, and the UID of each kind's series."""
    root, dataset = (tmp_path_factory.mktemp(name) for name in ("all", "curated"))
    uids = {kind: f"1.2.3.{number}" for number, kind in enumerate(KINDS, 1)}
    for number, (kind, uid) in enumerate(uids.items()):
        malformed.write(kind, root / str(number), uid)
    for number, content in enumerate(NO_DICOM.values()):
        (root / f"{number}.dcm").write_bytes(content)
    for number, left in enumerate(DAMAGED.values()):
        content = (root / "0").iterdir().__next__().read_bytes()
        (root / f"damaged{number}.dcm").write_bytes(content[:left])
    curate(open_source("dicom", root), dataset / "d", CurateConfig(min_slices=MIN_SLICES), workers=2)
    return dataset / "d", uids


def test_of_all_kinds_in_one_folder_none_is_lost(curated):
    dataset, uids = curated
    series_table = pd.read_parquet(dataset / "series.parquet").set_index("series")
    counts = read_manifest(dataset)["counts"]
    for kind, uid in uids.items():
        # The one file without a series is not among those of its own.
        expected = "incomplete" if kind == "without SeriesInstanceUID" else KINDS[kind][0]
        assert series_table.loc[Salt("m3fm").hashed("series", uid), "reason"] == expected, kind
    nameless = series_table.loc[Salt("m3fm").hashed("series", NAMELESS)]
    assert nameless["reason"] in ("unreadable", "missing_tags")
    assert nameless["files"] == len(DAMAGED) + 1
    assert len(series_table) == len(uids) + 1
    assert counts["series_seen"] == counts["kept"] + sum(counts["rejected"].values()) == len(series_table)
    assert counts["kept"] == sum(not reason for reason, _ in KINDS.values())


def test_such_a_dataset_is_valid(curated, tmp_path):
    validate(curated[0], tmp_path / "validation")


def test_the_geometry_of_what_was_rejected_is_on_record(curated):
    dataset, uids = curated
    table = pd.read_parquet(dataset / "series.parquet").set_index("series")
    of = {kind: table.loc[Salt("m3fm").hashed("series", uid)] for kind, uid in uids.items()}
    assert (of["gap"]["gaps"], of["gap of several slices"]["gaps"]) == (1, 1)
    assert of["gap"]["step_max_mm"] == pytest.approx(16)
    assert of["another slice at the same place"]["duplicates"] == 1
    assert of["phases of a breath"]["duplicates"] == SLICES
    assert of["tilted gantry"]["tilt_degrees"] == pytest.approx(15)
    assert of["oblique"]["oblique_degrees"] == pytest.approx(20)
    assert of["sagittal"]["oblique_degrees"] == pytest.approx(90)
    assert of["few slices"]["slices"] == 9
    assert of["one slice shifted"]["shift_mm"] == pytest.approx(7)
    assert list(of["coronal"]["orientation"]) == [1, 0, 0, 0, 0, -1]
    assert of["without Rows"]["slices"] == SLICES - 1
    assert of["MR"][["slices", "files"]].to_list() == [0, SLICES]
    assert of["one slice smaller"].isna()["rows"]
    assert of["one slice scaled"].isna()["voxel_y"]
    assert of["one slice turned"].isna()["gaps"]
    assert of["rescale forgotten"]["soft_fraction"] > 0.05 > of["rescale forgotten"]["air_fraction"]
    assert of["rescale forgotten in one slice"]["jump_hu"] == pytest.approx(1024, abs=50)
    for kind in ("no instance numbers", "the same instance number in all", "instance numbers that are none"):
        assert of[kind][["instance_first", "instance_last"]].to_list() == [0, 0], kind
    assert of["sound"][["instance_first", "instance_last"]].to_list() == [SLICES, 1]
    assert of["abdomen"]["air_hu"] == pytest.approx(-1000, abs=10)
    twice = of["the same files twice"]
    assert twice[["files", "copies", "slices"]].to_list() == [2 * SLICES, SLICES, SLICES]
    sound = of["sound"][["voxel_z", "voxel_y", "voxel_x", "gaps", "duplicates", "copies"]]
    assert sound.to_list() == pytest.approx([*malformed.SPACING, 0, 0, 0])
