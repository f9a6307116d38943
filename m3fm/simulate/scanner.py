"""The scanners of the sites and the effect of their reconstruction kernels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from m3fm.simulate.shapes import Array


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A reconstruction kernel: its name, sharpness and noise."""

    name: str
    filter_code: int
    """NLST's ct_recon_filter."""
    noise_hu: float
    grain: float
    """Size of the noise's grain in pixels."""
    sharpen: float
    """Fraction of the fine detail that is added; a negative one smooths."""
    thickness_mm: float


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A model of CT scanner, and the kernels with which its site reconstructs every exam."""

    manufacturer: str
    model: str
    kernels: tuple[Kernel, Kernel]
    bits_stored: int


def _soft(name: str, code: int, thickness_mm: float) -> Kernel:
    return Kernel(
        name=name, filter_code=code, noise_hu=16, grain=0.7, sharpen=-0.25, thickness_mm=thickness_mm
    )


def _sharp(name: str, code: int, thickness_mm: float) -> Kernel:
    return Kernel(
        name=name, filter_code=code, noise_hu=38, grain=0.0, sharpen=0.35, thickness_mm=thickness_mm
    )


# The thickness is never the distance between slices, so that code which confuses the two is found out.
SCANNERS = (
    Scanner(
        manufacturer="GE MEDICAL SYSTEMS",
        model="LightSpeed QX/i",
        kernels=(_soft("STANDARD", 2, 2.5), _sharp("LUNG", 3, 2.5)),
        bits_stored=16,
    ),
    Scanner(
        manufacturer="SIEMENS",
        model="Volume Zoom",
        kernels=(_soft("B30f", 8, 2.0), _sharp("B50f", 7, 2.0)),
        bits_stored=12,
    ),
    Scanner(
        manufacturer="Philips",
        model="Mx8000",
        kernels=(_soft("C", 5, 3.2), _sharp("D", 4, 3.2)),
        bits_stored=12,
    ),
    Scanner(
        manufacturer="TOSHIBA",
        model="Aquilion",
        kernels=(_soft("FC10", 10, 2.0), _sharp("FC51", 11, 3.0)),
        bits_stored=16,
    ),
)


def reconstruct(hu: Array, kernel: Kernel, rng: np.random.Generator) -> NDArray[np.int16]:
    """Apply a kernel to a volume in HU, [slice, row, column]: sharpen or smooth its slices, add noise."""
    smooth = ndimage.gaussian_filter(hu, (0, 0.6, 0.6), truncate=2.5)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    if kernel.grain:
        noise = ndimage.gaussian_filter(noise, (0, kernel.grain, kernel.grain), truncate=2.5)
        noise /= noise.std()
    result = hu + kernel.sharpen * (hu - smooth) + kernel.noise_hu * noise
    return np.rint(result.clip(-1024, 3071)).astype(np.int16)
