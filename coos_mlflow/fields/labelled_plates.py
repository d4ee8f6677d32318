"""Put what was found of cells back into the images, as an OME-Zarr plate for napari and Fractal.

An OME-Zarr plate in a folder is copied. Of any other plate, the images are written anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from coos_mlflow._utils.files import whole_folder
from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field, PlateImages
from coos_mlflow.fields.sources._zarr_package import zarr_package
from coos_mlflow.fields.sources._zarr_plane import ZarrPlane
from coos_mlflow.fields.writers._ome_groups import add_labels, add_table, described
from coos_mlflow.fields.writers.base import PlateFacts, WrittenField, position
from coos_mlflow.fields.writers.ome_zarr import NAMES, PlateFolder
from coos_mlflow.plates.wells import PLATE_SIZES, plate_size

NAME = "predictions"
"""Name of the label images and tables."""

WITHOUT_CLASS = (128, 128, 128)
"""Colour of nuclei that gave no cell, such as those at the edge."""


class LabelledField(NamedTuple):
    """What was found of the cells of a field.

    Parameters
    ----------
    field : Field
    labels : ndarray of int32, shape (height, width)
        From a segmenter.
    cells : DataFrame
        Its index has the numbers of the cells' nuclei in `labels`. It has a column
        ``class_name``; all columns go into the table, such as ``confidence``.
    """

    field: Field
    labels: np.ndarray
    cells: pd.DataFrame


def write_labels(
    images: PlateImages,
    out: str | Path,
    labelled: Iterable[LabelledField],
    *,
    colours: Mapping[str, str],
    pixel_size_um: float | None = None,
    name: str = NAME,
    force: bool = False,
) -> Path:
    """Write a plate of OME-Zarr with a label image and a table of the cells of each field.

    Parameters
    ----------
    images : PlateImages
        Of one plate. It is not changed.
    out : path
        Folder of the new plate. It appears whole or not at all.
    labelled : iterable of LabelledField
        They are taken one at a time. Of images that are not OME-Zarr, only these fields are
        written; several depths become their maximum.
    colours : mapping of str to str
        Colour of each class in label images, such as ``"#0072b2"``, by its name.
    pixel_size_um : float or None
        Stands in where the images do not give it.
    name : str
        Of the label images, in ``labels``, and the tables, in ``tables``.
    force : bool
        Replace an earlier plate.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        For images of several plates, a plate that lies in `out` or around it, an image that
        cannot be read, and an unknown pixel size.
    OutputError
        When `out` exists already or cannot be written.
    """
    out = Path(out)
    zarr = zarr_package()
    if len(images.plates) > 1:
        raise DataError(
            f"{images.location}: {len(images.plates)} plates found, expected one to write labels "
            "into; name the folder of one plate."
        )
    is_copy = images.source == "ome_zarr" and "://" not in images.location
    if is_copy:
        _check_apart(Path(images.location), out)
    there = [file.name for file in out.iterdir()] if out.is_dir() else []
    known = [file for file in there if NAMES.fullmatch(file) or is_copy]
    with whole_folder(out, force, known) as folder:
        new = None
        if is_copy:
            _copy(Path(images.location), folder)
        else:
            new = PlateFolder(folder, _facts(images, pixel_size_um))
        root = None
        for field, labels, cells in labelled:
            path = new.add(_written(images, field), field.time) if new else _path(folder, field)
            if root is None:
                root = zarr.open_group(str(folder), mode="r+", use_consolidated=False)
            _add(root[path], folder / path, field, labels, cells, colours, name)
        if new and root is not None:
            new.finish()
        if root is None:
            raise DataError(
                f"{images.location}: no field with labels found, expected one at least."
            )
    return out


def _add(
    image: Any,
    folder: Path,
    field: Field,
    labels: np.ndarray,
    cells: pd.DataFrame,
    colours: Mapping[str, str],
    name: str,
) -> None:
    """Add the labels and table of a field to its image."""
    axes = [axis["name"] for axis in described(image)["multiscales"][0]["axes"]]
    time = field.time if "t" in axes else 1
    # Label images of several times have one list of colours, in which numbers of nuclei repeat.
    facts = {} if time > 1 else _label_facts(labels, cells, colours)
    add_labels(image, name, labels, facts, time)
    add_table(image, folder, name if time == 1 else f"{name}_t{time}", cells, name)


def _label_facts(
    labels: np.ndarray, cells: pd.DataFrame, colours: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the colour of each nucleus by its class, and what the table says of it."""
    rgb = {one: tuple(bytes.fromhex(colour[1:])) for one, colour in colours.items()}
    shown = [column for column in ("class_name", "confidence") if column in cells]
    rows = cells[shown].to_dict("index")
    label_colours, properties = [], []
    # Both lists must name the same nuclei.
    for number in np.unique(labels[labels > 0]).tolist():
        row = {str(column): value for column, value in rows.get(number, {}).items()}
        colour = rgb.get(str(row.get("class_name")), WITHOUT_CLASS)
        label_colours.append({"label-value": number, "rgba": [*colour, 255]})
        properties.append({"label-value": number} | row)
    return {"colors": label_colours, "properties": properties}


