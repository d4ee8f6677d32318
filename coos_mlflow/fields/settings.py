"""All that cropping depends on beside the images: `CropSettings`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from coos_mlflow.fields.segmenters.base import DEFAULT_SIZE, NucleusSize

ALL, GOOD = "all", "good"
"""Which fields give cells: all, or those without a warning of `coos_mlflow.fields.quality`."""

MAX, FOCUS = "max", "focus"
"""How depths become one image: the maximum of all, or the sharpest one."""


@dataclass(frozen=True)
class CropSettings:
    """How fields become cells.

    Parameters
    ----------
    protein, nucleus : int
        Places of the two channels, from 0.
    crop : int
        Height and width of a cell in pixels.
    image_pixel_um : float
        Size of a pixel of the fields in micrometres.
    crop_pixel_um : float or None
        Size of a pixel of the crops, to which fields are resampled; None leaves them as they are.
    z : str
        `MAX`, `FOCUS`, or the number of a depth from 1.
    illumination : bool
        Whether uneven light is estimated over the plate and divided out.
    segmenter : str
        Key of the segmenter.
    size : NucleusSize
    keep : str
        `ALL` or `GOOD`.
    """

    protein: int
    nucleus: int
    crop: int
    image_pixel_um: float
    crop_pixel_um: float | None = None
    z: str = MAX
    illumination: bool = False
    segmenter: str = "threshold"
    size: NucleusSize = DEFAULT_SIZE
    keep: str = ALL

    @property
    def facts(self) -> dict[str, Any]:
        """The settings as JSON."""
        return asdict(self) | {"size": self.size._asdict()}
