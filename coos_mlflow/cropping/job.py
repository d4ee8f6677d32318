"""Describe one cropping: the images, the settings, and where cells and their page are written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from coos_mlflow._utils.files import check_folder
from coos_mlflow._utils.versions import PACKAGE, package_versions
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.fields.plate_images import MissingPlane, PlateImages
from coos_mlflow.fields.segmenters import segmenter
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.plates.file_names import check_name
from coos_mlflow.plates.reader import open_plate

LEAVE_OUT = "--keep-going leaves such fields out."

SCHEMA_VERSION = 1
"""Version of fields.json, and of the parts of a cropping."""

DIGEST = "crop_digest"
"""Attribute of a plate file: the digest of the cropping that wrote it."""

RESULTS = FIELDS_HTML, FIELDS_JSON, CENTRES_CSV, MASKS = (
    "fields.html",
    "fields.json",
    "centres.csv",
    "masks",
)
"""Names in the folder beside the plate file; `MASKS` is a folder of label images."""


_VERSIONS = (PACKAGE, "imagecodecs", "numba", "numpy", "scikit-image", "scipy", "tifffile")
"""Packages on whose versions the cells may depend."""


@dataclass(frozen=True)
class CropJob:
    """One plate to be cropped.

    Parameters
    ----------
    images : PlateImages
    settings : CropSettings
    out : Path
        The plate file to write.
    dataset : str
        Name of the data set whose cells the crops are like.
    notes : tuple of str
        Sentences on what was chosen, such as the channels, that the page repeats.
    warnings : tuple of str
        Sentences on what may be wrong with the settings.
    force : bool
        Replace results of other croppings.
    keep_going : bool
        Leave out fields that cannot be read, instead of stopping at the first.
    """

    images: PlateImages
    settings: CropSettings
    out: Path
    dataset: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    force: bool = False
    keep_going: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the page, the label images and the table of centres, beside the plate file."""
        return fields_folder(self.out)

    @property
    def work(self) -> Path:
        """Hidden folder of the parts, one a field, until the plate file is written."""
        return self.folder.with_name(f".{self.folder.name}.parts")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that the cells depend on; jobs with the same facts have the same results."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.images.source,
            "simulated": self.images.simulated,
            "settings": self.settings.facts,
            "segmenter": segmenter(self.settings.segmenter).facts(),
            "versions": {name: package_versions()[name] for name in _VERSIONS},
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the facts, and of size and time of change of each image that is read.

        Images at an address have neither, so that their address stands for them.
        """
        used = {self.settings.protein, self.settings.nucleus}
        stamps = [
            (*field.key, place, plane.stamp())
            for field in self.images.fields
            for place, plane in sorted(field.planes.items())
            if place[0] in used
        ]
        labels = [
            (*field.key, name, plane.stamp())
            for field in self.images.fields
            for name, plane in sorted(field.labels.items())
        ]
        address = self.images.location if self.images.is_remote else ""
        text = json.dumps([self.facts, address, stamps, labels], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_done(self) -> bool:
        """Return whether the plate file and its folder are there, written by the same job."""
        return not self.force and self._is_ours(self.out) and self._is_ours(self.folder)

    def check_replaceable(self) -> None:
        """Refuse to replace the results of another job.

        Raises
        ------
        OutputError
        """
        check_name(self.out)
        if self.out.is_dir():
            raise OutputError(f"{self.out}: is a folder, expected the name of a file to write.")
        for path in (self.out, self.folder):
            if path.exists() and not self.force and not self._is_ours(path):
                raise OutputError(
                    f"{path}: is there already, from other {self._difference()}; --force replaces "
                    "it."
                )
        check_folder(self.folder, True, RESULTS)

    def check_complete(self) -> None:
        """Refuse a plate of which images are missing, unless fields may be left out.

        Raises
        ------
        DataError
        """
        used = {self.settings.protein, self.settings.nucleus}
        missing = [
            plane
            for field in self.images.fields
            for (channel, _), plane in field.planes.items()
            if channel in used and isinstance(plane, MissingPlane)
        ]
        if missing and not self.keep_going:
            raise DataError(
                f"{missing[0].place}: is missing, though {missing[0].index} names it, as "
                f"{len(missing):,} images in all; {LEAVE_OUT}"
            )

    def _difference(self) -> str:
        """Return in what the results that are there differ from those of this job."""
        try:
            known = read_facts(self.folder)
        except (OSError, ValueError):
            return "images or settings"
        settings = self.facts["settings"]
        names = [name for name in settings if known.get("settings", {}).get(name) != settings[name]]
        if names:
            return f"settings ({', '.join(names)})"
        return "images" if known.get("versions") == self.facts["versions"] else "versions"

    def _is_ours(self, path: Path) -> bool:
        """Return whether a plate file, or the folder beside it, is of this job."""
        try:
            if path.is_dir():
                return read_facts(path)["digest"] == self.digest
            with open_plate(path, channels=None, check_labels=False) as plate:
                return plate.attrs.get(DIGEST) == self.digest
        except (DataError, OSError, ValueError, KeyError):
            return False


def read_facts(folder: Path) -> dict[str, Any]:
    """Read fields.json in the folder beside a plate file."""
    return json.loads((folder / FIELDS_JSON).read_text(encoding="utf-8"))


def fields_folder(plate: Path) -> Path:
    """Return the folder beside a plate file that `coos crop` wrote: ``plate.fields``."""
    return plate.with_name(f"{plate.stem}.fields")
