"""Times of reading and curating CT, and their ratios to those of other ways, taken in turn in one run.

    python benchmarks/ct.py [--rounds N]

A series of 300 uncompressed slices of 512 x 512 is made in a temporary directory. It is read to int16 HU by
`read_series` and by SimpleITK's series reader, and its files' bytes are read into memory. Its headers are
read by `m3fm.ct.tags` and by pydicom alone: to index the folder, to read it as `m3fm predict` does, and to
curate it up to its record and volume. Then random crops of 128 x 320 x 448 are copied out of the volume store
and out of a plain memory-mapped array. Last, 96 series of 128 slices are curated by two Ray workers and by
one, from the start of Ray to the last table; a third as many rounds. All files are read before, so the disk
takes no part; the median of the rounds' ratios is what counts.
"""

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from paired import report
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from m3fm.cohort.dicom_folder import DicomFolder
from m3fm.config.sections import CurateConfig
from m3fm.core.artifacts import read_manifest
from m3fm.ct.dicom import index, read_series
from m3fm.ct.read import read_ct
from m3fm.ct.store import open_volume, write_volume
from m3fm.ct.tags import PIXELS, Raw, Tags
from m3fm.dataset import examine
from m3fm.dataset.curate import curate
from m3fm.privacy.pseudonyms import Salt

SHAPE = (300, 512, 512)
CROP = (128, 320, 448)
CROPS = 20
"""Crops in one round."""
SERIES = 96
"""Series that are curated in one round."""
SLICE_MM = (1.0, 0.7, 0.7)
CHEST = (128, 256, 256)
CHEST_MM = (2.5, 1.4, 1.4)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        report("a series from disk to int16 HU", reading(Path(scratch)), rounds)
        for what, contestants in headers(Path(scratch)).items():
            report(what, contestants, rounds)
        report(f"{CROPS} crops of 128 x 320 x 448", cropping(Path(scratch)), rounds)
    with tempfile.TemporaryDirectory() as scratch:
        report(f"curation of {SERIES} series", curating(Path(scratch)), max(1, rounds // 3))


def reading(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return ways to read the series."""
    files = write_series(scratch / "series", volume(), "1.2.3.2", SLICE_MM)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])

    def by_simpleitk() -> NDArray[np.int16]:
        """Read the series by SimpleITK to HU [slices, rows, columns]."""
        return sitk.GetArrayFromImage(reader.Execute())

    ours, theirs = read_series(files).voxels, by_simpleitk()
    assert (ours == theirs).all(), "read_series and SimpleITK differ in HU"
    return {
        "read_series": lambda: read_series(files),
        "SimpleITK": by_simpleitk,
        "bytes of the files": lambda: [file.read_bytes() for file in files],
    }


def headers(scratch: Path) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return the tasks that read headers, each by `m3fm.ct.tags` and by pydicom alone."""
    series, dataset = scratch / "series", scratch / "examined"
    config, salt = CurateConfig(), Salt("for the benchmark")

    def curated() -> None:
        shutil.rmtree(dataset, ignore_errors=True)
        (dataset / examine.WORK / "seen").mkdir(parents=True)
        (dataset / "volumes").mkdir()
        for uid, files in index([series]).items():
            status = examine.examine("0", uid, files, [], {}, dataset, config, salt)
            assert status == "kept", examine.read_record(dataset, "0")

    def by_pydicom(task: Callable[[], Any]) -> Any:
        with contextlib.ExitStack() as patches:
            for module in ("m3fm.ct.headers", "m3fm.ct.masks", "m3fm.privacy.identifiers"):
                patches.enter_context(patch(f"{module}.read_tags", read_by_pydicom))
            return task()

    tasks: dict[str, Callable[[], Any]] = {
        "index of a folder": lambda: index([series]),
        "read_ct of m3fm predict": lambda: read_ct(series),
        "curation of a series": curated,
    }
    return {
        what: {"m3fm.ct.tags": task, "pydicom alone": partial(by_pydicom, task)}
        for what, task in tasks.items()
    }


def read_by_pydicom(file: Path, last: int = PIXELS) -> Tags:
    """Read the same as `m3fm.ct.tags.read_tags`, by pydicom alone."""
    with file.open("rb") as stream:
        found = read_partial(stream, stop_when=lambda tag, vr, length: tag > last or tag == PIXELS)
        at, head = stream.tell(), stream.read(12)
    implicit, _ = found.original_encoding
    pixels = (
        (at + 8, int.from_bytes(head[4:8], "little"))
        if implicit
        else (at + 12, int.from_bytes(head[8:], "little"))
    )
    raw = dict[int, Raw | DataElement]()
    for tag in found.keys():  # noqa: SIM118 (else it decodes values)
        item = found.get_item(tag)
        raw[tag] = (item.VR, item.value or b"") if isinstance(item, RawDataElement) else item
    meta = found.file_meta
    return Tags(
        raw=raw,
        kind=str(meta.MediaStorageSOPClassUID),
        syntax=str(meta.TransferSyntaxUID),
        implicit=bool(implicit),
        pixels=pixels,
    )


def cropping(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return ways to copy the same random crops out of a volume on the disk."""
    hu = volume()
    write_volume(scratch / "stored.npy", hu)
    hu.tofile(scratch / "plain.raw")
    size = (scratch / "stored.npy").stat().st_size
    print(f"\nthe store takes {size / hu.nbytes:.4f} of the plain array's disk")

    def crops(opened: Callable[[], NDArray[np.int16]]) -> list[int]:
        """Copy crops of HU [slices, rows, columns]; returns the first value of each."""
        rng = np.random.default_rng(0)
        firsts = []
        for _ in range(CROPS):
            start = [int(rng.integers(whole - part + 1)) for whole, part in zip(SHAPE, CROP)]
            places = tuple(slice(at, at + part) for at, part in zip(start, CROP))
            firsts.append(int(np.array(opened()[places])[0, 0, 0]))
        return firsts

    return {
        "volume store": lambda: crops(lambda: open_volume(scratch / "stored.npy")),
        "memory-mapped array": lambda: crops(
            lambda: np.memmap(scratch / "plain.raw", np.int16, mode="r", shape=SHAPE)
        ),
    }


def curating(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return curation with two workers and with one."""
    hu = chest(CHEST, CHEST_MM)
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


def chest(shape: tuple[int, int, int], voxel_size: tuple[float, float, float]) -> NDArray[np.int16]:
    """Make HU [slices, rows, columns] of a body, two lungs and a heart, with noise."""
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    z, y, x = ((at - n / 2) * mm for at, n, mm in zip((z, y, x), shape, voxel_size))
    hu = np.where((y / 110) ** 2 + (x / 150) ** 2 < 1, 40, -1000) + np.zeros_like(z, np.int16)
    for side in (-1, 1):
        hu[((x - side * 75) / 50) ** 2 + (y / 85) ** 2 + (z / 115) ** 2 < 1] = -850
    hu[((x - 20) / 55) ** 2 + ((y + 20) / 50) ** 2 + ((z + 40) / 50) ** 2 < 1] = 45
    return (hu + np.random.default_rng(0).integers(-20, 20, shape, dtype=np.int16)).astype(np.int16)


def volume() -> NDArray[np.int16]:
    """Make HU [slices, rows, columns] of the size of a scan."""
    return chest(SHAPE, SLICE_MM)


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
    block = tags.private_block(0x0009, "ACME", create=True)
    for number in range(60):  # as many tags as a scanner writes
        block.add_new(number, "LO", f"setting {number}")
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    tags.ReferencedStudySequence = [item]
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