def _path(folder: Path, field: Field) -> str:
    """Return the path of a field's image in a copy of its plate."""
    plane = next(iter(field.planes.values()))
    if not isinstance(plane, ZarrPlane):
        raise DataError(f"{field}: its image is missing, so that labels cannot be written to it.")
    path = plane.path.rpartition("/")[0]
    while path and not _is_image(folder / path):
        path = path.rpartition("/")[0]
    return path


def _is_image(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))


def _check_apart(source: Path, out: Path) -> None:
    """Refuse to copy a plate into itself or over itself."""
    one, other = source.resolve(), out.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise DataError(f"{out}: lies in {source} or around it, expected another folder.")


def _copy(source: Path, folder: Path) -> None:
    """Copy a plate, without lists of its groups, which would lack what is added."""

    def ignored(path: str, names: list[str]) -> set[str]:
        if links := [name for name in names if (Path(path) / name).is_symlink()]:
            raise DataError(
                f"{Path(path) / links[0]}: is a link, which is not copied; copy the plate with the "
                "files that its links name (cp -rL)."
            )
        return {".zmetadata"} & set(names)

    try:
        shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True, copy_function=_copied)
    except shutil.Error as error:
        raise OSError(f"{error.args[0][0][2]}") from error


def _copied(source: str, target: str) -> None:
    """Copy a file, without the list of groups that a group of zarr 3 may hold."""
    shutil.copyfile(source, target)
    if os.path.basename(source) != "zarr.json":  # noqa: PTH119
        return
    path = Path(target)
    text = path.read_text(encoding="utf-8")
    if "consolidated_metadata" in text:
        document = json.loads(text)
        document.pop("consolidated_metadata", None)
        path.write_text(json.dumps(document), encoding="utf-8")


def _facts(images: PlateImages, pixel_size_um: float | None) -> PlateFacts:
    """Return the facts of a plate that is written anew."""
    size = images.pixel_size_um or pixel_size_um
    if size is None:
        raise DataError(
            f"{images.location}: the size of its pixels is not given; --pixel-size does."
        )
    wells = [position(well) for _, well in images.wells]
    rows, columns = max(well.row for well in wells), max(well.column for well in wells)
    shape = images.shape or plate_size(rows, columns) or PLATE_SIZES[-1]
    return PlateFacts(images.plates[0], images.channels, size, shape, images.simulated)


def _written(images: PlateImages, field: Field) -> WrittenField:
    """Return the counts of a field, the maximum over depths."""
    counts = [
        np.max([field.planes[channel, depth].read() for depth in depths], axis=0)
        for channel in range(len(images.channels))
        if (depths := field.depths(channel))
    ]
    shapes = {one.shape for one in counts}
    if len(counts) < len(images.channels) or len(shapes) > 1:
        raise DataError(
            f"{images.location}, {field}: channels of shapes {sorted(shapes)} found, expected "
            f"{len(images.channels)} of one shape."
        )
    return WrittenField(field.plate, field.well, field.number, np.stack(counts))
