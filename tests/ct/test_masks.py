"""Boxes from segmentations: those of the structures themselves, in whatever grid and order they come."""

import sys
from types import ModuleType

import dicom_series as series
import malformed
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from malformed import CHEST, SPACING
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

from m3fm.clinical.tasks import BOXES
from m3fm.cohort.dicom_folder import DicomFolder
from m3fm.config.sections import CurateConfig, RegionsConfig
from m3fm.core.artifacts import read_manifest
from m3fm.core.errors import InputError
from m3fm.ct import dicom, masks
from m3fm.ct.geometry import Rejected
from m3fm.ct.volume import Series, to_nifti
from m3fm.dataset.curate import curate

LABELS = {value: masks.TOTAL[value] for value in (10, 11, 12, 13, 14, 51)}
UID = "1.2.3"


def label_map() -> np.ndarray:
    """Lobes and a heart in the chest's grid, with the values of TotalSegmentator's task `total`."""
    labels = np.zeros(CHEST.shape, np.uint8)
    labels[16:29, 14:34, 28:40], labels[5:16, 13:33, 27:39] = 10, 11
    labels[20:29, 15:34, 8:19], labels[15:20, 14:30, 9:19], labels[5:15, 14:34, 9:18] = 12, 13, 14
    labels[6:16, 12:25, 19:30] = 51
    labels[0:3, 20:22, 20:22] = 5  # a liver, which belongs to no box
    return labels


def expected() -> dict[str, tuple[int, ...]]:
    """The bounds of each box's voxels."""
    labels = label_map()
    parts = {
        "left_lung": np.isin(labels, (10, 11)),
        "right_lung": np.isin(labels, (12, 13, 14)),
        "both_lungs": (labels >= 10) & (labels <= 14),
        "heart": labels == 51,
    }
    found = {name: ndimage.find_objects(part.astype(int))[0] for name, part in parts.items()}
    return {name: tuple(e for part in box for e in (part.start, part.stop)) for name, box in found.items()}


@pytest.fixture(scope="module")
def chest(tmp_path_factory) -> Series:
    files = malformed.write("sound", tmp_path_factory.mktemp("ct"), UID)
    return dicom.read_series(files)


def image_of(labels, chest) -> sitk.Image:
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(chest.voxel_size[::-1])
    image.SetOrigin(chest.origin_mm)
    return image


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "LSA", "IPL"])
def test_label_map_in_any_orientation(chest, tmp_path, orientation):
    turned = sitk.DICOMOrient(image_of(label_map(), chest), orientation)
    sitk.WriteImage(turned, str(tmp_path / "labels.nii.gz"))
    assert masks.regions_from_labels(tmp_path / "labels.nii.gz", LABELS, chest) == expected()


