"""Plate files of random cells, quickly written: for tests of labels, ids, crops and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from coos_mlflow.plates.writer import PlateWriter

CLASSES = ("alpha", "beta", "gamma")


def write_noise(
    path: Path,
    *,
    labels: list[Any] | np.ndarray | None = None,
    plates: list[str] | str = "P1",
    wells: list[str] | str | None = None,
    n_cells: int = 6,
    crop: int = 48,
    seed: int | None = None,
    **attrs: Any,
) -> Path:
    """Write a plate of random cells; different paths have different cells unless seeded alike.

    Parameters
    ----------
    wells : list of str, str or None
        By default one well for each label.
    """
    if labels is not None:
        n_cells = len(labels)
    if wells is None:
        wells = [f"A{1 + hash_of(label):02d}" for label in (labels or [0] * n_cells)]
    rng = np.random.default_rng(crc32(path.name.encode()) if seed is None else seed)
    images = rng.integers(50, 4000, (n_cells, 2, crop, crop)).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with PlateWriter(path, n_cells, crop=crop, attrs=attrs) as writer:
        writer.append(
            images,
            labels=None if labels is None else np.array(labels),
            plates=np.array([plates] * n_cells if isinstance(plates, str) else plates),
            wells=np.array([wells] * n_cells if isinstance(wells, str) else wells),
        )
    return path


def hash_of(value: object) -> int:
    """Return a number below 20 that depends on the text of a value alone."""
    return sum(map(ord, str(value))) % 20


def described(folder: Path, *lines: str, splits: list[str] | None = None, crop: int = 48) -> Path:
    """Write a `dataset.yaml` with the three `CLASSES`; `lines` are added to it."""
    splits = splits or [
        "{name: Training, role: train, files: 'train*.h5'}",
        "{name: Near, role: reference, files: near.h5}",
    ]
    text = [
        f"name: {folder.name}",
        f"classes: [{', '.join(CLASSES)}]",
        f"crop: {crop}",
        *lines,
        "splits:",
        *(f"  - {split}" for split in splits),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.yaml").write_text("\n".join(text) + "\n")
    return folder
