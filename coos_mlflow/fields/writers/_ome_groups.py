"""Groups of OME-Zarr: their metadata, label images and tables, in both versions.

Layout of labels: https://ngff.openmicroscopy.org/0.5/#labels-md. Layout of tables: that of Fractal,
https://fractal-analytics-platform.github.io/fractal-tasks-core/tables/, kept as CSV, which ngio
reads without anndata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

V04, V05 = "0.4", "0.5"

CHUNK = 2048
"""Largest height and width of a chunk, so that a camera's image is one file; chosen."""


def version_of(group: Any) -> str:
    """Return the version of OME-Zarr that a group is written in: `V04` for zarr 2, or `V05`."""
    return V04 if group.metadata.zarr_format == 2 else V05


def described(group: Any) -> dict[str, Any]:
    """Return the OME metadata of a group."""
    attributes = dict(group.attrs)
    return attributes if version_of(group) == V04 else attributes.get("ome", {})


def describe(group: Any, **facts: Any) -> None:
    """Set entries of the OME metadata of a group."""
    if version_of(group) == V04:
        group.attrs.update(facts)
    else:
        group.attrs["ome"] = {"version": V05} | described(group) | facts


def add_array(group: Any, path: str, shape: Sequence[int], dtype: Any, axes: Sequence[str]) -> Any:
    """Create an array of zeros, with one chunk for each plane."""
    kind: dict[str, Any] = (
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        if version_of(group) == V04
        else {"dimension_names": tuple(axes)}
    )
    return group.create_array(
        path,
        shape=tuple(shape),
        dtype=dtype,
        chunks=tuple(
            min(size, CHUNK) if axis in "yx" else 1 for size, axis in zip(shape, axes, strict=True)
        ),
        # An image without counts is stored too, so that a lost file can be told from it.
        config={"write_empty_chunks": True},
        **kind,
    )


def add_labels(
    image: Any, name: str, labels: np.ndarray, facts: dict[str, Any] | None = None, time: int = 1
) -> None:
    """Write a label image of an image, which has the axes and sizes of the image but for channels.

    Parameters
    ----------
    image : zarr.Group
    name : str
        One of that name is replaced, or completed at a later time.
    labels : ndarray of int, shape (height, width)
        They are written at all depths.
    facts : dict or None
        Entries of ``image-label``, such as ``colors``.
    time : int
        From 1.
    """
    multiscale = described(image)["multiscales"][0]
    axes = [axis["name"] for axis in multiscale["axes"]]
    kept = [place for place, axis in enumerate(axes) if axis != "c"]
    group = image.require_group("labels")
    describe(group, labels=sorted({*described(group).get("labels", []), name}))
    if time == 1 or name not in group:
        group.create_group(name, overwrite=True)
    one = group[name]
    for level in multiscale["datasets"]:
        full = image[level["path"]].shape
        sizes = {axes[place]: full[place] for place in kept}
        if level["path"] not in one:
            add_array(one, level["path"], tuple(sizes.values()), np.int32, tuple(sizes))
        small = _nearest(labels, sizes["y"], sizes["x"])
        small = small.T if axes.index("x") < axes.index("y") else small
        plane = small.reshape([size if axis in "yx" else 1 for axis, size in sizes.items()])
        at = tuple(slice(time - 1, time) if axis == "t" else slice(None) for axis in sizes)
        depths = [1 if axis == "t" else size for axis, size in sizes.items()]
        one[level["path"]][at] = np.broadcast_to(plane, depths)
    about = {
        **multiscale,
        "name": name,
        "axes": [multiscale["axes"][place] for place in kept],
        "datasets": [_without(level, kept) for level in multiscale["datasets"]],
    }
    about = _without(about, kept)
    label = {"version": version_of(image), "source": {"image": "../../"}} | (facts or {})
    describe(one, multiscales=[about], **{"image-label": label})


def _without(entry: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """Return metadata with the numbers of transformations for the axes that are kept."""
    if "coordinateTransformations" not in entry:
        return entry
    steps = [
        {
            key: [value[place] for place in kept] if isinstance(value, list) else value
            for key, value in step.items()
        }
        for step in entry["coordinateTransformations"]
    ]
    return entry | {"coordinateTransformations": steps}


def _nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return labels in a smaller size. Each pixel is one of the image's, since the mean of two
    labels is no label."""
    rows, columns = (
        np.arange(small) * size // small
        for small, size in zip((height, width), labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.int32)


def add_table(image: Any, folder: Path, name: str, table: pd.DataFrame, labels: str) -> None:
    """Write a table of the objects of a label image.

    Parameters
    ----------
    image : zarr.Group
    folder : Path
        Of the image.
    name : str
        Of the table.
    table : DataFrame
        Its index has the numbers of the objects.
    labels : str
        Name of the label image.
    """
    tables = image.require_group("tables")
    tables.attrs["tables"] = sorted({*tables.attrs.get("tables", []), name})
    tables.create_group(
        name,
        overwrite=True,
        attributes={
            "type": "feature_table",
            "table_version": "1",
            "backend": "csv",
            "region": {"path": f"../labels/{labels}"},
            "instance_key": "label",
            "index_key": "label",
            "index_type": "int",
        },
    )
    table.rename_axis("label").to_csv(
        folder / "tables" / name / "table.csv", lineterminator="\n", float_format="%.6f"
    )