def test_label_map_of_another_grid(chest, tmp_path):
    """Of 3 mm, as TotalSegmentator's fast model works, and of a part of the volume alone."""
    image = image_of(label_map(), chest)
    fine = [round(n * s / 3) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    grid = sitk.Resample(
        image, fine, sitk.Transform(), sitk.sitkNearestNeighbor, image.GetOrigin(), [3.0] * 3
    )
    sitk.WriteImage(grid[10:-10, 20:-20, 8:-8], str(tmp_path / "labels.nii"))
    found = masks.regions_from_labels(tmp_path / "labels.nii", LABELS, chest)
    for name, box in expected().items():
        assert np.abs(np.subtract(found[name], box)).max() <= 1, name


def code(value, *modifiers) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "named by its code alone"
    if modifiers:
        item.SegmentedPropertyTypeModifierCodeSequence = [code(modifier) for modifier in modifiers]
    return item


def write_seg(path, labels, names, *, orientation=(1, 0, 0, 0, 1, 0), flip=slice(None), sided=False, **tags):
    """A binary DICOM SEG as the standard asks for it, with frames in no order and none that is empty."""
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.SOPClassUID = seg.file_meta.MediaStorageSOPClassUID = masks.SEGMENTATION
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    seg.Modality, seg.SegmentationType = "SEG", "BINARY"
    reference = Dataset()
    reference.SeriesInstanceUID = UID
    seg.ReferencedSeriesSequence = [reference]
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = list(SPACING[1:]), list(orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    seg.SharedFunctionalGroupsSequence = [shared]
    seg.SegmentSequence, frames = [], []
    for number, (value, name) in enumerate(names.items(), 1):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        known = masks.STRUCTURES.get(name)
        kind = (known.code, known.side) if known else ("10200004", "")
        if sided and known and known.sided_code:
            kind = (known.sided_code, "")
        segment.SegmentedPropertyTypeCodeSequence = [code(*filter(None, kind))]
        seg.SegmentSequence.append(segment)
        for z in np.flatnonzero((labels == value).any(axis=(1, 2))):
            frames.append((number, z, labels[z] == value))
    np.random.default_rng(0).shuffle(frames)
    seg.PerFrameFunctionalGroupsSequence = []
    x, y, z0 = series.ORIGIN
    for number, z, _ in frames:
        frame, identity, place = Dataset(), Dataset(), Dataset()
        identity.ReferencedSegmentNumber = number
        far_x = x + (CHEST.shape[2] - 1) * SPACING[2] if orientation[0] < 0 else x
        place.ImagePositionPatient = [far_x, y, z0 + float(z) * SPACING[0]]
        frame.SegmentIdentificationSequence, frame.PlanePositionSequence = [identity], [place]
        seg.PerFrameFunctionalGroupsSequence.append(frame)
    seg.Rows, seg.Columns = labels.shape[1:]
    seg.NumberOfFrames = len(frames)
    seg.SamplesPerPixel, seg.PhotometricInterpretation, seg.PixelRepresentation = 1, "MONOCHROME2", 0
    seg.BitsAllocated, seg.BitsStored, seg.HighBit = 1, 1, 0
    seg.PixelData = pack_bits(np.array([plane[:, flip] for *_, plane in frames]).astype(np.uint8).ravel())
    for keyword, value in tags.items():
        setattr(seg, keyword, value)
    pydicom.dcmwrite(path, seg, enforce_file_format=True)
    return path


@pytest.mark.parametrize("sided", [False, True])
def test_dicom_segmentation(chest, tmp_path, sided):
    path = write_seg(tmp_path / "seg.dcm", label_map(), {**LABELS, 5: "liver"}, sided=sided)
    assert masks.regions_from_seg(path, chest) == expected()


def test_dicom_segmentation_of_a_patient_the_other_way_round(chest, tmp_path):
    path = write_seg(
        tmp_path / "seg.dcm",
        label_map(),
        LABELS,
        orientation=(-1, 0, 0, 0, 1, 0),
        flip=slice(None, None, -1),
    )
    assert masks.regions_from_seg(path, chest) == expected()


def test_first_totalsegmentator_has_the_heart_in_parts(chest, tmp_path):
    labels, names = label_map(), {10: "lung_left", 12: "lung_right"}
    labels[(labels == 11)], labels[(labels == 13) | (labels == 14)] = 10, 12
    parts = [name for name in masks.TOTAL_V1.values() if masks.STRUCTURES[name].box == "heart"]
    heart = np.argwhere(labels == 51)
    for number, part in enumerate(parts):
        labels[tuple(heart[number :: len(parts)].T)] = 60 + number
        names[60 + number] = part
    assert len(parts) == 6
    path = write_seg(tmp_path / "seg.dcm", labels, names)
    assert masks.regions_from_seg(path, chest) == expected()


@pytest.mark.parametrize("oblique", [6.0, -8.0])
def test_an_oblique_scan_has_its_segmentation_in_its_own_grid(tmp_path, oblique):
    slices = list(series.datasets(CHEST, spacing=SPACING, series_uid=UID))
    angle = np.radians(oblique)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    for number, tags in enumerate(slices):
        tags.ImageOrientationPatient = [round(float(v), 9) for v in turn.T[:2].ravel()]
        tags.ImagePositionPatient = [round(float(v), 6) for v in turn @ [0, 0, number * SPACING[0]]]
    scan = dicom.read_series(series.write(tmp_path / "s", slices))
    image = sitk.GetImageFromArray(label_map())
    image.SetSpacing(SPACING[::-1])
    image.SetDirection(turn.ravel())
    sitk.WriteImage(image[:, :, 4:30], str(tmp_path / "labels.nii"))
    assert masks.regions_from_labels(tmp_path / "labels.nii", LABELS, scan) == expected()


@pytest.mark.parametrize(
    ("lost", "reason"), [((10, 11), "no_lungs"), ((12, 13, 14), "no_lungs"), ((51,), "no_heart")]
)
def test_what_is_not_segmented_is_not_guessed(chest, tmp_path, lost, reason):
    labels = label_map()
    labels[np.isin(labels, lost)] = 0
    sitk.WriteImage(image_of(labels, chest), str(tmp_path / "labels.nii"))
    path = write_seg(tmp_path / "seg.dcm", labels, LABELS)
    for find in (
        lambda: masks.regions_from_labels(tmp_path / "labels.nii", LABELS, chest),
        lambda: masks.regions_from_seg(path, chest),
    ):
        with pytest.raises(Rejected) as caught:
            find()
        assert caught.value.reason == reason


def test_segmentation_outside_the_volume_is_none(chest, tmp_path):
    image = image_of(label_map(), chest)
    image.SetOrigin((9000.0, 0.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / "labels.nii"))
    with pytest.raises(Rejected, match="left_lung is segmented outside the volume"):
        masks.regions_from_labels(tmp_path / "labels.nii", LABELS, chest)


def test_a_segmentation_that_cannot_be_used_rejects_the_series(chest, tmp_path):
    other = Dataset()
    other.SeriesInstanceUID = "1.2.4"
    path = write_seg(tmp_path / "a.dcm", label_map(), LABELS, ReferencedSeriesSequence=[other])
    ct = malformed.write("sound", tmp_path / "ct", UID)[0]
    cut, nothing, flat = tmp_path / "cut.dcm", tmp_path / "nothing.nii", tmp_path / "4d.nii"
    cut.write_bytes(path.read_bytes()[:900])
    nothing.write_bytes(b"nothing")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 2), np.uint8), np.eye(4)), flat)
    for file, detail in {
        path: "of another series",
        ct: "not a DICOM SEG",
        cut: "cannot be read|another series",
        nothing: "cannot be read",
        flat: "4 dimensions",
    }.items():
        with pytest.raises(Rejected, match=detail) as caught:
            masks.regions_from_segmentations([file], LABELS, chest)
        assert caught.value.reason == "no_segmentation"
        assert str(tmp_path) not in str(caught.value), "paths may name patients"


