"""Nothing that a source says of a patient gets into a dataset, and the check for it can say no and yes."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from chests import PATIENTS, Chests
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.dataset.curate import curate
from m3fm.dataset.validate import validate
from m3fm.privacy.identifiers import _vocabulary, in_headers, in_tables
from m3fm.privacy.leaks import Leaks
from m3fm.privacy.pseudonyms import Salt

SALT = Salt("a salt for tests")
HEADER = {
    "PatientName": "O'Hara-Quist^Wilhelmina^M",
    "PatientID": "MRN-0048151",
    "OtherPatientIDs": ["77-889-X1", "0012345678"],
    "PatientBirthDate": "19400229",
    "StudyDate": "19990102",
    "AcquisitionDateTime": "20010203101112.5",
    "AccessionNumber": "ACC0099123",
    "StudyID": "S4711A",
    "InstitutionName": "Sankt Ansgar Hospital",
    "InstitutionAddress": "Teststrasse 14, Musterstadt",
    "ReferringPhysicianName": "Quux^Ebenezer",
    "StationName": "AN_CT99431",
    "DeviceSerialNumber": "SN-66172",
    "StudyDescription": "Thorax Verlauf Melanom",
    "SeriesDescription": "nach Kontrastmittel 70ml",
    "PatientComments": "lives alone in Musterstadt, keeps two dogs and asks for a call after the scan",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.5.1",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.77",
    "RetrieveAETitle": "ARCHIVE77",
}


def header(**tags) -> Dataset:
    dataset = Dataset()
    for name, value in {**HEADER, **tags}.items():
        setattr(dataset, name, value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.826.0.1.3680043.8.498.9.1"
    dataset.Modality, dataset.Manufacturer = "CT", "Maker Medical"
    dataset.ManufacturerModelName, dataset.ConvolutionKernel = "Model 64 Plus", ["I70f", "3"]
    dataset.private_block(0x0029, "MAKER", create=True).add_new(0x10, "LO", "Wohnhaft Musterweg 3")
    item = Dataset()
    item.RequestedProcedureDescription = "Ausschluss Rezidiv"
    dataset.RequestAttributesSequence = [item]
    return dataset


def written(path: Path, dataset: Dataset, implicit: bool = False) -> Path:
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = (
        pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
    )
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def leaks_of(*files: Path) -> Leaks:
    leaks = Leaks(SALT)
    leaks.add(in_headers(files, SALT))
    leaks.add_table("the patients of its tables", in_tables(["100200"], SALT))
    return leaks


@pytest.fixture(scope="module")
def leaks(tmp_path_factory) -> Leaks:
    return leaks_of(written(tmp_path_factory.mktemp("headers") / "1.dcm", header()))


def in_text(directory: Path, text: str) -> str:
    table = pa.table({"series": ["0123456789abcdef", "f" * 16], "detail": ["gap", text]})
    pq.write_table(table, directory / "series.parquet")
    return "series.parquet, detail"


def in_list(directory: Path, text: str) -> str:
    pq.write_table(pa.table({"notes": [[["a"], []], [[text]]]}), directory / "exams.parquet")
    return "exams.parquet, notes"


def in_column_name(directory: Path, text: str) -> str:
    pq.write_table(pa.table({text: [1]}), directory / "exams.parquet")
    return "exams.parquet, names of columns"


def in_metadata(directory: Path, text: str) -> str:
    table = pa.table({"a": [1]}).replace_schema_metadata({"made from": text})
    pq.write_table(table, directory / "exams.parquet")
    return "exams.parquet, metadata"


def in_json(directory: Path, text: str) -> str:
    (directory / "dataset.json").write_text(json.dumps({"source": {"parts": ["a", {"name": text}]}}))
    return "dataset.json"


def in_json_key(directory: Path, text: str) -> str:
    (directory / "dataset.json").write_text(json.dumps({"counts": {text: 3}}))
    return "dataset.json"


def in_page(directory: Path, text: str) -> str:
    (directory / "data_docs").mkdir()
    (directory / "data_docs" / "index.html").write_text(f"<td>{text}</td>")
    return "data_docs/index.html"


def in_volume_name(directory: Path, text: str) -> str:
    (directory / "volumes").mkdir()
    np.save(directory / "volumes" / f"{text.replace('/', '-')}.npy", np.zeros(3))
    return "the names of files in volumes"


PLACES = [in_text, in_list, in_column_name, in_metadata, in_json, in_json_key, in_page, in_volume_name]


def refusal(leaks: Leaks, directory: Path) -> str:
    with pytest.raises(InputError) as raised:
        leaks.check(directory)
    return str(raised.value)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_looked_into(leaks, tmp_path, place):
    where = place(tmp_path, "read by MRN-0048151")
    line = refusal(leaks, tmp_path)
    assert f"PatientID in {where} (1 times)" in line
    assert "0048151" not in line


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        *((tag, str(value)) for tag, value in HEADER.items() if isinstance(value, str)),
        ("OtherPatientIDs", "77-889-X1"),
        ("OtherPatientIDs", "12345678"),
        ("PatientName", "WILHELMINA"),
        ("PatientName", "Wilhelmina O'Hara-Quist"),
        ("ReferringPhysicianName", "dr. quux"),
        ("PatientBirthDate", "born 1940-02-29"),
        ("PatientBirthDate", "29.02.1940"),
        ("PatientBirthDate", "2/29/1940 02/29/1940"),
        ("AcquisitionDateTime", "on 2001/02/03"),
        ("PatientComments", "keeps two dogs and asks for"),
        ("InstitutionName", "SANKT_ANSGAR hospital"),
        ("(0029,1010)", "wohnhaft musterweg 3"),
        ("RequestedProcedureDescription", "zum Ausschluss Rezidiv"),
        ("a UID", "1.2.3.4.5.6"),
        ("the patients of its tables", "patient 100200, T0"),
    ],
)
def test_every_tag_is_known_however_it_is_written(leaks, tmp_path, tag, text):
    where = in_text(tmp_path, text)
    assert f"{tag} in {where}" in refusal(leaks, tmp_path)


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float64(), pa.list_(pa.float32())])
def test_numbers_are_looked_at(leaks, tmp_path, kind):
    value = [100200.0] if pa.types.is_list(kind) else 100200
    pq.write_table(pa.table({"first": pa.array([value], kind)}), tmp_path / "series.parquet")
    assert "the patients of its tables in series.parquet, first" in refusal(leaks, tmp_path)
    (tmp_path / "series.parquet").unlink()
    (tmp_path / "dataset.json").write_text('{"count": 100200}')
    assert "the patients of its tables in dataset.json" in refusal(leaks, tmp_path)


def test_implicit_headers_give_the_same(tmp_path):
    explicit = in_headers([written(tmp_path / "1.dcm", header())], SALT)
    implicit = in_headers([written(tmp_path / "2.dcm", header(), implicit=True)], SALT)
    assert implicit == explicit


def test_every_file_of_a_series_counts_and_damaged_ones_do_no_harm(tmp_path):
    (tmp_path / "2.dcm").write_bytes(b"not DICOM")
    files = [written(tmp_path / "1.dcm", header()), tmp_path / "2.dcm"]
    files.append(written(tmp_path / "3.dcm", header(PatientName="Zaphod^Trillian")))
    out = tmp_path / "out"
    out.mkdir()
    where = in_text(out, "Zaphod")
    assert f"PatientName in {where}" in refusal(leaks_of(*files), out)


def test_a_value_that_cannot_be_decoded_hides_no_other(tmp_path):
    damaged, sound = Dataset(), Dataset()
    damaged.FailureReason, damaged.PatientName = 7, "Nestorquux^Ynez"
    sound.PatientName = "Zaphod^Trillian"
    dataset = header()
    dataset.RequestAttributesSequence = [damaged, sound]
    file = written(tmp_path / "1.dcm", dataset)
    content = file.read_bytes()
    assert content.count(b"\x08\x00\x97\x11US\x02\x00") == 1
    file.write_bytes(content.replace(b"\x08\x00\x97\x11US\x02\x00", b"\x08\x00\x97\x11UL\x02\x00"))
    for name in ("Nestorquux Ynez", "Zaphod"):
        out = tmp_path / name
        out.mkdir()
        where = in_text(out, name)
        assert f"PatientName in {where}" in refusal(leaks_of(file), out)


@pytest.mark.parametrize(
    "value",
    [
        b"Zaphod Beeblebrox\r\n\0\0",
        "Zaphod Beebl\u00f6brox".encode(),
        b"\x10\x00\x10\x00\x14\x00\x00\x00Zaphod^Beeblebrox ",
    ],
    ids=["line end and padding", "UTF-8", "an undecoded name"],
)
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_private_text_of_an_unknown_kind_is_found(tmp_path, value, implicit):
    dataset = header()
    dataset[0x00291020] = DataElement(0x00291020, "UN", value)
    file = written(tmp_path / "1.dcm", dataset, implicit)
    out = tmp_path / "out"
    out.mkdir()
    text = "Zaphod Beebl\u00f6brox" if b"\xc3" in value else "Zaphod Beeblebrox"
    where = in_text(out, text)
    assert f"(0029,1020) in {where}" in refusal(leaks_of(file), out)


def test_the_same_bytes_in_another_character_set_are_another_text(tmp_path):
    first = header(SpecificCharacterSet="ISO_IR 100", PatientName="")
    second = header(SpecificCharacterSet="ISO_IR 192", PatientName="")
    value = "Z\u00e4phod^Trilli\u00e4n".encode()
    for dataset in (first, second):
        dataset[0x00100010] = RawDataElement(BaseTag(0x00100010), "PN", len(value), value, 0, False, True)
    files = [written(tmp_path / "1.dcm", first), written(tmp_path / "2.dcm", second)]
    out = tmp_path / "out"
    out.mkdir()
    where = in_text(out, "Z\u00e4phod")
    assert f"PatientName in {where}" in refusal(leaks_of(*files), out)


def test_what_is_remembered_is_no_text(tmp_path):
    seen = json.dumps(in_headers([written(tmp_path / "1.dcm", header())], SALT)._asdict())
    for value in ("Hara", "48151", "1940", "Musterstadt", "3680043"):
        assert value not in seen


@pytest.mark.parametrize(
    "text",
    [
        *("Maker Medical", "Model 64 Plus", "['I70f', '3']", "I70f", "STANDARD", "nlst-A", "gap", "", "1"),
        "file 12 of 300: modality MR",
        "6.00 mm after slice 130, usually 2.00",
        "30 of at least 64",
        "1.2.840.10008.5.1.4.1.1.2",
        "ValueError at m3fm.dataset.examine:93 > m3fm.ct.dicom:101",
        "volumes/0100200100200abc.npy",
    ],
)
def test_what_datasets_say_is_no_leak(tmp_path, text):
    generic = {
        **{"PatientName": "Lu^A", "PatientID": "12", "AccessionNumber": "64", "StudyID": "1"},
        **{"StudyDescription": "CHEST", "SeriesDescription": "I70f", "ProtocolName": "Standard"},
        **{"StationName": "Model 64 Plus", "InstitutionName": "GE", "OtherPatientIDs": "300"},
        **{"PatientComments": "no gap", "InstitutionalDepartmentName": "CT", "DeviceSerialNumber": "130"},
    }
    leaks = leaks_of(written(tmp_path / "1.dcm", header(**generic)))
    out = tmp_path / "out"
    out.mkdir()
    in_text(out, text)
    leaks.check(out)


def test_a_name_in_a_tag_that_is_kept_is_still_a_leak(tmp_path):
    leaky = header(PatientName="Quist^Wilhelmina", StudyDescription="I70f")
    leaky.ManufacturerModelName = "scanner of Wilhelmina"
    out = tmp_path / "out"
    out.mkdir()
    where = in_text(out, str(leaky.ManufacturerModelName))
    assert f"PatientName in {where}" in refusal(leaks_of(written(tmp_path / "1.dcm", leaky)), out)


LETTERS = st.text("bcdfghjklmnpqrstvwxz", min_size=7, max_size=12)
"""Words that are not in any program."""


@settings(max_examples=30)
@given(name=st.lists(LETTERS, min_size=1, max_size=4), before=LETTERS, after=LETTERS, upper=st.booleans())
def test_any_text_is_found_among_others(tmp_path_factory, name, before, after, upper):
    directory = tmp_path_factory.mktemp("any")
    leaks = leaks_of(written(directory / "1.dcm", header(StudyDescription=" ".join(name))))
    out = directory / "out"
    out.mkdir()
    text = "_".join([before, *name, after])
    where = in_text(out, text.upper() if upper else text)
    assert f"StudyDescription in {where}" in refusal(leaks, out)
    in_text(out, f"{before}q {after}q")
    leaks.check(out)


@dataclass
class Leaky(Chests):
    """A source whose adapter takes the name of the institution for the site, and it names the patient."""

    def site(self, patient) -> str:
        return f"clinic of {patient}"


def test_curation_fails_and_no_table_is_left(images, tmp_path, cluster):
    with pytest.raises(InputError) as raised:
        curate(Leaky(images, PATIENTS), tmp_path / "dataset", CurateConfig(), workers=2)
    line = str(raised.value)
    assert "\n" not in line
    assert "the patients of its tables in series.parquet, site (4 times)" in line
    assert "the patients of its tables in exams.parquet, site (4 times)" in line
    assert "1002" not in line
    assert not (tmp_path / "dataset").exists()
    assert not list(tmp_path.glob(".dataset.partial/*.*"))


def test_a_dataset_and_its_data_docs_say_nothing_of_the_source(images, curated, tmp_path):
    leaks = Leaks(SALT)
    for path in images.rglob("*.dcm"):
        leaks.add(in_headers([path], SALT))
    known = Chests(images, PATIENTS).exams()
    leaks.add_table("patients", in_tables([exam.patient_id for exam in known], SALT))
    validate(curated, tmp_path / "validation")
    pages = list((tmp_path / "validation" / "data_docs").rglob("*.html"))
    assert len(pages) > 5
    for directory in (curated, tmp_path / "validation"):
        assert read_manifest(directory)
        leaks.check(directory, skipped=["static"])
    with pages[0].open("a") as page:
        page.write("<p>Doe, 100200</p>")
    leaked = pages[0].relative_to(tmp_path / "validation").as_posix()
    assert f"in {leaked}" in refusal(leaks, tmp_path / "validation")


def test_words_of_questions_alone_are_not_a_dataset_s_own():
    assert {"emphysema", "lobe"} <= _vocabulary()
    assert not {"chocolate", "femur", "brazil"} & _vocabulary()
