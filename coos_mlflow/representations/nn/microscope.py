"""Augmentation by the physics of microscopes: the same cell as another instrument would show it.

Images are in units of their own stretch (`coos_mlflow.representations.nn.deeploc_network.stretch`):
0 is the dark of an image and 1 its bright. Gain, offset and exposure of a camera cancel in the
stretch, so they need no augmentation; what they do to the noise is drawn as a number of photons.
The ranges come from optics and cameras, never from the errors on any plate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import grid_sample

from coos_mlflow.representations.nn.networks import autocast, same_pixels

PIXEL_SIZE = 0.3225
"""Micrometres of a pixel where a data set names none: 6.45 um, binned by two, at 40x (chosen)."""

SCALE = 1.2
"""Largest factor on the size of a pixel, both ways. Cameras in use have pixels of 5.5 (CMOSIS
CMV2000), 5.86 (Sony IMX174), 6.45 (Sony ICX285) and 6.5 um (sCMOS): factors up to 1.18."""

SHIFT = 1.0
"""Largest distance on each axis in um between centres of one nucleus by two ways to find it
(chosen)."""

DEFOCUS = 1.0
"""Largest distance in um of a cell from the focal plane: about the depth of field of an aperture of
0.9 in water, n wavelength / NA^2 = 0.85 um at 520 nm (Inoue & Spring 1997), which an autofocus
keeps to."""

CHROMATIC = 0.3
"""Largest further distance in um of one channel: chromatic shifts along the axis (chosen)."""

BLUR_PER_DEFOCUS = 0.46
"""Standard deviation of the blur, in um, by um of defocus. Rays of an aperture of 0.9 in water
leave the axis at tan(asin(0.9 / 1.33)) = 0.92. The deviation of a uniform disc along an axis is
half its radius."""

HAZE = 0.3
"""Largest share of the light that comes from out of focus (chosen)."""

HAZE_WIDTH = (2.0, 6.0)
"""Standard deviations of this light in um: cells are 4 to 13 um high, by `BLUR_PER_DEFOCUS`
(chosen)."""

ILLUMINATION = 0.1
"""Largest slope of the illumination, from the centre of a crop to its edge. Fields are some tenths
darker at their corners (Smith et al. 2015, doi:10.1038/nmeth.3323). A crop is a tenth of one."""

CROSS_TALK = 0.1
"""Largest share of a channel's light that the other channel shows (chosen)."""

PHOTONS = (100.0, 10_000.0)
"""Photons in the brightest pixels: dim live cells, to a third of the full well of an sCMOS pixel of
30,000 electrons (Hamamatsu ORCA-Flash4.0)."""

READ_NOISE = 0.02
"""Largest read noise in shares of the stretch: 2 electrons (ORCA-Flash4.0) of 100 photons."""

GAMMA = 1.25
"""Largest gamma, both ways; cameras are linear, exported images need not be (chosen)."""

STRETCH = (0.1, 99.9)
"""Percentiles of an image that are mapped to 0 and 1, as in `stretch`."""

_AT_A_TIME = 16
"""Cells of 64 pixels at a time on a processor (`same_pixels`). Their copies stay in its cache: that
is eight times as fast as a batch of 128 at once."""

_TABLE = 1 << 20
"""Normal numbers in the table from which noise is taken."""


@dataclass(frozen=True)
class Settings:
    """What is done to each of n cells of c channels. The defaults of `neutral` do nothing.

    Parameters
    ----------
    matrices : ndarray, shape (n, 2, 3)
        From output to input coordinates in half sides (`torch.nn.functional.affine_grid`).
    blur : ndarray, shape (n, c)
        Standard deviation of the point spread in pixels.
    haze, haze_width : ndarray, shape (n, c)
        Share of the light in a wide point spread, and its standard deviation in pixels.
    slope : ndarray, shape (n, 2)
        Slope of the illumination along x and y, in shares by half a side.
    cross_talk : ndarray, shape (n, c)
        Share of the next channel that is added to a channel.
    shot, read : ndarray, shape (n, c)
        Standard deviations of the noise at 1, and of that at 0.
    gamma : ndarray, shape (n, c)
        Exponent of the image.
    places : ndarray of int64, shape (n, c)
        Where in the table of normal numbers the noise of an image begins.
    """

    matrices: np.ndarray
    blur: np.ndarray
    haze: np.ndarray
    haze_width: np.ndarray
    slope: np.ndarray
    cross_talk: np.ndarray
    shot: np.ndarray
    read: np.ndarray
    gamma: np.ndarray
    places: np.ndarray

    def of(self, cells: slice) -> Settings:
        """Return the settings of some of the cells."""
        return Settings(*(values[cells] for values in vars(self).values()))


