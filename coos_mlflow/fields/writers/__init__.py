"""Formats in which plates of fields are written, one file each; see `base.Writer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path

import numpy as np

from coos_mlflow._utils.files import whole_folder
from coos_mlflow._utils.plugins import plugin_names
from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.writers.base import PlateFacts, Writer, WrittenField, position

__all__ = ["WrittenField", "write_plate", "writer", "writer_keys"]


def writer_keys() -> tuple[str, ...]:
    """Return the keys of all writers, the stems of their files, without importing them."""
    return plugin_names(__package__)


def writer(key: str) -> Writer:
    """Return a writer by its key.

    Raises
    ------
    DataError
        For an unknown key.
    """
    if key not in writer_keys():
        raise DataError(f"format {key!r} found, expected one of {', '.join(writer_keys())}.")
    return import_module(f"{__package__}.{key}").WRITER


def write_plate(
    path: str | Path,
    fields: Iterable[WrittenField],
    *,
    format: str,  # noqa: A002
    channels: Sequence[Channel],
    pixel_size_um: float,
    shape: tuple[int, int],
    simulated: bool = False,
    force: bool = False,
) -> Path:
    """Write fields as a plate that appears whole or not at all.

    Parameters
    ----------
    path : path
        Folder of the plate.
    fields : iterable of WrittenField
        Of one plate. They are taken one at a time, so that memory holds one.
    format : str
        Key of the writer: ``"ome_zarr"`` (0.5), ``"ome_zarr_04"``, ``"harmony"`` or ``"tiff"``.
    channels : sequence of Channel
        In the order of the counts.
    pixel_size_um : float
        Height and width of a pixel in micrometres.
    shape : (int, int)
        Rows and columns of wells of the plate, such as (8, 12).
    simulated : bool
        Mark the plate as simulated. The sources read this mark.
    force : bool
        Replace a plate of the same format.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        For no field, fields of several plates, wells off the plate, and counts or labels of an
        unexpected shape or dtype.
    OutputError
        When the folder exists already or cannot be written.
    """
    path, chosen = Path(path), writer(format)
    there = [file.name for file in path.iterdir()] if path.is_dir() else []
    known = [name for name in there if chosen.names.fullmatch(name)]
    with whole_folder(path, force, known) as folder:
        remaining = iter(fields)
        first = next(remaining, None)
        if first is None:
            raise DataError(f"{path}: no field found to write, expected one at least.")
        facts = PlateFacts(first.plate, tuple(channels), pixel_size_um, shape, simulated)
        chosen.write(folder, _checked(chain([first], remaining), facts), facts)
    return path


def _checked(fields: Iterable[WrittenField], facts: PlateFacts) -> Iterator[WrittenField]:
    """Yield the fields, each once it was found to fit the plate."""
    seen = set()
    for field in fields:
        where = f"plate {field.plate}, well {field.well}, field {field.number}"
        well = position(field.well)
        if field.plate != facts.name:
            raise DataError(f"{where}: a second plate found, expected fields of {facts.name} only.")
        if well.row > facts.shape[0] or well.column > facts.shape[1]:
            raise DataError(
                f"{where}: lies off a plate of {facts.shape[0]} rows and {facts.shape[1]} columns."
            )
        if (key := (well, field.number)) in seen:
            raise DataError(f"{where}: found twice, expected each field once.")
        seen.add(key)
        counts, labels = field.counts, field.labels
        if counts.dtype != np.uint16 or counts.ndim != 3 or len(counts) != len(facts.channels):
            raise DataError(
                f"{where}: {counts.dtype} counts of shape {counts.shape} found, expected uint16 "
                f"and ({len(facts.channels)}, height, width)."
            )
        if labels is not None and (
            labels.shape != counts.shape[1:] or labels.dtype.kind not in "iu"
        ):
            raise DataError(
                f"{where}: {labels.dtype} labels of shape {labels.shape} found, expected whole "
                f"numbers and {counts.shape[1:]}."
            )
        yield field
