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


IMAGEXPRESS_METADATA = """<MetaData>
<prop id="ApplicationName" type="string" value="MetaMorph"/>
<PlaneInfo>
<prop id="spatial-calibration-state" type="bool" value="on"/>
<prop id="spatial-calibration-x" type="float" value="{pixel_size_um}"/>
<prop id="spatial-calibration-units" type="string" value="um"/>
<prop id="image-name" type="string" value="Copy of {name}"/>
<prop id="wavelength" type="float" value="452"/>
<prop id="_IllumSetting_" type="string" value="{name}"/>
</PlaneInfo>
</MetaData>"""


def write_imagexpress(
    folder: Path,
    counts: Counts,
    *,
    stem: str = "9987",
    ending: str = "",
    htd: bool = True,
    channels: tuple[str, ...] = ("DAPI", "FITC"),
    pixel_size_um: float = 1.3672,
) -> tuple[Path, ...]:
    """Write a plate as MetaXpress exports it; return its images."""
    depths = {place[1] for images in counts.values() for place in images}
    written = []
    for well, field, time, channel, depth, image in planes(counts):
        below = folder / f"TimePoint_{time}"
        if len(depths) > 1:
            below = below / f"ZStep_{depth}"
        below.mkdir(parents=True, exist_ok=True)
        path = below / f"{stem}_{well}_s{field}_w{channel + 1}{ending}.TIF"
        description = IMAGEXPRESS_METADATA.format(
            pixel_size_um=pixel_size_um, name=channels[channel]
        )
        tifffile.imwrite(path, image, description=description, metadata=None)
        written.append(path)
    if htd:
        lines = ['"HTSInfoFile", Version 1.0', '"Description", "40x, 0.5 \u00b5m"']
        lines += ['"XWells", 12', '"YWells", 8']
        lines += [f'"WaveName{place}", "{name}"' for place, name in enumerate(channels, 1)]
        rows = {row_and_column(well) for well, _, _ in counts}
        for row in range(1, 9):
            chosen = ["TRUE" if (row, column) in rows else "FALSE" for column in range(1, 13)]
            lines.append(f'"WellsSelection{row}", ' + ", ".join(chosen))
        text = "\r\n".join([*lines, '"EndFile"'])
        (folder / f"{stem}.HTD").write_text(text, encoding="latin-1")
    return tuple(written)


@maker("imagexpress")
def imagexpress(folder: Path) -> Example:
    """Write two fields of two wells at two depths and times."""
    counts = some_counts(depths=2, times=2)
    images = write_imagexpress(folder, counts)
    return Example(folder, counts, ("DAPI", "FITC"), 1.3672, "9987", images, indexed=True)


YOKOGAWA = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'


def write_cellvoyager(folder: Path, counts: Counts, plate: str = "screen 3") -> tuple[Path, ...]:
    """Write a measurement of a CV8000, with an image for shading; return its images."""
    written, records = [], []
    for well, field, time, channel, depth, image in planes(counts):
        row, column = row_and_column(well)
        name = (
            f"{plate}_{well}_T{time:04d}F{field:03d}L01A{channel + 1:02d}Z{depth:02d}"
            f"C{channel + 1:02d}.tif"
        )
        tifffile.imwrite(folder / name, image)
        written.append(folder / name)
        records.append(
            f'<bts:MeasurementRecord bts:Type="IMG" bts:Row="{row}" bts:Column="{column}" '
            f'bts:TimePoint="{time}" bts:FieldIndex="{field}" bts:ZIndex="{depth}" '
            f'bts:Ch="{channel + 1}">{name}</bts:MeasurementRecord>'
        )
    (folder / "MeasurementData.mlf").write_text(
        f"<bts:MeasurementData {YOKOGAWA}>{''.join(records)}</bts:MeasurementData>"
    )
    detail = "".join(
        f'<bts:MeasurementChannel bts:Ch="{ch}" bts:HorizontalPixelDimension="0.325"/>'
        for ch in (1, 2, 3)
    )
    (folder / "MeasurementDetail.mrf").write_text(
        f'<bts:MeasurementDetail bts:RowCount="8" bts:ColumnCount="12" '
        f'bts:MeasurementSettingFileName="a.mes" {YOKOGAWA}>'
        f'<bts:MeasurementSamplePlate bts:Name="{plate}"/>{detail}</bts:MeasurementDetail>',
        encoding="utf-8-sig",
    )
    (folder / "a.mes").write_text(
        f"<bts:MeasurementSetting {YOKOGAWA}>"
        '<bts:LightSource bts:Name="405nm" bts:WaveLength="405"/>'
        '<bts:Channel bts:Ch="1" bts:Target="405" bts:Acquisition="BP445/45" bts:Fluorophore="">'
        "<bts:LightSourceName>405nm</bts:LightSourceName></bts:Channel>"
        '<bts:Channel bts:Ch="2" bts:Target="488" bts:Acquisition="BP525/50" '
        'bts:Fluorophore="EGFP"/></bts:MeasurementSetting>'
    )
    tifffile.imwrite(folder / "SC_BP445-45_M01_CH01.tif", np.ones(SHAPE, np.uint16))
    return tuple(written)