@pytest.mark.integration
def test_curation_takes_regions_from_segmentations_among_the_images(tmp_path):
    """One series has a DICOM SEG of lungs and heart and one of a liver, the others a map, none, or two."""
    images = tmp_path / "images"
    for uid in (UID, "1.2.31", "1.2.32", "1.2.33"):
        malformed.write("sound", images / uid, uid)
    write_seg(images / "seg.dcm", label_map(), {**LABELS, 5: "liver"}, SeriesInstanceUID="1.2.51")
    write_seg(images / "liver.dcm", label_map(), {5: "liver"}, SeriesInstanceUID="1.2.52")
    scan = dicom.read_series(sorted((images / UID).iterdir()))
    first = label_map()
    moved = {10: 13, 11: 14, 12: 15, 13: 16, 14: 17, 51: 44}  # to the values of version 1
    for before, after in sorted(moved.items(), reverse=True):
        first[label_map() == before] = after
    for name in ("1.2.31.nii.gz", "1.2.33.nii", "again/1.2.33.nii.gz"):
        (images / name).parent.mkdir(exist_ok=True)
        sitk.WriteImage(image_of(first, scan), str(images / name))

    def curated(out, **regions) -> pd.DataFrame:
        config = CurateConfig(min_slices=10, regions=RegionsConfig(**regions))
        curate(DicomFolder(images, config.labels), tmp_path / out, config, workers=1)
        assert read_manifest(tmp_path / out)["counts"]["files_of_no_series"] == 3
        return pd.read_parquet(tmp_path / out / "series.parquet")

    series = curated("a", source="segmentations", labels="total_v1")
    assert len(series) == 6
    assert series["reason"].value_counts().to_dict() == {"": 2, "not_ct": 2, "no_segmentation": 2}
    for _, row in series[series["status"] == "kept"].iterrows():
        assert {box: tuple(row[box]) for box in BOXES} == expected()
    found = dict(series.loc[series["reason"] == "no_segmentation", ["series", "detail"]].to_numpy())
    assert sorted(found.values()) == [
        "2 segmentations have lungs and heart: keep one",
        "the source has none of this series",
    ]
    own = curated("b")
    assert (own["status"] == "kept").sum() == 4
    assert {tuple(box) for box in own["heart"].dropna()} != {expected()["heart"]}, "the localizer's own"


def test_both_versions_of_totalsegmentator_are_in_the_table():
    for labels in (masks.TOTAL, masks.TOTAL_V1):
        assert {masks.STRUCTURES[name].box for name in labels.values()} == {
            "left_lung",
            "right_lung",
            "heart",
        }


def test_without_totalsegmentator_there_is_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "find_spec", lambda name: None)
    config = CurateConfig(regions=RegionsConfig(source="totalsegmentator"))
    with pytest.raises(InputError, match="pip install TotalSegmentator, or choose another"):
        curate(DicomFolder(tmp_path, config.labels), tmp_path / "out", config, workers=1)


def test_totalsegmentator_is_asked_for_what_is_needed(chest, monkeypatch):
    """A stand-in, because the real one downloads weights: it makes a label map of the image and the names."""

    def stand_in(image, output, *, ml, fast, task, roi_subset, quiet):
        assert (output, ml, task) == (None, True, "total")
        np.testing.assert_array_equal(image.dataobj, CHEST.transpose(2, 1, 0))
        assert set(roi_subset) == set(LABELS.values())
        return to_nifti(Series(voxels=label_map(), voxel_size=chest.voxel_size, origin_mm=chest.origin_mm))

    package, api, names = (ModuleType(name) for name in ("totalsegmentator", "python_api", "map_to_binary"))
    api.totalsegmentator, names.class_map = stand_in, {"total": {**LABELS, 5: "liver"}}
    for name, module in {"": package, ".python_api": api, ".map_to_binary": names}.items():
        monkeypatch.setitem(sys.modules, f"totalsegmentator{name}", module)
    assert masks.regions_by_totalsegmentator(chest) == expected()
