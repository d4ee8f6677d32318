"""OME-Zarr plates made by hand with zarr, as other programs write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

SCALES = {"t": 1.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
UNITS = {"z": "micrometer", "y": "micrometer", "x": "micrometer", "t": "second"}
KINDS = {"t": "time", "c": "channel"}


def multiscales(axes: str, units: dict[str, str | None], scales: dict[str, float]) -> list[Any]:
    """Return the metadata of an image with one level."""
    described = [
        {"name": axis, "type": KINDS.get(axis, "space")}
        | ({"unit": units[axis]} if units.get(axis) else {})
        for axis in axes
    ]
    scale = {"type": "scale", "scale": [scales[axis] for axis in axes]}
    return [{"axes": described, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}]


def set_ome(group: Any, **facts: Any) -> None:
    """Set OME metadata of a group, where its version has them."""
    if group.metadata.zarr_format == 2:
        group.attrs.update(facts)
    else:
        group.attrs["ome"] = {"version": "0.5", **group.attrs.get("ome", {}), **facts}


def write_by_hand(
    folder: Path,
    image_of: Callable[[str, str], np.ndarray],
    *,
    axes: str = "cyx",
    zarr_format: int = 3,
    wells: dict[str, tuple[str, ...]] | None = None,
    names: tuple[str, ...] = ("GFP", "DAPI"),
    units: dict[str, str | None] = UNITS,  # type: ignore[assignment]
    scales: dict[str, float] = SCALES,
    plate: str = "plate 7",
    labels: np.ndarray | None = None,
    **array: Any,
) -> Path:
    """Write a plate; ``image_of(well, image)`` returns an image with the axes of the plate."""
    wells = wells or {"B/03": ("1", "2"), "H/12": ("1", "2")}
    root = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    rows = sorted({path[0] for path in wells})
    columns = sorted({path.partition("/")[2] for path in wells})
    listed = [
        {
            "path": path,
            "rowIndex": rows.index(path[0]),
            "columnIndex": columns.index(path.partition("/")[2]),
        }
        for path in wells
    ]
    facts = {
        "name": plate,
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": listed,
    }
    set_ome(root, plate=facts)
    options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if zarr_format == 2 else {}
    for path, images in wells.items():
        well = root.require_group(path)
        set_ome(well, well={"images": [{"path": name, "acquisition": 0} for name in images]})
        for name in images:
            counts = image_of(path, name)
            image = well.create_group(name)
            chunks = tuple(
                size if axis in "yx" else 1 for size, axis in zip(counts.shape, axes, strict=True)
            )
            image.create_array("0", data=counts, **{"chunks": chunks} | options | array)
            set_ome(image, multiscales=multiscales(axes, units, scales))
            if names:
                set_ome(image, omero={"channels": [{"label": one} for one in names]})
            if labels is not None:
                set_ome(image.create_group("labels"), labels=["nuclei"])
                one = image.create_group("labels/nuclei")
                one.create_array("0", data=labels, chunks=labels.shape, **options)
                set_ome(one, multiscales=multiscales("yx", units, scales))
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
