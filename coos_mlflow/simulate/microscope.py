"""The microscope: point spread with defocus, out-of-focus haze, illumination and camera.

A PerkinElmer Opera QEHS spinning disk confocal, 40x water, NA 0.9 (Lu et al. 2019, section 2.2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

NUMERICAL_APERTURE = 0.9
"""Lu et al. 2019, section 2.2."""

MAGNIFICATION = 40.0
"""Lu et al. 2019, section 2.2."""

WATER_INDEX = 1.333
"""Refractive index of the immersion water."""

CAMERA_PIXEL_UM = 6.45
"""Pixel of an interline CCD of the time (Sony ICX285); chosen, as no open record names it."""

BINNING = 2
"""Chosen, so that a 64-pixel crop spans 20.6 um, one cultured mouse cell."""

PIXEL_UM = CAMERA_PIXEL_UM * BINNING / MAGNIFICATION
"""0.3225 um in the specimen."""

FIELD_SHAPE = (520, 688)
"""Height and width of a field: the ICX285's 1040 x 1376 pixels, binned."""

PROTEIN_EMISSION_UM = 0.510
"""Green fluorescent protein: emission peak 507 to 510 nm (Tsien 1998, Annu. Rev. Biochem. 67)."""

NUCLEUS_EMISSION_UM = 0.680
"""A far-red DNA dye such as DRAQ5; chosen, as the paper does not name the dye."""

READ_NOISE_E = 8.0
"""Electrons, within the 5 to 15 of Murphy and Davidson 2012, chapter 14; the value is chosen."""

OFFSET_COUNTS = 100.0
"""A usual electronic offset of a cooled CCD; chosen."""

COUNTS_PER_E = 1.6
"""Gain in counts per electron; chosen."""

MAX_COUNT = 65535
"""16-bit files (Lu et al. 2019, section 2.1)."""


class Instrument(NamedTuple):
    """Settings of the microscope for one well (see `population.EFFECTS`).

    `pixel_um` is measured in the specimen. `blur` multiplies the width of the point spread.
    `defocus_um` is the distance of the focal plane from the cells' middle. `haze` is the share of
    light from out of focus, `falloff` the loss of illumination in the field's corners. `background`
    is in photons per pixel, `offset` in counts, `gain` in counts per electron, and `read_noise` in
    electrons.
    """

    pixel_um: float
    blur: float
    defocus_um: float
    haze: float
    falloff: float
    background: float
    offset: float
    gain: float
    read_noise: float


def focal_sigma_um(wavelength_um: float) -> float:
    """Return the standard deviation of the point spread in focus.

    The paraxial wide-field model in two dimensions, sigma = sqrt(2) / (k NA) with
    k = 2 pi / wavelength (Zhang, Zerubia and Olivo-Marin 2007, Appl. Opt. 46:1819). The small
    lateral sharpening by the disk's pinholes is left out.
    """
    return math.sqrt(2.0) * wavelength_um / (2.0 * math.pi * NUMERICAL_APERTURE)


def psf_sigma_px(instrument: Instrument, wavelength_um: float) -> float:
    """Return the standard deviation of the point spread in pixels, with defocus.

    Out of focus the width grows as that of a Gaussian beam with the same waist,
    sigma(z) = sigma(0) sqrt(1 + (z / zR)^2), zR = 4 pi n sigma(0)^2 / wavelength
    (Saleh and Teich, Fundamentals of Photonics, chapter 3).
    """
    sigma = focal_sigma_um(wavelength_um) * instrument.blur
    rayleigh = 4.0 * math.pi * WATER_INDEX * sigma * sigma / wavelength_um
    return sigma * math.hypot(1.0, instrument.defocus_um / rayleigh) / instrument.pixel_um


HAZE_SIGMA_UM = 1.9
"""Width of the out-of-focus light that passes neighbouring pinholes; chosen."""

_COARSE = 4
"""Side in pixels of the squares on which the haze, which is smooth, is computed; chosen."""


def optical_image(scene: np.ndarray, instrument: Instrument, wavelength_um: float) -> np.ndarray:
    """Blur a scene by the point spread and add haze.

    Parameters
    ----------
    scene : ndarray of float32, shape (height, width)
        Photons per pixel.
    instrument : Instrument
    wavelength_um : float
        Emission wavelength.

    Returns
    -------
    ndarray of float32, shape (height, width)
        Photons per pixel; light is conserved.
    """
    sigma = psf_sigma_px(instrument, wavelength_um)
    sharp = ndimage.gaussian_filter(scene, sigma, mode="reflect", truncate=3.5)
    coarse = _shrink(sharp)
    # Binning adds a variance of 1/12 and bilinear enlarging one of 1/6 (in squares of _COARSE).
    wide = math.sqrt((HAZE_SIGMA_UM / instrument.pixel_um / _COARSE) ** 2 - 0.25)
    veil = ndimage.gaussian_filter(coarse, wide, mode="nearest", truncate=3.0)
    _mix(sharp, veil, instrument.haze)
    return sharp


