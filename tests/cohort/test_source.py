import pydicom
import pytest

from m3fm.cohort.dicom_folder import SECONDARY_CAPTURE
from m3fm.cohort.selection import KEPT, decide
from m3fm.cohort.source import KINDS, images_digest, listing_digest, open_source
from m3fm.core.errors import InputError
from m3fm.core.files import files_below
from m3fm.ct.headers import CT_IMAGE


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=f"'tables'; there are {', '.join(KINDS)}"):
        open_source("tables", tmp_path)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_folder_that_is_not_there(tmp_path, kind):
    with pytest.raises(InputError, match="nowhere"):
        open_source(kind, tmp_path / "nowhere")


def test_a_folder_of_dicom_has_images_and_no_records(tmp_path):
    for name in ("b/2.dcm", "b/1.dcm", "a/3", "4.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source("dicom", tmp_path)
    assert source.test_only
    assert source.exams() == []
    assert source.site("1") == "external"
    assert [path.relative_to(tmp_path).as_posix() for path in source.image_paths()] == [
        "4.txt",
        "a/3",
        "b/1.dcm",
        "b/2.dcm",
    ]
    first = source.digest()
    assert open_source("dicom", tmp_path).digest() == first
    (tmp_path / "b/1.dcm").write_text("longer than before")
    assert source.digest() != first


def test_a_listing_of_headers(tmp_path):
    for folder, uid, changes in [
        ("a", "1.1", {}),
        ("b", "1.2", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("c", "1.3", {"SOPClassUID": SECONDARY_CAPTURE}),
        ("d", "1.4", {"Modality": "MR"}),
    ]:
        (tmp_path / folder).mkdir()
        for number in range(3):
            header = pydicom.Dataset()
            header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = uid, "9.9", "P1"
            header.SOPClassUID, header.Modality = CT_IMAGE, "CT"
            header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            header.SOPInstanceUID = f"{uid}.{number}"
            for name, value in changes.items():
                setattr(header, name, value)
            header.file_meta = pydicom.dataset.FileMetaDataset()
            header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            header.save_as(tmp_path / folder / f"{number}", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("no image")
    rows = open_source("dicom", tmp_path).listing()
    assert rows["series"].to_pylist() == ["1.1", "1.2", "1.3", "1.4"]
    assert decide(rows, 3).to_pylist() == [KEPT, "localizer", "secondary_capture", "not_ct"]
    assert decide(rows, 4).to_pylist()[0] == "too_few_slices"


def test_files_below_a_folder_are_found_in_a_fixed_order(tmp_path):
    for name in ("z", "y/b", "y/a", "x/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in files_below(tmp_path)] == ["z", "c", "a", "b"]


def test_a_digest_of_images_has_links_that_lead_nowhere(tmp_path):
    (tmp_path / "image").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "later")
    before = images_digest(files_below(tmp_path)), listing_digest(tmp_path, files_below(tmp_path))
    (tmp_path / "later").write_bytes(b"2")
    after = images_digest(files_below(tmp_path)), listing_digest(tmp_path, files_below(tmp_path))
    assert before[0] != after[0]
    assert before[1] != after[1]