def neutral(n: int, channels: int = 2) -> Settings:
    """Return settings that leave n cells as they are."""
    zero, one = np.zeros((n, channels)), np.ones((n, channels))
    still = np.tile(np.eye(2, 3), (n, 1, 1))
    places = np.zeros((n, channels), np.int64)
    return Settings(still, zero, zero, one, np.zeros((n, 2)), zero, zero, zero, one, places)


def drawn(
    n: int, side: int, rng: np.random.Generator, pixel_size: float = PIXEL_SIZE, channels: int = 2
) -> Settings:
    """Draw the settings of n cells within the ranges of this file.

    Each cell has a severity from 0 to 1, which multiplies all its ranges but those of turns, flips
    and shifts. A network then sees its own microscope more often than distant ones.

    Parameters
    ----------
    n : int
    side : int
        Height and width of a cell in pixels.
    rng : Generator
    pixel_size : float
        Micrometres of a pixel.
    channels : int
    """
    each = (n, channels)
    severity = rng.random((n, 1))

    def up_to(most: float) -> np.ndarray:
        return rng.random(each) * severity * most

    def around(most: float, size: tuple[int, ...] = each) -> np.ndarray:
        return rng.uniform(-most, most, size) * severity

    factor = SCALE ** around(1, (n, 1))[:, 0]
    focus = around(DEFOCUS, (n, 1)) + around(CHROMATIC)
    towards, steepness = rng.uniform(0, 2 * np.pi, n), around(ILLUMINATION, (n, 1))[:, 0]
    narrowest, widest = HAZE_WIDTH
    fewest, most = PHOTONS
    return Settings(
        matrices=_moves(factor, SHIFT / pixel_size / (side / 2), rng),
        blur=np.abs(focus) * BLUR_PER_DEFOCUS / pixel_size,
        haze=up_to(HAZE),
        haze_width=narrowest * (widest / narrowest) ** rng.random(each) / pixel_size,
        slope=np.stack([steepness * np.cos(towards), steepness * np.sin(towards)], axis=1),
        cross_talk=up_to(CROSS_TALK),
        shot=(most * (fewest / most) ** up_to(1)) ** -0.5,
        read=up_to(READ_NOISE),
        gamma=GAMMA ** around(1),
        places=rng.integers(0, _TABLE - side * side, each),
    )


