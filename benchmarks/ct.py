"""How long reading takes, beside what it is measured against: ratios of times taken in turn, in one run.

    python benchmarks/ct.py [--rounds N]

A series of 300 uncompressed slices of 512 x 512 is made in a temporary directory. It is read to int16 HU by
`read_series` and by SimpleITK's series reader, and its files' bytes are read into memory. Then random crops
of 128 x 320 x 448 are copied out of the volume store and out of a plain memory-mapped array. Last, 96 series
of 128 slices are curated by two Ray workers and by one, from the start of Ray to the last table; a third as
many rounds. All files are read before, so the disk takes no part; the median of the rounds' ratios is what
counts.
"""

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from paired import report
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from m3fm.cohort.dicom_folder import DicomFolder
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import read_manifest
from m3fm.ct.dicom import read_series
from m3fm.ct.store import open_volume, write_volume
from m3fm.dataset.curate import curate

SHAPE = (300, 512, 512)
CROP = (128, 320, 448)
CROPS = 20
"""Crops in one round."""
SERIES = 96
"""Series that are curated in one round."""
CHEST = (128, 256, 256)
CHEST_MM = (2.5, 1.4, 1.4)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        report("a series from disk to int16 HU", reading(Path(scratch)), rounds)
        report(f"{CROPS} crops of 128 x 320 x 448", cropping(Path(scratch)), rounds)
    with tempfile.TemporaryDirectory() as scratch:
        report(f"curation of {SERIES} series", curating(Path(scratch)), max(1, rounds // 3))


def reading(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return ways to read the series."""
    files = write_series(scratch / "series", volume(), "1.2.3.2", (1.0, 0.7, 0.7))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])

    def by_simpleitk() -> NDArray[np.int16]:
        """Read the series by SimpleITK: [slices, rows, columns]."""
        return sitk.GetArrayFromImage(reader.Execute())

    ours, theirs = read_series(files).voxels, by_simpleitk()
    assert (ours == theirs).all(), "read_series and SimpleITK give different HU"
    return {
        "read_series": lambda: read_series(files),
        "SimpleITK": by_simpleitk,
        "bytes of the files": lambda: [file.read_bytes() for file in files],
    }


def cropping(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return ways to copy random crops out of a volume on the disk; all take the same ones."""
    hu = volume()
    write_volume(scratch / "stored.npy", hu)
    hu.tofile(scratch / "plain.raw")
    size = (scratch / "stored.npy").stat().st_size
    print(f"\nthe store takes {size / hu.nbytes:.4f} of the plain array's disk")

    def crops(opened: Callable[[], NDArray[np.int16]]) -> list[int]:
        """Sum random crops of a volume [slices, rows, columns]."""
        rng = np.random.default_rng(0)
        sums = []
        for _ in range(CROPS):
            start = [int(rng.integers(whole - part + 1)) for whole, part in zip(SHAPE, CROP)]
            places = tuple(slice(at, at + part) for at, part in zip(start, CROP))
            sums.append(int(np.array(opened()[places])[0, 0, 0]))
        return sums

    return {
        "volume store": lambda: crops(lambda: open_volume(scratch / "stored.npy")),
        "memory-mapped array": lambda: crops(
            lambda: np.memmap(scratch / "plain.raw", np.int16, mode="r", shape=SHAPE)
        ),
    }


def curating(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return curation with two workers and with one."""
    hu = chest()
    for number in range(SERIES):
        write_series(scratch / "source" / str(number), hu, f"1.2.4.{number}", CHEST_MM)

    def curated(workers: int) -> None:
        out = scratch / "dataset"
        shutil.rmtree(out, ignore_errors=True)
        config = CurateConfig()
        with contextlib.redirect_stderr(io.StringIO()):
            curate(DicomFolder(scratch / "source", config.labels), out, config, workers)
        assert read_manifest(out)["counts"]["kept"] == SERIES

    return {"2 workers": lambda: curated(2), "1 worker": lambda: curated(1)}


def chest() -> NDArray[np.int16]:
    """Draw a body, two lungs and a heart, with noise: HU [slices, rows, columns]."""
    z, y, x = np.ogrid[tuple(slice(n) for n in CHEST)]
    z, y, x = ((at - n / 2) * mm for at, n, mm in zip((z, y, x), CHEST, CHEST_MM))
    hu = np.where((y / 110) ** 2 + (x / 150) ** 2 < 1, 40, -1000) + np.zeros_like(z, np.int16)
    for side in (-1, 1):
        hu[((x - side * 75) / 50) ** 2 + (y / 85) ** 2 + (z / 115) ** 2 < 1] = -850
    hu[((x - 20) / 55) ** 2 + ((y + 20) / 50) ** 2 + ((z + 40) / 50) ** 2 < 1] = 45
    return (hu + np.random.default_rng(0).integers(-20, 20, CHEST)).astype(np.int16)


def volume() -> NDArray[np.int16]:
    """Draw a body in air, with noise: HU [slices, rows, columns]."""
    rng = np.random.default_rng(0)
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 100:400, 60:450] = 40
    hu += rng.integers(-20, 20, SHAPE, dtype=np.int16)
    return hu


def write_series(
    folder: Path, hu: NDArray[np.int16], uid: str, voxel_size: tuple[float, float, float]
) -> list[Path]:
    """Write HU [slices, rows, columns] as one uncompressed file per slice, 12 of 16 bits unsigned."""
    folder.mkdir(parents=True)
    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID = CTImageStorage
    tags.Modality, tags.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    tags.PatientID, tags.StudyInstanceUID, tags.SeriesInstanceUID = uid, f"{uid}.0", uid
    tags.ImageOrientationPatient, tags.PixelSpacing = [1, 0, 0, 0, 1, 0], list(voxel_size[1:])
    tags.Rows, tags.Columns = hu.shape[1:]
    tags.SamplesPerPixel, tags.PhotometricInterpretation = 1, "MONOCHROME2"
    tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 12, 11, 0
    tags.RescaleSlope, tags.RescaleIntercept = 1, -1024
    files = []
    for number, plane in enumerate(hu):
        tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number + 1}"
        tags.InstanceNumber, tags.ImagePositionPatient = number + 1, [0, 0, number * voxel_size[0]]
        tags.PixelData = (plane + 1024).astype("<u2").tobytes()
        files.append(folder / f"{number:03}.dcm")
        pydicom.dcmwrite(files[-1], tags, enforce_file_format=True)
    return files


if __name__ == "__main__":
    main()
