"""Representations: images in, named feature matrices out. One file each, found by its name."""

from coos_mlflow.representations.base import Representation, create, names

__all__ = ["Representation", "create", "names"]
