"""The DICOM files of a series, one CT image each."""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from m3fm.core.files import text_digest
from m3fm.simulate.exam import STUDY_DATES, SeriesPlan, SimulatedExam
from m3fm.simulate.faults import HU_OFFSET, Slice
from m3fm.simulate.people import Person


def axial_slices(exam: SimulatedExam, hu: NDArray[np.int16]) -> list[Slice]:
    """Return the slices of a volume [slice, row, column], from the feet to the head."""
    grid = exam.grid
    step, row, column = grid.voxel_size
    z = exam.table_z + grid.origin[0]
    y, x = (start + shift for start, shift in zip(grid.origin[1:], exam.centre))
    return [
        Slice(
            hu=hu[index],
            number=grid.slices - index,
            position=(round(x, 4), round(y, 4), round(z + index * step, 4)),
            spacing=(row, column),
        )
        for index in range(grid.slices)
    ]


def localizer_slices(exam: SimulatedExam, hu: NDArray[np.int16]) -> list[Slice]:
    """Return the localizer of a volume [slice, row, column]: the front view and, at T0, the side view.

    The views are means along rows and along columns.
    """
    step, row, column = exam.grid.voxel_size
    x, y = axial_slices(exam, hu)[0].position[:2]
    top = axial_slices(exam, hu)[-1].position[2]
    depth = hu.shape[1] * row / 2
    front = Slice(
        hu=hu[::-1].mean(axis=1).astype(np.int16),
        number=1,
        position=(x, round(y + depth, 4), top),
        orientation=(1, 0, 0, 0, 0, -1),
        spacing=(step, column),
    )
    side = Slice(
        hu=hu[::-1].mean(axis=2).astype(np.int16),
        number=2,
        position=(round(x + depth, 4), y, top),
        orientation=(0, 1, 0, 0, 0, -1),
        spacing=(step, row),
    )
    return [front, side] if exam.timepoint == 0 else [front]


def write_series(
    folder: Path,
    slices: list[Slice],
    person: Person,
    exam: SimulatedExam,
    plan: SeriesPlan,
    rng: np.random.Generator,
) -> str:
    """Write the files of a series into a new folder; their names do not reveal their order.

    Returns a digest of the series: SHA-256 of lines with the name and the SHA-256 of each file, sorted.
    """
    folder.mkdir(parents=True)
    dataset = _common_tags(person, exam, plan)
    templates: dict[tuple[object, ...], bytes] = {}
    lines = []
    names = rng.permutation(len(slices)) + 1
    for name, part in zip(names.tolist(), slices):
        kind = (part.hu.shape, part.orientation, part.spacing, part.intercept)
        if kind not in templates:
            templates[kind] = _template(dataset, part)
        content = _encode(templates[kind], part, plan)
        (folder / f"{name}.dcm").write_bytes(content)
        lines.append(f"{name}.dcm {hashlib.sha256(content).hexdigest()}")
    return text_digest("\n".join(sorted(lines)))


# pydicom needs a millisecond for a file, which would be most of the time of a cohort. So it encodes one file
# for all slices of the same kind, with these placeholders for the values that differ between slices. They are
# as long as their tags allow; shorter values are padded with spaces.
_UID = "1." + "9" * 62
_NUMBER = "-1000000001"
_X, _Y, _Z = "-1111111111.1111", "-2222222222.2222", "-3333333333.3333"


def _template(dataset: Dataset, part: Slice) -> bytes:
    """Encode a file without its pixels, for all slices that differ in number and position alone."""
    dataset.file_meta.MediaStorageSOPInstanceUID = _UID
    dataset.SOPInstanceUID = _UID
    dataset.InstanceNumber = _NUMBER
    dataset.ImagePositionPatient = [_X, _Y, _Z]
    dataset.ImageOrientationPatient = list(part.orientation)
    dataset.SliceLocation = _Z
    dataset.Rows, dataset.Columns = part.hu.shape
    dataset.PixelSpacing = list(part.spacing)
    dataset.RescaleIntercept = part.intercept
    dataset.PixelData = bytes(2 * part.hu.size)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()[: -2 * part.hu.size]


def _encode(template: bytes, part: Slice, plan: SeriesPlan) -> bytes:
    """Return the bytes of a slice's file."""
    own = {
        _UID: generate_uid(entropy_srcs=[plan.uid, str(part.number)]),
        _NUMBER: str(part.number),
        **{name: f"{mm:.4f}" for name, mm in zip((_X, _Y, _Z), part.position)},
    }
    for name, value in own.items():
        template = template.replace(name.encode(), value.ljust(len(name)).encode())
    whole = template + (part.hu - np.int16(HU_OFFSET)).astype("<u2").tobytes()
    return whole[: int(len(whole) * part.fraction_written)]


def _common_tags(person: Person, exam: SimulatedExam, plan: SeriesPlan) -> Dataset:
    """Return the DICOM tags that all slices of a series share."""
    scanner, kernel = exam.scanner, plan.kernel
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = image_type(plan).split("\\")
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyDate = dataset.SeriesDate = STUDY_DATES[exam.timepoint]
    dataset.StudyTime = "101500"
    dataset.AccessionNumber = ""
    dataset.Modality = "CT"
    dataset.Manufacturer = scanner.manufacturer
    dataset.InstitutionName = f"Example Screening Centre {person.centre}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "CHEST SCREENING"
    dataset.SeriesDescription = description(exam, plan)
    dataset.ManufacturerModelName = scanner.model
    dataset.PatientName = f"Nobody^Simulated {person.pid}"
    dataset.PatientID = str(person.pid)
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "M" if person.male else "F"
    dataset.PatientAge = f"{person.age + exam.timepoint:03d}Y"
    dataset.ClinicalTrialTimePointID = f"T{exam.timepoint}"
    dataset.BodyPartExamined = "CHEST"
    dataset.KVP = 120
    dataset.SliceThickness = 1.0 if kernel is None else kernel.thickness_mm
    if kernel is not None:
        dataset.ConvolutionKernel = kernel.name
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = exam.study_uid
    dataset.SeriesInstanceUID = plan.uid
    dataset.StudyID = str(exam.timepoint + 1)
    dataset.SeriesNumber = plan.number
    dataset.AcquisitionNumber = 1
    dataset.FrameOfReferenceUID = exam.frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = scanner.bits_stored
    dataset.HighBit = scanner.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = -600, 1500
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    return dataset


def image_type(plan: SeriesPlan) -> str:
    """Return the value of ImageType, its parts separated as in DICOM."""
    return "ORIGINAL\\PRIMARY\\" + ("LOCALIZER" if plan.kernel is None else "AXIAL")


def description(exam: SimulatedExam, plan: SeriesPlan) -> str:
    """Return a SeriesDescription in NLST's form: fields between commas, OPL a localizer, OPA axial."""
    make = exam.scanner.manufacturer[:2].upper()
    model = exam.scanner.model.replace(" ", "").upper()[:6]
    if plan.kernel is None:
        return f"0,OPL,{make},{model},null,null,na,120,na,na,na"
    field_of_view = round(exam.grid.rows * exam.grid.voxel_size[2])
    return f"0,OPA,{make},{model},{plan.kernel.name},{field_of_view},{plan.kernel.thickness_mm},120,na,na,na"
