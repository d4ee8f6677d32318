"""COOS-7's classes, splits and shape of a cell, which most tests use."""

from __future__ import annotations

from coos_mlflow.plates.dataset import coos7

CLASSES = coos7().class_names
SPLITS = coos7().split_keys
CELL_SHAPE = coos7().cell_shape
