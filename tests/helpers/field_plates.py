"""Small plates of fields in the formats that sources read, with the counts that lie in them.

A source needs a maker here: a function that writes a plate into an empty folder and returns an
`Example`, registered by ``@maker("key of the source")``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from zarr_plates import write_by_hand

Counts = dict[tuple[str, int, int], dict[tuple[int, int], np.ndarray]]
"""By well, field and time, then by place of the channel and depth."""

WELLS = ("B03", "H12")
SHAPE = (40, 50)


@dataclass(frozen=True)
class Example:
    """A plate that was written.

    Parameters
    ----------
    location : Path
        What the user names.
    counts : Counts
    channels : tuple of str
        Names that the source must give.
    pixel_size_um : float
    plate : str
    images : tuple of Path
        All files with pixels.
    indexed : bool
        Whether an index names the images, so that a missing one is known.
    """

    location: Path
    counts: Counts
    channels: tuple[str, ...]
    pixel_size_um: float
    plate: str
    images: tuple[Path, ...]
    indexed: bool = False


MAKERS: dict[str, Callable[[Path], Example]] = {}


def maker(key: str) -> Callable[[Callable[[Path], Example]], Callable[[Path], Example]]:
    """Register a function that writes an example for a source."""

    def register(make: Callable[[Path], Example]) -> Callable[[Path], Example]:
        MAKERS[key] = make
        return make

    return register


def some_counts(
    fields: int = 2,
    channels: int = 2,
    depths: int = 1,
    times: int = 1,
    wells: tuple[str, ...] = WELLS,
) -> Counts:
    """Return images of noise, uint16, each another."""
    rng = np.random.default_rng(0)
    return {
        (well, field, time): {
            (channel, depth): rng.integers(100, 4000, SHAPE, dtype=np.uint16)
            for channel in range(channels)
            for depth in range(1, depths + 1)
        }
        for well in wells
        for field in range(1, fields + 1)
        for time in range(1, times + 1)
    }


def planes(counts: Counts) -> Iterator[tuple[str, int, int, int, int, np.ndarray]]:
    """Yield well, field, time, channel, depth and image, in order."""
    for (well, field, time), images in counts.items():
        for (channel, depth), image in images.items():
            yield well, field, time, channel, depth, image


def row_and_column(well: str) -> tuple[int, int]:
    """Return the numbers of ``"B03"``, from 1."""
    return ord(well[0]) - ord("A") + 1, int(well[1:])


@maker("ome_zarr")
def ome_zarr(folder: Path) -> Example:
    """Write two fields of two wells at two depths and times."""
    counts = some_counts(depths=2, times=2)

    def image_of(well: str, name: str) -> np.ndarray:
        at = well.replace("/", "")
        return np.array(
            [
                [[counts[at, int(name), time][c, z] for z in (1, 2)] for c in (0, 1)]
                for time in (1, 2)
            ]
        )

    write_by_hand(folder, image_of, axes="tczyx")
    images = tuple(path for path in folder.rglob("c/**/*") if path.is_file())
    return Example(folder, counts, ("GFP", "DAPI"), 0.5, "plate 7", images)


HARMONY_V5 = "http://www.perkinelmer.com/PEHH/HarmonyV5"


def write_harmony(
    folder: Path,
    counts: Counts,
    *,
    plate: str = "plate 7",
    namespace: str = HARMONY_V5,
    index: str = "Index.idx.xml",
    images: str = "Images",
    channels: tuple[str, ...] = ("Alexa 488", "HOECHST 33342"),
    pixel_size_um: float = 0.5,
) -> tuple[Path, ...]:
    """Write a measurement of Harmony to V5; return its images."""
    (folder / images).mkdir(parents=True)
    written, entries = [], []
    for well, field, time, channel, depth, image in planes(counts):
        row, column = row_and_column(well)
        name = f"r{row:02d}c{column:02d}f{field:02d}p{depth:02d}-ch{channel + 1}sk{time}fk1fl1.tiff"
        tifffile.imwrite(folder / images / name, image)
        written.append(folder / images / name)
        entries.append(
            f"<Image><id>{len(entries)}</id><State>Ok</State><URL>{name}</URL><Row>{row}</Row>"
            f"<Col>{column}</Col><FieldID>{field}</FieldID><PlaneID>{depth}</PlaneID>"
            f"<TimepointID>{time - 1}</TimepointID><ChannelID>{channel + 1}</ChannelID>"
            f"<ChannelName>{channels[channel]}</ChannelName>"
            f'<ImageResolutionX Unit="m">{pixel_size_um * 1e-6!r}</ImageResolutionX>'
            "<MainEmissionWavelength>522</MainEmissionWavelength></Image>"
        )
    (folder / images / index).write_text(
        f'<?xml version="1.0" encoding="utf-8"?><EvaluationInputData xmlns="{namespace}">'
        f"<Plates><Plate><PlateID>{plate}</PlateID><Name>{plate}</Name>"
        "<PlateRows>8</PlateRows><PlateColumns>12</PlateColumns></Plate></Plates>"
        f"<Wells><Well><id>1</id><Image id='0'/></Well></Wells><Images>{''.join(entries)}</Images>"
        "</EvaluationInputData>",
        encoding="utf-8-sig",
    )
    return tuple(written)


@maker("harmony")
def harmony(folder: Path) -> Example:
    """Write two fields of two wells at two depths and times."""
    counts = some_counts(depths=2, times=2)
    images = write_harmony(folder, counts)
    return Example(
        folder, counts, ("Alexa 488", "HOECHST 33342"), 0.5, "plate 7", images, indexed=True
    )
