"""The layout of PerkinElmer Harmony: TIFFs that an index in XML names.

The index has the elements of Harmony V5 that readers use, with the names of an Opera Phenix. Read
off files of that instrument. It has no room for label images, so these lie beside the images as
``masks/r02c03f01.tiff``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import tifffile

from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources.harmony import MASKS, SIMULATED, mask_name
from coos_mlflow.fields.writers.base import PlateFacts, Writer, WrittenField, position
from coos_mlflow.fields.writers.tiff import smallest_labels
from coos_mlflow.plates.wells import Well

IMAGES, INDEX = "Images", "Index.idx.xml"
NAMESPACE = "http://www.perkinelmer.com/PEHH/HarmonyV5"


def write(folder: Path, fields: Iterable[WrittenField], facts: PlateFacts) -> None:
    """Write the images, masks and index; see `Writer.write`."""
    images = folder / IMAGES
    images.mkdir()
    entries: dict[Well, list[Element]] = {}
    for field in fields:
        well = position(field.well)
        stem = f"r{well.row:02d}c{well.column:02d}f{field.number:02d}"
        for index, channel in enumerate(facts.channels):
            name = f"{stem}p01-ch{index + 1}sk1fk1fl1.tiff"
            tifffile.imwrite(images / name, field.counts[index], **_OPTIONS)
            entry = _entry(field, well, index, channel, facts)
            _add(entry, {"URL": name})
            entries.setdefault(well, []).append(entry)
        if field.labels is not None:
            (images / MASKS).mkdir(exist_ok=True)
            labels = smallest_labels(field.labels)
            name = mask_name(well, field.number)
            tifffile.imwrite(images / MASKS / name, labels, **_OPTIONS)
    tree = ElementTree.ElementTree(_index(entries, facts))
    ElementTree.indent(tree)
    tree.write(images / INDEX, encoding="utf-8", xml_declaration=True)


_OPTIONS = {"photometric": "minisblack", "metadata": None, "software": "coos_mlflow"}


def _index(entries: Mapping[Well, list[Element]], facts: PlateFacts) -> Element:
    root = Element("EvaluationInputData", {"xmlns": NAMESPACE, "Version": "1"})
    plate = SubElement(SubElement(root, "Plates"), "Plate")
    rows, columns = facts.shape
    named = {"PlateID": facts.name, "Name": facts.name, "PlateRows": rows, "PlateColumns": columns}
    _add(plate, named | ({SIMULATED: "true"} if facts.simulated else {}))
    wells = SubElement(root, "Wells")
    for well, images in entries.items():
        SubElement(plate, "Well", id=_well_id(well))
        one = SubElement(wells, "Well")
        _add(one, {"id": _well_id(well), "Row": well.row, "Col": well.column})
        for image in images:
            SubElement(one, "Image", id=str(image.findtext("id")))
    SubElement(root, "Images").extend(image for images in entries.values() for image in images)
    return root


def _entry(
    field: WrittenField, well: Well, index: int, channel: Channel, facts: PlateFacts
) -> Element:
    """Return the element of one image, but for the name of its file."""
    height, width = field.counts.shape[1:]
    size = facts.pixel_size_um * 1e-6
    entry = Element("Image", Version="1")
    values = {
        "id": f"{_well_id(well)}K1F{field.number}P1R{index + 1}",
        "State": "Ok",
        "Row": well.row,
        "Col": well.column,
        "FieldID": field.number,
        "PlaneID": 1,
        "TimepointID": 0,
        "ChannelID": index + 1,
        "ChannelName": channel.name,
        "ImageSizeX": width,
        "ImageSizeY": height,
        "MaxIntensity": 65535,
    }
    _add(entry, values)
    # Fields stand in a row, a tenth of their width apart. The converters of Fractal need places.
    measures = {
        "ImageResolutionX": size,
        "ImageResolutionY": size,
        "PositionX": (field.number - 1) * 1.1 * width * size,
        "PositionY": 0,
        "PositionZ": 0,
        "AbsPositionZ": 0,
    }
    for name, value in measures.items():
        SubElement(entry, name, Unit="m").text = f"{value:.10g}"
    for name, wavelength in (
        ("MainExcitationWavelength", channel.excitation_nm),
        ("MainEmissionWavelength", channel.emission_nm),
    ):
        if wavelength is not None:
            SubElement(entry, name, Unit="nm").text = f"{wavelength:g}"
    return entry


def _well_id(well: Well) -> str:
    return f"{well.row:02d}{well.column:02d}"


def _add(element: Element, texts: Mapping[str, object]) -> None:
    for name, text in texts.items():
        SubElement(element, name).text = str(text)


WRITER = Writer("Harmony of PerkinElmer (Index.idx.xml)", re.compile(IMAGES), write)
