"""Options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

TrackingUri = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow's tracking store; default sqlite:///mlflow.db here.",
    ),
]

Dask = Annotated[
    str | None,
    typer.Option(
        help="Work on a Dask cluster: the address of its scheduler, such as tcp://host:8786, or "
        "local for worker processes here."
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Of --dask: how many to start here, or to wait for elsewhere."),
]


def use_store(uri: str | None) -> None:
    """Make a tracking store the one that MLflow uses in this process and its children."""
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
