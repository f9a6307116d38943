"""Series that a scanner, an archive or a mistake could leave behind, and why each must be refused.

All are made of one small chest, which unchanged is kept: what is refused is refused for the change alone.
"""

from pathlib import Path

import dicom_series as series
import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

SPACING = (8.0, 7.0, 7.0)
SLICES, SIZE = 33, 48
KEPT = ""


def chest() -> np.ndarray:
    """int16 HU from the feet to the head: a body, two lungs, a heart."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (SLICES, SIZE, SIZE)), indexing="ij")
    z, y, x = z * SPACING[0], y * SPACING[1], x * SPACING[2]
    hu = np.where((y / 110) ** 2 + (x / 150) ** 2 < 1, 40, -1000)
    for side in (-1, 1):
        hu[((x - side * 75) / 50) ** 2 + (y / 85) ** 2 + (z / 115) ** 2 < 1] = -850
    hu[((x - 20) / 55) ** 2 + ((y + 20) / 50) ** 2 + ((z + 40) / 50) ** 2 < 1] = 45
    return (hu + np.random.default_rng(0).normal(0, 10, hu.shape)).clip(-1020).astype(np.int16)


CHEST = chest()


def same(slices):
    """No change."""


def put(keyword, value, numbers=range(SLICES)):
    def edit(slices):
        for number in numbers:
            setattr(slices[number], keyword, value)

    return edit


def raw(keyword, text, numbers=range(SLICES)):
    """Bytes that pydicom would not write itself."""

    def edit(slices):
        tag = Tag(keyword)
        for number in numbers:
            slices[number][tag] = RawDataElement(
                tag, dictionary_VR(tag), len(text), text, 0, is_implicit_VR=False, is_little_endian=True
            )

    return edit


def drop(keyword, numbers=(4,)):
    def edit(slices):
        for number in numbers:
            del slices[number][keyword]

    return edit


def keep(*numbers):
    def edit(slices):
        slices[:] = [slices[number] for number in numbers]

    return edit


def every_stored(change):
    """Another value for every pixel that is stored."""

    def edit(slices):
        for tags in slices:
            series.store(tags, change(series.stored(tags)))

    return edit


def one_stored(number, change):
    return lambda slices: series.store(slices[number], change(series.stored(slices[number])))


def move(step, numbers=range(SLICES)):
    """Shift slices by a multiple of their number: (x, y, z) in mm."""

    def edit(slices):
        for number in numbers:
            place = slices[number].ImagePositionPatient
            slices[number].ImagePositionPatient = [p + number * s for p, s in zip(place, step, strict=True)]

    return edit


def turn(degrees, shear):
    """Slices turned around the x axis, stacked along their normal or, with shear, straight up."""

    def edit(slices):
        angle = np.radians(degrees)
        for number, tags in enumerate(slices):
            tags.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(angle), 9), round(np.sin(angle), 9)]
            if not shear:
                tags.ImagePositionPatient = [0, -np.sin(angle) * 8 * number, np.cos(angle) * 8 * number]

    return edit


def stacked(orientation, step):
    """Slices of another plane."""

    def edit(slices):
        for number, tags in enumerate(slices):
            tags.ImageOrientationPatient = orientation
            tags.ImagePositionPatient = [number * s for s in step]

    return edit


coronal, sagittal = stacked([1, 0, 0, 0, 0, -1], (0, 7, 0)), stacked([0, 1, 0, 0, 0, -1], (7, 0, 0))


def both(*edits):
    def edit(slices):
        for each in edits:
            each(slices)

    return edit


def twice(slices):
    """A copy of each file."""
    slices.extend([series.copy(tags) for tags in slices])


def again(mm=0.0, change=lambda stored: stored + 1, numbers=range(SLICES), **tags):
    """Slices a second time under instances of their own, some mm higher, with other pixels."""

    def edit(slices):
        for number in numbers:
            extra = series.copy(slices[number])
            extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            x, y, z = extra.ImagePositionPatient
            extra.ImagePositionPatient = [x, y, z + mm]
            for keyword, value in tags.items():
                setattr(extra, keyword, value)
            series.store(extra, change(series.stored(extra)))
            slices.append(extra)

    return edit


def acquisitions(edit):
    """The first SLICES slices are of acquisition 1, further ones of the number they have got."""
    return both(put("AcquisitionNumber", 1), edit)


def each(keyword, value):
    """A value that depends on the slice's number."""

    def edit(slices):
        for number, tags in enumerate(slices):
            setattr(tags, keyword, value(number))

    return edit