def _moves(factor: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Return matrices (n, 2, 3) of scales (n,), turns by any angle, flips and shifts."""
    n = len(factor)
    angle = rng.uniform(0, 2 * np.pi, n)
    flip = rng.choice((-1.0, 1.0), n)
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    shifts = rng.uniform(-shift, shift, (2, n))
    rows = [cosine * flip, -sine, shifts[0], sine * flip, cosine, shifts[1]]
    return np.stack(rows, axis=1).reshape(n, 2, 3)


def microscope(
    images: torch.Tensor, rng: np.random.Generator, pixel_size: float | None = None
) -> torch.Tensor:
    """Return stretched images as other microscopes would show them, stretched again.

    Parameters
    ----------
    images : Tensor of float32, shape (n, c, side, side)
        In units of their stretch.
    rng : Generator
        All random numbers; none is drawn on the device.
    pixel_size : float, optional
        Micrometres of a pixel, by default `PIXEL_SIZE`.

    Returns
    -------
    Tensor of float32, shape (n, c, side, side)
    """
    n, channels, side, _ = images.shape
    settings = drawn(n, side, rng, pixel_size or PIXEL_SIZE, channels)
    at_a_time = same_pixels(_AT_A_TIME, images.shape) if images.device.type == "cpu" else n
    seen = torch.empty_like(images, memory_format=torch.contiguous_format)
    with autocast(images.device, bf16=False):
        for start in range(0, n, at_a_time):
            cells = slice(start, start + at_a_time)
            seen[cells] = restretched(photographed(images[cells], settings.of(cells)))
    return seen


def photographed(images: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Return images under given settings: moved, blurred, lit, mixed, with noise and gamma.

    Parameters
    ----------
    images : Tensor of float32, shape (n, c, side, side)
    settings : Settings

    Returns
    -------
    Tensor of float32, shape (n, c, side, side)
    """

    def each(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(images.device)[:, :, None, None]

    seen = moved(images, settings.matrices)
    seen = blurred(seen, settings.blur, settings.haze, settings.haze_width)
    # In place from here on: memory that a processor has not used yet costs more than the sums.
    seen.mul_(_light(each(settings.slope), images.shape[-1]))
    seen.addcmul_(seen.roll(-1, dims=1), each(settings.cross_talk)).clamp_(min=0)
    deviation = (seen * each(settings.shot**2)).add_(each(settings.read**2)).sqrt_()
    noise = _noise(settings.places, images.shape[-1], images.device)
    return seen.addcmul_(noise, deviation).clamp_(min=0).pow_(each(settings.gamma))


def moved(images: torch.Tensor, matrices: np.ndarray) -> torch.Tensor:
    """Return images turned, flipped, scaled and shifted; beyond an edge its mirror image is seen.

    Parameters
    ----------
    images : Tensor of float32, shape (n, c, side, side)
    matrices : ndarray, shape (n, 2, 3)
        See `Settings`.
    """
    near = _near(images.shape[-1], images.device)
    theta = torch.from_numpy(matrices.astype(np.float32)).to(images.device)
    # As `affine_grid`, which takes longer than the sampling.
    along, across = theta[:, :, :1] * near, theta[:, :, 1:2] * near + theta[:, :, 2:]
    grid = (along[:, :, None, :] + across[:, :, :, None]).permute(0, 2, 3, 1)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def blurred(
    images: torch.Tensor, width: np.ndarray, share: np.ndarray, wide: np.ndarray
) -> torch.Tensor:
    """Return images under a Gaussian point spread with a wider one, each image with its own.

    Cosines (DCT-II) are the eigenvectors of a blur whose light is mirrored at the edges. A blur of
    any width is then one factor for each cosine, which takes four products of matrices. No light is
    lost. The Gaussian is a good model of a point spread (Zhang et al. 2007, Appl. Opt. 46:1819).

    Parameters
    ----------
    images : Tensor of float32, shape (n, c, side, side)
    width, share, wide : ndarray, shape (n, c)
        Standard deviation in pixels; share of the light in the wide one; its deviation.
    """
    side = images.shape[-1]
    cosines = _cosines(side, images.device)
    frequency = np.pi * np.arange(side) / side
    # exp(-(s w)^2 / 2) along each axis; of the frequencies y and x it is the product of both.
    narrow, broad = (np.exp(-((s[:, :, None] * frequency) ** 2) / 2) for s in (width, wide))
    left = np.stack([narrow * (1 - share)[:, :, None], broad * share[:, :, None]], axis=-1)
    right = np.stack([narrow, broad], axis=-2)
    factors = [torch.from_numpy(f.astype(np.float32)).to(images.device) for f in (left, right)]
    spectrum = (cosines @ (images @ cosines.T)).mul_(factors[0] @ factors[1])
    return cosines.T @ (spectrum @ cosines)


def restretched(images: torch.Tensor) -> torch.Tensor:
    """Return images (n, c, height, width), each brought to [0, 1] by its percentiles.

    It is `stretch` on the device, without the rule for a range of less than a count.
    """
    pixels = images.flatten(2)
    last = pixels.shape[-1] - 1
    low = _ranked(pixels, STRETCH[0] / 100 * last, largest=False)
    high = _ranked(pixels, (1 - STRETCH[1] / 100) * last, largest=True)
    spread = (high - low).clamp_(min=1e-6)
    return torch.minimum(pixels, high).sub_(low).div_(spread).view_as(images)


def _ranked(pixels: torch.Tensor, rank: float, largest: bool) -> torch.Tensor:
    """Return the pixel of a rank from the smallest or largest (n, c, 1), between two of them."""
    before, share = int(rank), rank % 1
    ends = pixels.topk(min(before + 2, pixels.shape[-1]), dim=-1, largest=largest).values
    return ends[..., before : before + 1].lerp(ends[..., -1:], share)


def _light(slope: torch.Tensor, side: int) -> torch.Tensor:
    """Return factors (n, 1, side, side) of a slope (n, 2, 1, 1), with the mean 1."""
    near = _near(side, slope.device)
    return 1 + slope[:, :1] * near + slope[:, 1:] * near[:, None]


def _near(side: int, device: torch.device) -> torch.Tensor:
    """Return the places of pixels on an axis, from -1 to 1 at the edges of a cell."""
    return (torch.arange(side, device=device) + 0.5) * (2 / side) - 1


@lru_cache(maxsize=8)
def _cosines(side: int, device: torch.device) -> torch.Tensor:
    """Return the orthonormal cosines (frequencies, pixels) of the DCT-II."""
    frequency, pixel = np.arange(side)[:, None], np.arange(side)[None, :] + 0.5
    rows = np.cos(np.pi * frequency * pixel / side) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    return torch.from_numpy(rows.astype(np.float32)).to(device)


@lru_cache(maxsize=2)
def _normals(device: torch.device) -> torch.Tensor:
    """Return a table of normal numbers; drawing new ones would take longer than all else here."""
    drawn_once = np.random.default_rng(0).standard_normal(_TABLE, np.float32)
    return torch.from_numpy(drawn_once).to(device)


def _noise(places: np.ndarray, side: int, device: torch.device) -> torch.Tensor:
    """Return standard normal images (n, c, side, side) from the table."""
    windows = _normals(device).unfold(0, side * side, 1)
    chosen = torch.from_numpy(places.ravel()).to(device)
    return windows[chosen].view(*places.shape, side, side)
