"""What goes wrong on a plate that no factor of `population` describes.

Each disturbance is constant over a plate. It changes the expected light of a patch of tissue, which
is exposed afterwards, or the counts that the camera gives. Only wild plates (`wild`) have any. All
ranges are chosen, unless a source stands beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from coos_mlflow.simulate.microscope import FIELD_SHAPE, MAX_COUNT, Instrument

Range = tuple[float, float]
"""Smallest and largest value, all in between equally likely."""


@dataclass(frozen=True)
class Disturbance:
    """One cause of a wild plate, at one strength; by itself it changes nothing."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Disturbance:
        """Return one at a random strength."""
        return cls()

    def light(
        self, rng: np.random.Generator, photons: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Return the expected photo-electrons of a patch as the disturbance leaves them.

        Parameters
        ----------
        rng : numpy.random.Generator
            Of the well, for what differs between its patches.
        photons : ndarray of float32, shape (2, height, width)
            Of protein and nucleus, without background.
        instrument : Instrument
            Of the well.
        """
        return photons

    def camera(
        self, rng: np.random.Generator, counts: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Return counts as the disturbance leaves them.

        Parameters
        ----------
        rng, instrument
            As in `light`.
        counts : ndarray of uint16, shape (..., 2, height, width)
            Images that lie anywhere on the camera.
        """
        return counts


def _between(rng: np.random.Generator, low_high: Range) -> float:
    return round(float(rng.uniform(*low_high)), 3)


def _log_between(rng: np.random.Generator, low_high: Range) -> float:
    return round(float(np.exp(rng.uniform(*np.log(low_high)))), 3)


def _angle(rng: np.random.Generator) -> float:
    return _between(rng, (0.0, 2.0 * math.pi))


@dataclass(frozen=True)
class Debris(Disturbance):
    """Out-of-focus dust and fragments, which throw shadows or glow.

    Parameters
    ----------
    per_mm2 : float
        Mean number of pieces in an area. A crop of 64 pixels has 0.0004 mm2.
    glowing : float
        Share of pieces that glow; the others absorb.
    """

    per_mm2: float
    glowing: float

    PER_MM2: ClassVar[Range] = (500.0, 3000.0)
    SIGMA_UM: ClassVar[Range] = (1.0, 5.0)
    """Standard deviation of a piece, as wide as out-of-focus light makes it."""
    ABSORBANCE: ClassVar[Range] = (0.4, 2.0)
    """Natural logarithm of the light that a piece's middle takes (Beer-Lambert law)."""
    GLOW_PHOTONS: ClassVar[Range] = (20.0, 150.0)
    """Photons per pixel in a piece's middle, in both channels."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Debris:
        """Return one at a random strength."""
        return cls(_log_between(rng, cls.PER_MM2), _between(rng, (0.0, 1.0)))

    def light(
        self, rng: np.random.Generator, photons: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Lay random pieces over a patch, the same in both channels."""
        size = np.array(photons.shape[1:])
        area_mm2 = float(np.prod(size * instrument.pixel_um / 1000.0))
        absorbed, glow = (np.zeros(photons.shape[1:], np.float32) for _ in range(2))
        for _ in range(rng.poisson(self.per_mm2 * area_mm2)):
            sigma = rng.uniform(*self.SIGMA_UM) / instrument.pixel_um
            glows = rng.random() < self.glowing
            peak = rng.uniform(*(self.GLOW_PHOTONS if glows else self.ABSORBANCE))
            add_spot(glow if glows else absorbed, size * rng.random(2), sigma, peak)
        return photons * np.exp(-absorbed) + glow


def add_spot(canvas: np.ndarray, centre: np.ndarray, sigma: float, peak: float) -> None:
    """Add a Gaussian spot, in place."""
    low = np.maximum(np.floor(centre - 3.0 * sigma).astype(int), 0)
    high = np.minimum(np.ceil(centre + 3.0 * sigma).astype(int) + 1, canvas.shape)
    y, x = (
        np.exp(-0.5 * ((np.arange(a, b) - c) / sigma) ** 2)
        for a, b, c in zip(low, high, centre, strict=True)
    )
    canvas[low[0] : high[0], low[1] : high[1]] += (peak * y[:, None] * x).astype(np.float32)


@dataclass(frozen=True)
class UnevenField(Disturbance):
    """A tilted beam: the light falls linearly from one side of the field to the other.

    Parameters
    ----------
    loss : float
        Share of the light that is missing in the darkest corner.
    angle : float
        Direction in which it falls, in radians from the rows towards the columns.
    """

    loss: float
    angle: float

    LOSS: ClassVar[Range] = (0.3, 0.8)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> UnevenField:
        """Return one at a random strength."""
        return cls(_between(rng, cls.LOSS), _angle(rng))

    def light(
        self, rng: np.random.Generator, photons: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Dim a patch at a random place of the field; a larger patch is a field by itself."""
        along = []
        steps = (math.cos(self.angle), math.sin(self.angle))
        for side, field_side, step in zip(photons.shape[1:], FIELD_SHAPE, steps, strict=True):
            whole = max(side, field_side)
            start = rng.integers(0, whole - side + 1)
            place = (start + np.arange(side) + 0.5) / whole
            along.append(abs(step) * (place if step > 0 else 1.0 - place))
        darkness = (along[0][:, None] + along[1]) / sum(map(abs, steps))
        return (photons * (1.0 - self.loss * darkness)).astype(np.float32)


@dataclass(frozen=True)
class BleedThrough(Disturbance):
    """Light of one dye that passes the other channel's filter.

    Parameters
    ----------
    to_protein, to_nucleus : float
        Shares of the other channel's light.
    """

    to_protein: float
    to_nucleus: float

    TO_PROTEIN: ClassVar[Range] = (0.05, 0.3)
    TO_NUCLEUS: ClassVar[Range] = (0.0, 0.3)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> BleedThrough:
        """Return one at a random strength."""
        return cls(_between(rng, cls.TO_PROTEIN), _between(rng, cls.TO_NUCLEUS))

    def light(
        self, rng: np.random.Generator, photons: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Add to each channel its share of the other one."""
        shares = np.array([self.to_protein, self.to_nucleus], np.float32)
        return photons + shares[:, None, None] * photons[::-1]


@dataclass(frozen=True)
class MotionBlur(Disturbance):
    """A stage that moves along a line at constant speed during the exposure.

    Parameters
    ----------
    length_um : float
    angle : float
        In radians from the rows towards the columns.
    """

    length_um: float
    angle: float

    LENGTH_UM: ClassVar[Range] = (0.6, 2.5)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> MotionBlur:
        """Return one at a random strength."""
        return cls(_between(rng, cls.LENGTH_UM), _angle(rng))

    def light(
        self, rng: np.random.Generator, photons: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Smear both channels along the line."""
        kernel = self.kernel(instrument.pixel_um)
        return np.stack([ndimage.convolve(channel, kernel, mode="reflect") for channel in photons])

    def kernel(self, pixel_um: float) -> np.ndarray:
        """Return the share of its light that a point leaves in each pixel, with the sum 1.

        Returns
        -------
        ndarray of float32, shape (2 r + 1, 2 r + 1)
        """
        length = self.length_um / pixel_um
        radius = math.ceil(length / 2.0) + 1
        path = length * (np.arange(100) / 99 - 0.5)
        y, x = radius + path * math.cos(self.angle), radius + path * math.sin(self.angle)
        pixels = np.arange(2 * radius + 1)
        # Each moment's light is shared among the four nearest pixels.
        near_y, near_x = (
            np.maximum(0.0, 1.0 - np.abs(pixels[:, None] - places)) for places in (y, x)
        )
        return (near_y @ near_x.T / len(path)).astype(np.float32)


@dataclass(frozen=True)
class Misregistration(Disturbance):
    """A protein channel that lies beside the nucleus channel.

    Parameters
    ----------
    distance_px : float
    angle : float
        In radians from the rows towards the columns.
    """

    distance_px: float
    angle: float

    DISTANCE_PX: ClassVar[Range] = (1.0, 3.0)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Misregistration:
        """Return one at a random strength."""
        return cls(_between(rng, cls.DISTANCE_PX), _angle(rng))

    def light(
        self, rng: np.random.Generator, photons: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Move the protein channel; its border repeats what leaves no light behind."""
        step = self.distance_px * np.array([math.cos(self.angle), math.sin(self.angle)])
        moved = ndimage.shift(photons[0], step, order=1, mode="nearest")
        return np.stack([moved, photons[1]])


@dataclass(frozen=True)
class ColumnGain(Disturbance):
    """A camera with an amplifier for each column, as in an sCMOS chip, without correction.

    Gains that differ from pixel to pixel are a property of these cameras (Huang et al. 2013, Nat.
    Methods 10:653). The size of the differences is chosen, larger than that of a good camera.

    Parameters
    ----------
    sd : float
        Relative standard deviation of the gain between columns.
    pattern : int
        Seed of the columns' gains.
    """

    sd: float
    pattern: int

    SD: ClassVar[Range] = (0.02, 0.1)
    COLUMNS: ClassVar[int] = 2048
    """Columns of a usual chip of 4 megapixels."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> ColumnGain:
        """Return one at a random strength."""
        return cls(_between(rng, cls.SD), int(rng.integers(2**31)))

    def gains(self) -> np.ndarray:
        """Return the relative gain of each column, shape (COLUMNS,)."""
        noise = np.random.default_rng(self.pattern).standard_normal(self.COLUMNS)
        return np.maximum(1.0 + self.sd * noise, 0.0)

    def camera(
        self, rng: np.random.Generator, counts: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Amplify the columns of images that lie at random places; wider ones repeat the chip."""
        first = rng.integers(0, self.COLUMNS, counts.shape[:-3])
        columns = (first[..., None] + np.arange(counts.shape[-1])) % self.COLUMNS
        gains = self.gains()[columns][..., None, None, :]
        return _counts(instrument.offset + gains * (counts - instrument.offset))


@dataclass(frozen=True)
class CoarseSteps(Disturbance):
    """A camera of few bits, whose steps are many counts of the file.

    Parameters
    ----------
    step : int
        Counts.
    """

    step: int

    STEPS: ClassVar[tuple[int, ...]] = (8, 16, 32, 64)
    """With 64 counts to a step, 10 bits span the 16 of the file."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CoarseSteps:
        """Return one at a random strength."""
        return cls(int(rng.choice(cls.STEPS)))

    def camera(
        self, rng: np.random.Generator, counts: np.ndarray, instrument: Instrument
    ) -> np.ndarray:
        """Round down to whole steps."""
        return counts - counts % np.uint16(self.step)


def _counts(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, MAX_COUNT).astype(np.uint16)


KINDS: tuple[type[Disturbance], ...] = (
    *(Debris, UnevenField, BleedThrough, MotionBlur, Misregistration),
    *(ColumnGain, CoarseSteps),
)
"""All disturbances, in the order in which they meet the light and the counts."""
