"""Representations: images in, named feature matrices out. One file each, found by its name."""

from coos_mlflow.representations.base import (
    PROBABILITIES,
    VALIDATION_ERROR,
    Range,
    Representation,
    create,
    names,
)

__all__ = ["PROBABILITIES", "VALIDATION_ERROR", "Range", "Representation", "create", "names"]
