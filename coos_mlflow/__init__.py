"""Model registry and batch scorer for single-cell fluorescence microscopy, around COOS-7.

    import coos_mlflow as coos

    rows = coos.train("texture", data="simulated", classifiers=["lr"])
    result = coos.score("new_plate.h5", "texture-lr")
    result.verdict, result.estimated_error, result.predictions

Names are imported when they are first used: ``import coos_mlflow`` loads neither MLflow nor torch
nor scikit-learn.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coos_mlflow import representations as representations
    from coos_mlflow.cropping.api import crop as crop
    from coos_mlflow.errors import CoosError as CoosError
    from coos_mlflow.plates.reader import open_plate as open_plate
    from coos_mlflow.plates.writer import PlateWriter as PlateWriter
    from coos_mlflow.scoring.api import load_model as load_model
    from coos_mlflow.scoring.api import score as score
    from coos_mlflow.training.api import train as train

__version__ = "0.1.0"

_HOMES = {
    "CoosError": "errors",
    "PlateWriter": "plates.writer",
    "crop": "cropping.api",
    "load_model": "scoring.api",
    "open_plate": "plates.reader",
    "score": "scoring.api",
    "train": "training.api",
}
"""The module of each public name."""

__all__ = [  # noqa: PLE0604 - all are strings
    *_HOMES,
    "__version__",
    "representations",
]

# OpenMP threads would otherwise spin while they wait for each other. On a quiet machine that gains
# a network's training a sixth; beside any other process it has been seen to take two to four times
# as long for it. OpenMP reads this when the first library that uses it is loaded, hence here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "representations":
        return import_module(f"{__name__}.representations")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
