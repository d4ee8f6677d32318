"""What a plate's images are called, and the plate file that is cut out of them.

Open this to change where cells of images are kept. It imports nothing that takes long.
"""

from __future__ import annotations

from pathlib import Path

from coos_mlflow.errors import DataError

CROPS = "crops"
"""Folder of the plate files that were cut out of images, in the folder of all results."""


def is_images(plate: str) -> bool:
    """Return whether a plate is named by a folder or an address, not by a plate file."""
    return "://" in plate or Path(plate).is_dir()


def plate_file(location: str, out: Path) -> Path:
    """Return the plate file that the cells of a plate's images are written to."""
    name = Path(location.rstrip("/")).stem
    if not name.strip("."):
        raise DataError(f"{location}: is no name for a folder of results, expected the plate's.")
    return out / CROPS / f"{name}.h5"
