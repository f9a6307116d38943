"""Little DICOM CT series for the tests: sound ones, and ones that go wrong in a chosen way."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT, DATE = "DOE-4711", "20230517"
SPACING = (2.5, 0.7, 0.8)
ORIGIN = (-12.25, -30.5, 101.0)
"""LPS of voxel (0, 0, 0) of the canonical volume."""


def volume(slices=10, rows=40, columns=48, seed=1):
    """HU in which no flip and no transposition goes unseen: noisy tissue in air, off centre."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1020, -980, (slices, rows, columns))
    hu[:, 5:30, 3:40] = rng.integers(-100, 200, (slices, 25, 37))
    hu += np.arange(slices)[:, None, None]
    return hu.astype(np.int16)


def datasets(hu, *, spacing=SPACING, origin=ORIGIN, series_uid=None):
    """One dataset per slice of a canonical volume, from the feet to the head, 12 bits unsigned."""
    study, series = generate_uid(), series_uid or generate_uid()
    for number, slice_hu in enumerate(hu):
        tags = Dataset()
        tags.file_meta = FileMetaDataset()
        tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID = CTImageStorage
        tags.file_meta.MediaStorageSOPInstanceUID = tags.SOPInstanceUID = generate_uid()
        tags.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        tags.Modality = "CT"
        tags.StudyDate = DATE
        tags.PatientID = tags.PatientName = PATIENT
        tags.StudyInstanceUID, tags.SeriesInstanceUID = study, series
        tags.Manufacturer, tags.ManufacturerModelName, tags.ConvolutionKernel = "ACME", "Ring 9", "B30f"
        tags.ClinicalTrialTimePointID = "T1"
        tags.SliceThickness = 5  # never the spacing
        tags.InstanceNumber = len(hu) - number
        tags.ImagePositionPatient = [origin[0], origin[1], origin[2] + number * spacing[0]]
        tags.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        tags.PixelSpacing = list(spacing[1:])
        tags.SamplesPerPixel = 1
        tags.PhotometricInterpretation = "MONOCHROME2"
        tags.BitsAllocated, tags.BitsStored, tags.HighBit = 16, 12, 11
        tags.PixelRepresentation = 0
        tags.RescaleSlope, tags.RescaleIntercept = 1, -1024
        store(tags, slice_hu.astype(int) + 1024)
        yield tags


def store(tags, stored):
    """Put stored values into a dataset, in its own number of bits."""
    tags.Rows, tags.Columns = stored.shape
    tags.PixelData = (stored & 0xFFFF).astype("<u2").tobytes()
    tags["PixelData"].VR = "OW"


def stored(tags):
    """The values stored in a dataset, as unsigned numbers."""
    return np.frombuffer(tags.PixelData, "<u2").reshape(tags.Rows, tags.Columns).astype(int)


def copy(tags):
    """The same file again."""
    again = deepcopy(tags)
    again.file_meta = deepcopy(tags.file_meta)
    return again


def write(directory: Path, slices) -> list[Path]:
    """Write datasets to files whose names are in no order, and list them by name."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, tags in enumerate(slices):
        file = directory / f"{number * 7 % 11:02d}-{number}.dcm"
        private = tags.file_meta.TransferSyntaxUID.is_private
        encoding = {"implicit_vr": False, "little_endian": True} if private else {}
        pydicom.dcmwrite(file, tags, enforce_file_format=True, **encoding)
    return sorted(directory.iterdir())
