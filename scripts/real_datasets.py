#!/usr/bin/env python3
"""Write data sets of real cells, on which `coos generalise` compares models.

    scripts/real_datasets.py ../shared/real real
    coos generalise --data real/jump-pca --preset quick --out real/jump-pca-models

The source holds `yeast_cells.hdf5` and `cells/*.h5`; docs/real.md says what they are. A nucleus
that was cropped once for each dye is never in Training and in a test split.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from real_verdicts import DYE_NAMES, DYES, PROTEINS, YEAST, Cells, read, yeast_plates

from coos_mlflow.plates.dataset import MIXTURE, ONE_CLASS
from coos_mlflow.plates.dataset_file import DATASET_FILE
from coos_mlflow.plates.reader import PlateWriter

BBBC014 = "bbbc014_two_wells.h5"
LEFT_OUT_FIELD = "4"
"""Of the four fields of yeast, the last."""


@dataclass(frozen=True)
class RealData:
    """A data set: its classes, what a well holds, Training and the test splits by name."""

    classes: Sequence[str]
    wells: str
    splits: dict[str, Cells]

    def write(self, folder: Path) -> None:
        """Write the plate files and `dataset.yaml`; the first split is Training."""
        folder.mkdir(parents=True)
        splits: list[dict[str, object]] = []
        for name, cells in self.splits.items():
            file = f"{name.lower().replace(' ', '_')}.h5"
            with PlateWriter(folder / file, len(cells.images)) as writer:
                writer.append(**vars(cells))
            splits.append({"name": name, "role": "reference", "files": file})
        splits[0] |= {"role": "train", "allow": ["one-plate-classes"]}
        description = {
            "name": folder.name,
            "classes": [{"name": name} for name in self.classes],
            "crop": 64,
            "wells": self.wells,
            "splits": splits,
        }
        (folder / DATASET_FILE).write_text(yaml.safe_dump(description, sort_keys=False))


def dyes(path: Path) -> Cells:
    """Read the cells of the two dyes that both projects have, labelled 0 and 1."""
    cells = read(path)
    cells = cells.select(np.isin(cells.labels, list(DYE_NAMES.values())))
    labels = np.searchsorted(list(DYE_NAMES.values()), cells.labels)
    return Cells(cells.images, labels, cells.plates, cells.wells)


def every_other(cells: Cells) -> np.ndarray:
    """Return every other cell of each class, as a mask (n,).

    Where nuclei occur once for each class, in the same order, these are the same nuclei.
    """
    half = np.zeros(len(cells.labels), bool)
    for label in np.unique(cells.labels):
        half[np.flatnonzero(cells.labels == label)[::2]] = True
    return half


def halves(cells: Cells, classes: Sequence[str], wells: str) -> RealData:
    """Train on one half of the cells of each class and test on the other."""
    half = every_other(cells)
    splits = {"Training": cells.select(half), "Other half": cells.select(~half)}
    return RealData(classes, wells, splits)


def data_sets(source: Path) -> dict[str, RealData]:
    """Return all data sets by name."""
    cells = source / "cells"
    jump, pca = (dyes(cells / DYES[name]) for name in ("JUMP", "PCA"))
    yeast = yeast_plates(read(source / YEAST), 1)
    left_out = np.char.endswith(yeast.plates, f" {LEFT_OUT_FIELD}")
    two = list(DYE_NAMES)
    return {
        "jump-pca": RealData(two, MIXTURE, {"Training": jump, "PCA": pca}),
        "pca-jump": RealData(two, MIXTURE, {"Training": pca, "JUMP": jump}),
        "jump-halves": halves(jump, two, MIXTURE),
        "pca-halves": halves(pca, two, MIXTURE),
        "yeast": RealData(
            PROTEINS,
            ONE_CLASS,
            {"Training": yeast.select(~left_out), "Other field": yeast.select(left_out)},
        ),
        "bbbc014": halves(read(cells / BBBC014), ["nuclear", "cytoplasmic"], ONE_CLASS),
    }


def main() -> None:
    """Write the data sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder with yeast_cells.hdf5 and cells/")
    parser.add_argument("out", type=Path, help="a new folder for the data sets")
    arguments = parser.parse_args()
    if not (arguments.source / YEAST).is_file():
        raise SystemExit(f"{arguments.source}: no {YEAST} found, expected the real cells there.")
    if arguments.out.exists():
        raise SystemExit(f"{arguments.out}: it exists already; name a new folder.")
    for name, data in data_sets(arguments.source).items():
        data.write(arguments.out / name)
        counts = (f"{split} {len(cells.labels)}" for split, cells in data.splits.items())
        print(f"{arguments.out / name}: {', '.join(counts)} cells")


if __name__ == "__main__":
    main()
