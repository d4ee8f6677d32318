"""Representations turn images into named feature matrices; each is one file, found by its name.

`base` holds the contract and `create`; `nn` holds the networks and their training.
"""

from coos_mlflow.representations.base import (
    PROBABILITIES,
    VALIDATION_ERROR,
    Representation,
    create,
    names,
)

__all__ = ["PROBABILITIES", "VALIDATION_ERROR", "Representation", "create", "names"]