def places(z, y=lambda number: 0.0):
    """Slices in other places: mm along the patient, and to the back, by number."""

    def edit(slices):
        for number, tags in enumerate(slices):
            x, back, _ = tags.ImagePositionPatient
            tags.ImagePositionPatient = [x, round(back + y(number), 4), round(z(number), 4)]

    return edit


def in_high_bits(high_bit, syntax=None):
    """The 12 bits of a value end at another bit than the lowest twelfth, and noise is in all others."""

    def edit(slices):
        rng = np.random.default_rng(7)
        for tags in slices:
            below, values = high_bit - 11, series.stored(tags)
            series.store(tags, values << below | rng.integers(0, 1 << 16, values.shape) & ~(0xFFF << below))
            tags.BitsStored, tags.HighBit = 16, 15
            if syntax:
                tags.compress(syntax, generate_instance_uid=False)
            tags.BitsStored, tags.HighBit = 12, high_bit

    return edit


def palette(slices):
    """Colours by number, as of a perfusion map."""
    for tags in slices:
        tags.PhotometricInterpretation = "PALETTE COLOR"
        for colour in ("Red", "Green", "Blue"):
            setattr(tags, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(tags, f"{colour}PaletteColorLookupTableData", bytes(512))


def compressed(syntax):
    def edit(slices):
        for tags in slices:
            tags.compress(syntax, generate_instance_uid=False)

    return edit


def written_as(syntax):
    def edit(slices):
        for tags in slices:
            tags.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                tags.PixelData = series.stored(tags).astype(">u2").tobytes()

    return edit


def claimed(syntax, content, number=3):
    """One slice whose pixels are not what its transfer syntax says."""

    def edit(slices):
        slices[number].file_meta.TransferSyntaxUID = syntax
        slices[number].PixelData = encapsulate([content])

    return edit


def broken_stream(syntax):
    """A compressed slice of which a piece in the middle is noise."""

    def edit(slices):
        compressed(syntax)(slices)
        content = bytearray(slices[3].PixelData)
        middle = len(content) // 2
        content[middle - 200 : middle + 200] = np.random.default_rng(3).bytes(400)
        content[20:40] = b"\xff" * 20
        slices[3].PixelData = bytes(content)

    return edit


def enhanced(slices):
    """All slices as the frames of one file."""
    frames = b"".join(tags.PixelData for tags in slices)
    del slices[1:]
    slices[0].SOPClassUID = slices[0].file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    slices[0].NumberOfFrames = SLICES
    slices[0].PixelData = frames


def colour(slices):
    for tags in slices:
        grey = (series.stored(tags) // 16).astype(np.uint8)
        tags.SamplesPerPixel, tags.PhotometricInterpretation, tags.PlanarConfiguration = 3, "RGB", 0
        tags.BitsAllocated, tags.BitsStored, tags.HighBit = 8, 8, 7
        tags.PixelData = np.repeat(grey[:, :, None], 3, axis=2).tobytes()


def without_pixels(modality, kind):
    """One object of another modality, as it lies beside a scan."""

    def edit(slices):
        del slices[1:]
        slices[0].Modality, slices[0].SOPClassUID = modality, kind
        slices[0].file_meta.MediaStorageSOPClassUID = kind
        for keyword in ("PixelData", "Rows", "Columns", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
            del slices[0][keyword]

    return edit


def other_modality(modality, kind):
    return both(put("Modality", modality), put("SOPClassUID", kind))


def signed(slices):
    """Signed values in files that say they are not."""
    for tags in slices:
        tags.BitsStored, tags.HighBit, tags.RescaleIntercept = 16, 15, 0
        series.store(tags, series.stored(tags) - 1024)


def padding(fraction, intercept=0):
    """A fraction of the rows is padding of the value -2000; the intercept that the values are stored for."""

    def edit(slices):
        for tags in slices:
            tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 15, 1
            tags.RescaleIntercept = intercept
            values = series.stored(tags) - 1024 - intercept
            values[: round(fraction * SIZE)] = -2000
            series.store(tags, values)
            tags.add_new("PixelPaddingValue", "SS", -2000)

    return edit


def head(slices):
    """A skull with its sinuses: air in bone and soft tissue, far too little for a lung."""
    y, x = np.meshgrid(*[np.arange(SIZE) - SIZE / 2] * 2, indexing="ij")
    for number, tags in enumerate(slices):
        hu = np.where(np.hypot(y, x) < 12, 40, -1000)
        hu[(np.hypot(y, x) < 13) & (np.hypot(y, x) > 11)] = 900
        if 10 < number < 15:
            hu[np.hypot(y + 8, x) < 1.5] = -1000
        series.store(tags, hu + 1024)


def abdomen(slices):
    """A body without a lung, with some gas in the bowel."""
    y, x = np.meshgrid(*[np.arange(SIZE) - SIZE / 2] * 2, indexing="ij")
    for number, tags in enumerate(slices):
        hu = np.where((y / 16) ** 2 + (x / 21) ** 2 < 1, 50, -1000)
        hu[np.hypot(y + 5, x - number % 7) < 2] = -995
        series.store(tags, hu + 1024)


def heartless(slices):
    """Nothing between the lungs but a thin wall."""
    hu = CHEST.copy()
    hu[4:29, 14:34, 8:40] = -850
    hu[4:29, 14:34, 23:25] = 40
    for tags, slice_hu in zip(slices, hu, strict=True):
        series.store(tags, slice_hu.astype(int) + 1024)


def feet_first(slices):
    """The same patient the other way round on the table: images turned over, numbers rising to the head."""
    for number, tags in enumerate(slices):
        tags.PatientPosition, tags.InstanceNumber = "FFS", number + 1
        x, y, z = tags.ImagePositionPatient
        tags.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        tags.ImagePositionPatient = [x + (SIZE - 1) * SPACING[2], y, z]
        series.store(tags, series.stored(tags)[:, ::-1])


def nested(slices):
    """Sequences without a length, private elements, and one that pydicom must be asked about."""
    for tags in slices:
        inner, item = Dataset(), Dataset()
        inner.CodeValue, inner.SeriesInstanceUID, inner.Rows = "1", "9.9.9", 7
        item.ReferencedSOPInstanceUID, item.PurposeOfReferenceCodeSequence = "9.9.8", Sequence([inner])
        for part in (inner, item):
            part.is_undefined_length_sequence_item = True
        tags.ReferencedImageSequence = Sequence([item, item])
        tags["ReferencedImageSequence"].is_undefined_length = True
        block = tags.private_block(0x0009, "ACME", create=True)
        block.add_new(1, "OB", b"\xfe\xff\x00\xe0" * 5000)
        block.add_new(2, "SQ", Sequence([inner]))


REQUIRED = {
    "Modality",
    "SOPClassUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
}
LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in (2, 4, 128))
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
REPORT, STRUCTURES = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.481.3"

KINDS = {
    # What looks odd and is sound.
    "sound": (KEPT, same),
    "feet first": (KEPT, feet_first),
    "the same files twice": (KEPT, twice),
    "the same files twice, one copy compressed": (
        KEPT,
        both(twice, lambda slices: compressed(RLELossless)(slices[:9])),
    ),
    "unknown character set": (KEPT, raw("SpecificCharacterSet", b"ISO_IR 999 ")),
    "text that its character set has not": (KEPT, raw("ManufacturerModelName", b"Ring \xff\xfe\x81 ")),
    "no instance numbers": (KEPT, drop("InstanceNumber", range(SLICES))),
    "the same instance number in all": (KEPT, put("InstanceNumber", 1)),
    "instance numbers that are none": (KEPT, raw("InstanceNumber", b"first ")),
    "thickness that is not a number": (KEPT, raw("SliceThickness", b"thin")),
    "implicit VR": (KEPT, written_as(ImplicitVRLittleEndian)),
    "deflated": (KEPT, written_as(DeflatedExplicitVRLittleEndian)),
    "big endian": (KEPT, written_as(ExplicitVRBigEndian)),
    "nested sequences": (KEPT, nested),
    "nested sequences, implicit VR": (KEPT, both(nested, written_as(ImplicitVRLittleEndian))),
    "RLE": (KEPT, compressed(RLELossless)),
    "JPEG 2000": (KEPT, compressed(JPEG2000Lossless)),
    "padding around": (KEPT, padding(0.1)),
    "MONOCHROME1": (KEPT, put("PhotometricInterpretation", "MONOCHROME1")),
    "MONOCHROME1 in some": (KEPT, put("PhotometricInterpretation", "MONOCHROME1", range(5, 9))),
    "MONOCHROME1, RLE": (
        KEPT,
        both(put("PhotometricInterpretation", "MONOCHROME1"), compressed(RLELossless)),
    ),
    "overlays in the unused bits": (KEPT, in_high_bits(11)),
    "overlays in the unused bits, RLE": (KEPT, in_high_bits(11, RLELossless)),
    "overlays in the unused bits, JPEG 2000": (KEPT, in_high_bits(11, JPEG2000Lossless)),
    "values in the high bits": (KEPT, in_high_bits(15)),
    "values in the high bits, RLE": (KEPT, in_high_bits(15, RLELossless)),
    "values in the middle bits": (KEPT, in_high_bits(13)),
    "units that say HU": (KEPT, raw("RescaleType", b"HU ")),
    "units that say nothing": (KEPT, raw("RescaleType", b"")),
    "units in some": (KEPT, put("RescaleType", "HU", [3, 4])),
    "a patient without a name in some": (KEPT, put("PatientName", "", range(9))),
    "a name with other punctuation": (
        KEPT,
        both(put("PatientName", "DOE^JANE^^"), put("PatientName", "Doe^Jane", [5])),
    ),
    "no study in one": (KEPT, drop("StudyInstanceUID", [8])),
    "a frame of reference in some": (KEPT, put("FrameOfReferenceUID", "1.2.77", range(9))),
    "no kernel in one": (KEPT, drop("ConvolutionKernel", [32])),
    "a kernel in other case": (KEPT, put("ConvolutionKernel", "b30F", [3])),
    "thicknesses that are rounded": (KEPT, put("SliceThickness", 5.01, [3])),
    "rotations one after the other": (KEPT, each("AcquisitionNumber", lambda number: number // 4)),
    "an acquisition number in some": (KEPT, put("AcquisitionNumber", 1, range(0, SLICES, 2))),
    "positions in whole mm": (KEPT, places(lambda n: round(8 * n + 0.3 * (n % 2)))),
    "an acquisition number for each slice": (
        KEPT,
        lambda slices: [setattr(tags, "AcquisitionNumber", n) for n, tags in enumerate(slices)],
    ),
    # Files.
    "no pixels": ("unreadable", drop("PixelData")),
    "few pixels": ("unreadable", put("PixelData", b"\0" * 100, [4])),
    "more rows than pixels": ("unreadable", put("Rows", 4000)),
    "unknown transfer syntax": ("unreadable", written_as("1.2.826.0.1.3680043.8.498.99")),
    "video": ("unreadable", claimed(MPEG2MPML, b"\0\0\1\xb3" * 40)),
    "no JPEG in JPEG": ("unreadable", claimed(JPEGLosslessSV1, b"no image at all.")),
    "no JPEG 2000 in JPEG 2000": ("unreadable", claimed(JPEG2000Lossless, b"no image at all.")),
    "no JPEG-LS in JPEG-LS": ("unreadable", claimed(JPEGLSLossless, b"no image at all.")),
    "no RLE in RLE": ("unreadable", claimed(RLELossless, b"no image at all.")),
    "damaged JPEG 2000": ("unreadable", broken_stream(JPEG2000Lossless)),
    "damaged RLE": ("unreadable", broken_stream(RLELossless)),
    # Tags.
    "values that end below their number of bits": ("bad_tags", put("HighBit", 10)),
    "values that end above what is allocated": ("bad_tags", put("HighBit", 16)),
    **{f"without {keyword}": ("missing_tags", drop(keyword)) for keyword in sorted(REQUIRED)},
    "empty position": ("missing_tags", put("ImagePositionPatient", None, [4])),
    "spacing NaN": ("bad_tags", raw("PixelSpacing", b"NaN\\NaN ")),
    "spacing infinite": ("bad_tags", raw("PixelSpacing", b"inf\\inf ")),
    "spacing zero": ("bad_tags", put("PixelSpacing", [0, 0])),
    "spacing negative": ("bad_tags", put("PixelSpacing", [-0.7, 0.7])),
    "spacing in metres": ("bad_tags", put("PixelSpacing", [0.0007, 0.0007])),
    "one spacing": ("bad_tags", raw("PixelSpacing", b"0.7 ")),
    "three spacings": ("bad_tags", raw("PixelSpacing", b"7\\7\\7 ")),
    "spacing in words": ("bad_tags", raw("PixelSpacing", b"fine\\fine ")),
    "spacing with a decimal comma": ("bad_tags", raw("PixelSpacing", b"0,7\\0,7 ")),
    "position NaN": ("bad_tags", raw("ImagePositionPatient", b"0\\0\\nan ", [4])),
    "half a position": ("bad_tags", raw("ImagePositionPatient", b"1.0\\2.0 ", [4])),
    "slices 12 mm apart": ("bad_tags", move((0, 0, 4))),
    "orientation of zeros": ("bad_tags", put("ImageOrientationPatient", [0] * 6)),
    "orientation not at right angles": ("bad_tags", put("ImageOrientationPatient", [1, 0, 0, 0.7, 0.7, 0])),
    "five cosines": ("bad_tags", raw("ImageOrientationPatient", b"1\\0\\0\\0\\1 ")),
    "no rows": ("bad_tags", put("Rows", 0)),
    "65535 rows and columns": ("bad_tags", both(put("Rows", 65535), put("Columns", 65535))),
    "more bits stored than allocated": ("bad_tags", put("BitsStored", 17)),
    "no bits stored": ("bad_tags", put("BitsStored", 0)),
    "one bit per pixel": ("bad_tags", put("BitsAllocated", 1)),
    "slope zero": ("bad_tags", put("RescaleSlope", 0)),
    "slope NaN": ("bad_tags", raw("RescaleSlope", b"NaN ")),
    "intercept in words": ("bad_tags", raw("RescaleIntercept", b"none")),
    # Values that are not HU.
    "unspecified units": ("not_hu", put("RescaleType", "US")),
    "optical density": ("not_hu", put("RescaleType", "OD")),
    "effective atomic numbers": ("not_hu", put("RescaleType", "Z_EFF")),
    "modified HU": ("not_hu", put("RescaleType", "HU_MOD")),
    "milligrams per millilitre in one slice": ("not_hu", put("RescaleType", "MGML", [20])),
    # What is constant within a volume.
    "two patients, one above the other": ("mixed", put("PatientID", "DOE-4712", range(17, SLICES))),
    "two patients, taking turns": ("mixed", put("PatientID", "DOE-4712", range(0, SLICES, 2))),
    "one slice of another patient": ("mixed", put("PatientName", "ROE^RICHARD", [32])),
    "two dates of birth": (
        "mixed",
        both(put("PatientBirthDate", "19500101"), put("PatientBirthDate", "19500102", [3])),
    ),
    "the same files twice, once under another patient": (
        "mixed",
        both(twice, lambda slices: [setattr(tags, "PatientID", "ANON-1") for tags in slices[:SLICES]]),
    ),
    "two studies": ("mixed", put("StudyInstanceUID", "1.2.99", range(20, SLICES))),
    "two frames of reference": ("mixed", each("FrameOfReferenceUID", lambda number: f"1.2.{number // 20}")),
    "two kernels": ("mixed", put("ConvolutionKernel", "B70f", range(10))),
    "two kernels, taking turns": (
        "mixed",
        each("ConvolutionKernel", lambda number: ["B30f", "B70f"][number % 2]),
    ),
    "two scanners": ("mixed", put("ManufacturerModelName", "Ring 10", [0])),
    "two thicknesses": ("mixed", put("SliceThickness", 1.25, range(16))),
    # Other images.
    "MR": ("not_ct", other_modality("MR", MR)),
    "PET": ("not_ct", other_modality("PT", PET)),
    "CT of another class": ("not_ct", put("SOPClassUID", MR)),
    "segmentation": ("not_ct", without_pixels("SEG", SEGMENTATION)),
    "report": ("not_ct", without_pixels("SR", REPORT)),
    "radiotherapy structures": ("not_ct", without_pixels("RTSTRUCT", STRUCTURES)),
    "secondary capture": ("derived", put("SOPClassUID", SECONDARY_CAPTURE)),
    "colour": ("derived", colour),
    "colours of a palette": ("derived", palette),
    "screenshot": ("derived", put("ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"])),
    "maximum intensity": ("derived", put("ImageType", ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MIP"])),
    "axial reformat": ("derived", put("ImageType", ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"])),
    "enhanced CT": ("multi_frame", enhanced),
    "several frames": ("multi_frame", put("NumberOfFrames", 2)),
    "localizer": ("localizer", both(keep(0, 1), put("ImageType", LOCALIZER, [0, 1]))),
    "one localizer": ("localizer", put("ImageType", LOCALIZER, [9])),
    "localizer that does not say so": ("localizer", both(coronal, keep(8))),
    "two localizers that do not say so": ("localizer", both(sagittal, keep(8, 9))),
    # Geometry.
    "one slice": ("too_few_slices", keep(5)),
    "few slices": ("too_few_slices", keep(*range(9))),
    "gap": ("gap", lambda slices: slices.pop(4)),
    "gap of several slices": ("gap", keep(*range(9), *range(14, SLICES))),
    "another slice at the same place": ("duplicate_slices", again(numbers=[7])),
    "one instance twice with other pixels": (
        "duplicate_slices",
        lambda slices: (slices.append(series.copy(slices[7])), one_stored(SLICES, lambda s: s + 1)(slices)),
    ),
    "all at one place": ("duplicate_slices", move((0, 0, -8))),
    "phases of a breath": ("several_volumes", again()),
    "two acquisitions, interleaved": ("several_volumes", acquisitions(again(mm=3, AcquisitionNumber=2))),
    "two acquisitions, apart": ("several_volumes", acquisitions(again(mm=400, AcquisitionNumber=2))),
    "two times, one of half the chest": (
        "several_volumes",
        both(
            put("TemporalPositionIdentifier", 1),
            again(numbers=range(SLICES // 2), TemporalPositionIdentifier=2),
        ),
    ),
    "acquisitions that take turns": (
        "several_volumes",
        each("AcquisitionNumber", lambda number: number % 2 + 1),
    ),
    "acquisitions that overlap": (
        "several_volumes",
        each("AcquisitionNumber", lambda number: 1 if number < 14 or number in (16, 18) else 2),
    ),
    "times that take turns": (
        "several_volumes",
        each("TemporalPositionIdentifier", lambda number: number % 3 + 1),
    ),
    "8 mm apart, then 9.4": ("inconsistent", places(lambda n: 8 * min(n, 16) + 9.4 * max(n - 16, 0))),
    "ever further apart": ("inconsistent", places(lambda n: 8 * n + 0.05 * n * n)),
    "steps with a wave": ("inconsistent", places(lambda n: 8 * n + 5 * np.sin(n / 5))),
    "the last slice shifted": ("inconsistent", move((0, 0.3, 0), [SLICES - 1])),
    "uneven steps": ("inconsistent", move((0, 0, 0.4), [6])),
    "one slice smaller": ("inconsistent", one_stored(6, lambda stored: stored[:-2])),
    "one slice scaled": ("inconsistent", put("PixelSpacing", [9, 9], [7])),
    "one slice turned": ("inconsistent", put("ImageOrientationPatient", [1, 0, 0, 0, -1, 0], [7])),
    "a coronal view among them": ("inconsistent", put("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], [7])),
    "one slice shifted": ("inconsistent", move((1, 0, 0), [7])),
    "tilted gantry": ("tilted", turn(15, shear=True)),
    "tilted a little": ("tilted", turn(1.5, shear=True)),
    "tilted as far as a gantry goes": ("tilted", turn(30, shear=True)),
    "sheared": ("tilted", move((0, 1, 0))),
    "sheared sideways": ("tilted", move((-0.5, 0, 0))),
    "sheared to one side and back": ("tilted", places(lambda n: 8 * n, lambda n: abs(n - 16))),
    "sheared in a wave": ("tilted", places(lambda n: 8 * n, lambda n: 15 * np.sin(n / 4))),
    "sheared more and more": ("tilted", places(lambda n: 8 * n, lambda n: 0.03 * n * n)),
    "sheared, unevenly spaced": ("tilted", places(lambda n: 8 * n + 3 * (n == 9), lambda n: n)),
    "oblique": ("not_axial", turn(20, shear=False)),
    "coronal": ("not_axial", coronal),
    "sagittal": ("not_axial", sagittal),
    "few coronal slices": ("not_axial", both(coronal, keep(*range(9)))),
    "turned within its plane": (
        "not_axial",
        put("ImageOrientationPatient", [0.866025, 0.5, 0, -0.5, 0.866025, 0]),
    ),
    # HU.
    "rescale forgotten": ("implausible_hu", put("RescaleIntercept", 0)),
    "rescale twice": ("implausible_hu", every_stored(lambda stored: np.maximum(stored - 1024, 0))),
    "rescale forgotten in one slice": ("implausible_hu", put("RescaleIntercept", 0, [12])),
    "rescale forgotten, with padding": (
        "implausible_hu",
        both(padding(0.1, -1024), put("RescaleIntercept", 0)),
    ),
    "ten times too much": ("implausible_hu", put("RescaleSlope", 10)),
    "wrong sign": ("implausible_hu", both(put("RescaleSlope", -1), put("RescaleIntercept", 1024))),
    "signed values as unsigned": ("implausible_hu", signed),
    "air alone": ("implausible_hu", every_stored(lambda stored: stored * 0 + 24)),
    "all pixels alike": ("implausible_hu", every_stored(lambda stored: stored * 0 + 1024)),
    "all padding": ("implausible_hu", padding(1.0)),
    # Anatomy.
    "head": ("no_lungs", head),
    "abdomen": ("no_lungs", abdomen),
    "nothing between the lungs": ("no_heart", heartless),
}
"""Kind of input: the reason it is refused for, or KEPT, and what is done to the slices of the chest."""

NO_DICOM = {
    "zero bytes": b"",
    "text": b"These are not the pixels that you are looking for.\n" * 20,
    "zeros": bytes(5000),
    "cut in its preamble": b"\0" * 128 + b"DI",
}
DAMAGED = {"cut after its preamble": 132, "cut in its meta information": 200, "cut in its header": 500}
"""Bytes that are left of a file that still says it is DICOM."""


def write(kind: str, directory: Path, series_uid: str) -> list[Path]:
    """Write the files of a kind."""
    slices = list(series.datasets(CHEST, spacing=SPACING, series_uid=series_uid))
    KINDS[kind][1](slices)
    return series.write(directory, slices)
