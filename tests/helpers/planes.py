"""Planes and fields that hold arrays instead of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coos_mlflow.fields.plate_images import Channel, Field, PlateImages


@dataclass(frozen=True)
class ArrayPlane:
    image: np.ndarray
    place: str = "b03.tif"

    def stamp(self) -> tuple[str | int, ...]:
        return (self.place,)

    def read(self) -> np.ndarray:
        return self.image


def a_field(protein: Any, nucleus: Any, number: int = 1, well: str = "B03", **more: Any) -> Field:
    """A field whose channels are images, or lists of the images of their depths."""
    planes = {
        (place, z): ArrayPlane(np.asarray(image), f"{well}_s{number}_w{place + 1}_z{z}.tif")
        for place, channel in enumerate((protein, nucleus))
        for z, image in enumerate(channel if isinstance(channel, list) else [channel], 1)
    }
    return Field("P1", well, number, planes, **more)


def some_images(fields: list[Field]) -> PlateImages:
    return PlateImages("plate", "made", (Channel("protein"), Channel("DNA")), tuple(fields))
