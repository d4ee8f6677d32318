"""Replace `/invocations` in MLflow's scoring server by the package's own route.

Open this module when a new MLflow version changes how its server is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from coos_mlflow.errors import RegistryError
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.serving.openapi import documented
from coos_mlflow.serving.route import Score, request_handler

PATH = "/invocations"

_SERVER = "mlflow.pyfunc.scoring_server"


def take_over(score: Score, dataset: Dataset) -> bool:
    """Replace the route of a scoring server that is starting in this process, if there is one.

    `mlflow models serve` imports a module that loads the model and then makes a FastAPI app. MLflow
    has no hook to replace the app's `/invocations`. Therefore this function replaces
    `fastapi.FastAPI` by a subclass until the next app is made.

    Parameters
    ----------
    score : callable
        Turns checked cells, uint16 or float32 (n, 2, crop, crop), into a table with a row per cell.
    dataset : Dataset
        What the cells must be.

    Returns
    -------
    bool
        Whether a server is starting.
    """
    if f"{_SERVER}.app" not in sys.modules:
        return False
    import fastapi

    # A model may be loaded twice before the app is made.
    plain = getattr(fastapi.FastAPI, "plain", fastapi.FastAPI)

    class GuardedApp(plain):  # type: ignore[misc, valid-type]
        plain: Any

        def __init__(self, **options: Any) -> None:
            fastapi.FastAPI = plain  # type: ignore[misc]
            super().__init__(title=f"Classifier of {dataset.name}", **options)

        def post(self, path: str, **options: Any) -> Callable[..., Any]:
            add = super().post
            if path != PATH:
                return add(path, **options)
            return lambda theirs: add(PATH, **documented(dataset))(request_handler(score, dataset))

    GuardedApp.plain = plain
    fastapi.FastAPI = GuardedApp  # type: ignore[misc]
    # If another MLflow version makes its app differently, its own handler must not be used.
    sys.modules[_SERVER].invocations = _unguarded  # type: ignore[attr-defined]
    return True


def _unguarded(*_: Any) -> None:
    raise RegistryError(
        "This MLflow's scoring server is not one that coos-mlflow can guard; serve the model with "
        "the version in its requirements.txt."
    )