@njit(cache=True, nogil=True)
def _shrink(image: np.ndarray) -> np.ndarray:
    """Return the means of squares of _COARSE pixels; squares at the border may be smaller."""
    height, width = image.shape
    rows, columns = (height + _COARSE - 1) // _COARSE, (width + _COARSE - 1) // _COARSE
    total = np.zeros((rows, columns), np.float32)
    count = np.zeros((rows, columns), np.float32)
    for y in range(height):
        for x in range(width):
            total[y // _COARSE, x // _COARSE] += image[y, x]
            count[y // _COARSE, x // _COARSE] += 1.0
    return total / count


@njit(cache=True, nogil=True)
def _mix(sharp: np.ndarray, veil: np.ndarray, share: float) -> None:
    """Replace a share of `sharp` by the bilinearly enlarged `veil`, in place."""
    rows, columns = veil.shape
    for y in range(sharp.shape[0]):
        v = min(max((y + 0.5) / _COARSE - 0.5, 0.0), rows - 1.0)
        i = min(int(v), rows - 2)
        fy = v - i
        for x in range(sharp.shape[1]):
            u = min(max((x + 0.5) / _COARSE - 0.5, 0.0), columns - 1.0)
            j = min(int(u), columns - 2)
            fx = u - j
            top = veil[i, j] * (1.0 - fx) + veil[i, j + 1] * fx
            bottom = veil[i + 1, j] * (1.0 - fx) + veil[i + 1, j + 1] * fx
            haze = top * (1.0 - fy) + bottom * fy
            sharp[y, x] = sharp[y, x] * (1.0 - share) + haze * share


def illumination(
    top: int,
    left: int,
    size: int,
    instrument: Instrument,
    field_shape: tuple[int, int] = FIELD_SHAPE,
) -> np.ndarray:
    """Return the relative illumination of a square of the field.

    It falls with the squared distance from the field's centre, from 1 there to 1 - `falloff` in the
    corners. Flat-field correction removes this usual shape (Singh et al. 2014, J. Microsc.
    256:231).

    Returns
    -------
    ndarray of float32, shape (size, size)
    """
    height, width = field_shape
    rows = (np.arange(top, top + size) - height / 2) ** 2
    columns = (np.arange(left, left + size) - width / 2) ** 2
    corner = (height / 2) ** 2 + (width / 2) ** 2
    loss = instrument.falloff * np.minimum((rows[:, None] + columns) / corner, 1.0)
    return (1.0 - loss).astype(np.float32)


def expose(rng: np.random.Generator, photons: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Return 16-bit counts for the expected photo-electrons in each pixel.

    Photons and background have Poisson noise, and the readout adds Gaussian noise:
    variance = gain^2 (mean electrons + read_noise^2), the photon transfer line of Janesick 2007,
    Photon Transfer.

    Parameters
    ----------
    rng : numpy.random.Generator
    photons : ndarray, shape (..., height, width)
        Expected photo-electrons, without background.
    instrument : Instrument

    Returns
    -------
    ndarray of uint16, same shape
    """
    electrons = rng.poisson(photons + instrument.background).astype(np.float32)
    noise = rng.standard_normal(photons.shape, dtype=np.float32)
    return _digitise(electrons, noise, instrument)


def _digitise(electrons: np.ndarray, noise: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Amplify, offset, round and clip to 16 bit."""
    counts = np.empty(electrons.shape, np.uint16)
    _to_counts(
        electrons.ravel(),
        noise.ravel(),
        instrument.read_noise,
        instrument.gain,
        instrument.offset,
        counts.ravel(),
    )
    return counts


@njit(cache=True, nogil=True)
def _to_counts(
    electrons: np.ndarray,
    noise: np.ndarray,
    read_noise: float,
    gain: float,
    offset: float,
    counts: np.ndarray,
) -> None:
    """Write to `counts`; all arrays are one-dimensional."""
    for i in range(len(electrons)):
        value = round((electrons[i] + read_noise * noise[i]) * gain + offset)
        counts[i] = min(max(value, 0), MAX_COUNT)
