"""What a plate's images are called, and the plate file that is cut out of them.

Open this to change where cells of images are kept. It imports nothing that takes long.
"""

from __future__ import annotations

from pathlib import Path

from coos_mlflow.errors import DataError

CROPS = "crops"
"""Folder of the plate files that were cut out of images, in the folder of all results."""


INDICES = (".xml", ".htd", ".mlf", ".flex")
"""Endings of files that instruments write beside images or as such."""


_IMAGES = "images"
"""Name of the folder in which Harmony writes the images of every plate."""


def is_images(plate: str) -> bool:
    """Return whether a plate is named by a folder, an index or an address, not by a plate file."""
    path = Path(plate)
    return "://" in plate or path.is_dir() or path.suffix.lower() in INDICES


def plate_file(location: str, out: Path) -> Path:
    """Return the plate file that the cells of a plate's images are written to."""
    path = Path(location.rstrip("/")).absolute()
    if path.suffix.lower() in INDICES:
        path = path.parent
    if path.name.lower() == _IMAGES:
        path = path.parent
    # Other dots belong to the name: instruments write folders such as "plate_1.1".
    name = path.name.removesuffix(".zarr").removesuffix(".ome")
    if not name.strip(".") or name == CROPS:
        raise DataError(
            f"{location}: {name!r} cannot name a folder of results, expected the plate's name; "
            "rename the folder."
        )
    return out / CROPS / f"{name}.h5"
