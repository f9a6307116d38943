"""A small source of exams with phantoms of chests as DICOM, and tables as plain records."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from m3fm.clinical.records import ExamRecord, Nodule, Risk
from m3fm.cohort.keys import Link
from m3fm.cohort.source import listing_digest
from m3fm.core.files import files_below
from m3fm.dataset import examine

PATIENTS = 4

UID = "1.2.826.0.1.3680043.8.498."
SLICES, SIZE, MM = 66, 48, (4.0, 7.0, 7.0)
STRANGERS = ("999888", "999889")
"""Patients in no table."""
FINDINGS = ("atelectasis", "consolidation", "emphysema", "cvd_diagnosis")


def chest(seed: int) -> np.ndarray:
    """int16 HU [SLICES, SIZE, SIZE], the first slice at the feet: a body, two lungs, a heart."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (SLICES, SIZE, SIZE)), indexing="ij")
    z, y, x = z * MM[0], y * MM[1], x * MM[2]
    hu = np.where((y / 110) ** 2 + (x / 150) ** 2 < 1, 40, -1000)
    for side in (-1, 1):
        hu[((x - side * 75) / 50) ** 2 + (y / 85) ** 2 + (z / 115) ** 2 < 1] = -850
    hu[((x - 20) / 55) ** 2 + ((y + 20) / 50) ** 2 + ((z + 40) / 50) ** 2 < 1] = 45
    return (hu + np.random.default_rng(seed).normal(0, 10, hu.shape)).astype(np.int16)


def write_series(
    folder: Path,
    number: int,
    *,
    patient: str,
    year: int,
    study: str,
    kernel: str = "STANDARD",
    slices: int = SLICES,
    image_type: str = "AXIAL",
) -> str:
    """Write one series; returns its SeriesInstanceUID."""
    folder.mkdir(parents=True)
    volume = chest(number)
    uid = f"{UID}7.{number}"
    for index in range(slices):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{uid}.{index + 1}"
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.Modality, file.ImageType = "CT", ["ORIGINAL", "PRIMARY", image_type]
        file.PatientID, file.PatientName, file.PatientBirthDate = patient, f"Doe^{patient}", "19400229"
        file.StudyInstanceUID, file.SeriesInstanceUID = study, uid
        file.StudyDate = f"{1999 + year}0102"
        file.ClinicalTrialTimePointID = f"T{year}"
        file.Manufacturer, file.ManufacturerModelName, file.ConvolutionKernel = "Maker", "Model 1", kernel
        file.InstanceNumber, file.SliceThickness = slices - index, 5.0
        file.ImagePositionPatient = [0, 0, index * MM[0]]
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.PixelSpacing = list(MM[1:])
        file.Rows = file.Columns = SIZE
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.RescaleSlope, file.RescaleIntercept = 1, 0
        file.PixelData = volume[index].tobytes()
        pydicom.dcmwrite(folder / f"{index:03d}.dcm", file, enforce_file_format=True)
    return uid


def study_uid(patient: str, year: int) -> str:
    """StudyInstanceUID of an exam."""
    return f"{UID}5.{patient}.{year}"


def write_images(root: Path, patients: int) -> None:
    """Three series of each patient (soft, sharp, localizer), two to be refused, one of each stranger."""
    for number in range(patients):
        patient, year = str(100200 + number), number % 3
        study = study_uid(patient, year)
        for part, (kernel, image_type) in enumerate(
            [("BONE", "AXIAL"), ("STANDARD", "AXIAL"), ("STANDARD", "LOCALIZER")]
        ):
            write_series(
                root / "images" / patient / str(part),
                10 * number + part,
                patient=patient,
                year=year,
                study=study,
                kernel=kernel,
                slices=1 if image_type == "LOCALIZER" else SLICES,
                image_type=image_type,
            )
    first = {"patient": "100200", "year": 0, "study": study_uid("100200", 0)}
    write_series(root / "images" / "short", 900, slices=20, **first)
    write_series(root / "images" / "gap", 901, **first)
    (root / "images" / "gap" / "030.dcm").unlink()
    for number, patient in enumerate(STRANGERS):
        study = f"{UID}5.{77 + number}"
        write_series(root / "images" / patient, 902 + number, patient=patient, year=1, study=study)
    (root / "images" / "notes.txt").write_text("not an image")


def records(patients: int) -> list[ExamRecord]:
    """An exam of each patient, and one of the first patient that has no images."""
    exams = []
    for number in range(patients):
        patient, year = str(100200 + number), number % 3
        cancer = number % 4 == 1
        nodule = Nodule(
            number=1,
            lobe="LUL",
            slice_number=30,
            long_mm=9.0,
            short_mm=7.0,
            margin="smooth",
            attenuation="solid",
        )
        exams.append(
            ExamRecord(
                patient_id=patient,
                timepoint=year,
                study_uid=study_uid(patient, year),
                elements={"age": 60.0 + number, "gender": "Male", "family_mother": number % 2 == 0},
                findings={"nodule_presence": number % 2, **dict.fromkeys(FINDINGS, number % 2)},
                nodules=[nodule] if number % 2 else [],
                risks={
                    "lung_cancer_risk": Risk(
                        labels=(0, 1, 1, 1, 1, 1) if cancer else (0,) * 6,
                        mask=(1, 1, 0, 0, 0, 0) if cancer else (1,) * 6,
                    ),
                    "cvd_mortality": Risk(labels=(0,) * 6, mask=(1, 1, 1, 1, 0, 0)),
                },
                cancer_side="left" if cancer else None,
                covid19=number % 2,
                lung_rads=4 if number % 2 else 1,
            )
        )
    return [*exams, ExamRecord(patient_id="100200", timepoint=2, lung_rads=2)]


@dataclass
class Chests:
    """A source of `patients` patients below `root`; of a table's 100 rows, `orphans` link to nothing."""

    root: Path
    patients: int
    backwards: bool = False
    orphans: int = 0
    name: str = "chests"
    test_only: bool = False
    simulated: bool = True

    def site(self, patient) -> str:
        return f"site-{int(patient) % 2}" if patient else self.name

    def links(self) -> list[Link]:
        unlinked = tuple((f"line {row + 2}", str(100900 + row)) for row in range(self.orphans))
        return [Link("findings", self.root / "findings.csv", "exams", 100, unlinked)]

    def exams(self) -> list[ExamRecord]:
        found = records(self.patients)
        return found[::-1] if self.backwards else found

    def image_paths(self) -> list[Path]:
        paths = list(files_below(self.root / "images"))
        return paths[::-1] if self.backwards else paths

    def digest(self) -> str:
        return listing_digest(self.root, sorted(self.image_paths()), [str(self.patients)])


def examine_with_faults(name: str, uid: str, files: Sequence[Path], *more: object) -> str:
    """Examine a series as curation does, but raise at the one stranger's and die at the other's."""
    patient = files[0].parent.name

    def fail(*args: object) -> None:
        if patient == STRANGERS[1]:
            os._exit(1)
        raise ZeroDivisionError(f"by patient {patient}")

    with pytest.MonkeyPatch.context() as patch:
        if patient in STRANGERS:
            patch.setattr(examine, "measure_hu", fail)
        return examine.examine(name, uid, files, *more)
