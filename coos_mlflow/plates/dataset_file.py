"""Read and write `dataset.yaml`."""

from __future__ import annotations

from pathlib import Path

import yaml

from coos_mlflow.plates.dataset import Dataset, coos7

DATASET_FILE = "dataset.yaml"


def read_dataset(path: Path) -> Dataset:
    """Read a description from a YAML file."""
    return Dataset.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def write_dataset(dataset: Dataset, path: Path) -> None:
    """Write a description as YAML that `read_dataset` reads."""
    text = yaml.safe_dump(dataset.as_dict(), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def dataset_of_folder(folder: Path) -> Dataset:
    """Return the description of a folder of plate files, else that of COOS-7."""
    described = folder / DATASET_FILE
    return read_dataset(described) if described.exists() else coos7()