@maker("cellvoyager")
def cellvoyager(folder: Path) -> Example:
    """Write two fields of two wells at two depths and times."""
    counts = some_counts(depths=2, times=2)
    images = write_cellvoyager(folder, counts)
    return Example(
        folder, counts, ("405 BP445/45", "EGFP"), 0.325, "screen 3", images, indexed=True
    )


def flex_xml(
    pages: list[tuple[int, int, int]], *, factor: str = "1", barcode: str = "BC 5", names: str = ""
) -> str:
    """Return the XML of a ``.flex``; pages are (field, channel from 0, depth)."""
    arrays = "".join(
        f'<Array Name="{field}_Exp{channel + 1}Cam1" Factor="{factor}"/>'
        for field, channel, _ in pages
    )
    images = "".join(
        f'<Image BufferNo="{page}"><Sublayout>{field}</Sublayout><Stack>{depth}</Stack>'
        "<LightSourceCombinationRef>L1</LightSourceCombinationRef>"
        "<ImageResolutionX>3.23e-07</ImageResolutionX></Image>"
        for page, (field, _, depth) in enumerate(pages)
    )
    return (
        '<?xml version="1.0"?><Root><FLEX version="1.8"><LightSources>'
        '<LightSource ID="laser"><Wavelength>488</Wavelength></LightSource></LightSources>'
        '<LightSourceCombination ID="L1"><LightSourceRef ID="laser"/></LightSourceCombination>'
        f"<Plate><Barcode>{barcode}</Barcode><XSize>16</XSize><YSize>24</YSize></Plate>"
        f"<Well><Images>{images}</Images></Well></FLEX><Arrays>{arrays}</Arrays></Root>"
    )


def write_flex(path: Path, images: list[np.ndarray], xml: str) -> None:
    """Write a ``.flex`` with one page for each image."""
    with tifffile.TiffWriter(path) as tiff:
        for page, image in enumerate(images):
            tags = [(65200, "s", 0, xml, True)] if page == 0 else []
            tiff.write(image, contiguous=False, metadata=None, extratags=tags)


@maker("flex")
def flex(folder: Path) -> Example:
    """Write one file for each of two wells, with two fields, channels and depths."""
    counts = some_counts(depths=2)
    written = []
    for well in WELLS:
        of_well = [one for one in planes(counts) if one[0] == well]
        pages = [(field, channel, depth) for _, field, _, channel, depth, _ in of_well]
        row, column = row_and_column(well)
        path = folder / f"{row:03d}{column:03d}000.flex"
        write_flex(path, [image for *_, image in of_well], flex_xml(pages))
        written.append(path)
    return Example(folder, counts, ("Exp1Cam1", "Exp2Cam1"), 0.323, "BC 5", tuple(written))


OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_xml(
    sizes: tuple[int, int, int],
    names: tuple[str, ...] = ("GFP", "DAPI"),
    *,
    size: str = '650" PhysicalSizeXUnit="nm',
    data: str = "",
) -> str:
    """Return OME-XML of one image; sizes are times, channels and depths."""
    times, channels, depths = sizes
    listed = "".join(f'<Channel ID="Channel:0:{i}" Name="{name}"/>' for i, name in enumerate(names))
    return (
        f'<?xml version="1.0"?><OME xmlns="{OME}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYZCT" Type="uint16" SizeX="{SHAPE[1]}" SizeY="{SHAPE[0]}" '
        f'SizeC="{channels}" SizeZ="{depths}" SizeT="{times}" PhysicalSizeX="{size}">'
        f"{listed}{data}</Pixels></Image></OME>"
    )


@maker("tiff_pattern")
def tiff_pattern(folder: Path) -> Example:
    """Write one OME-TIFF with channels, depths and times for each field."""
    counts = some_counts(depths=2, times=2)
    written = []
    for well in WELLS:
        for field in (1, 2):
            # The order of the pages: depths first, then channels, then times.
            stack = np.stack(
                [
                    counts[well, field, time][channel, depth]
                    for time in (1, 2)
                    for channel in (0, 1)
                    for depth in (1, 2)
                ]
            )
            path = folder / f"{well} field {field}.ome.tif"
            tifffile.imwrite(path, stack, description=ome_xml((2, 2, 2)), metadata=None)
            written.append(path)
    return Example(folder, counts, ("GFP", "DAPI"), 0.65, folder.name, tuple(written))
