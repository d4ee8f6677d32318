"""Options that several commands share."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from coos_mlflow.errors import DataError
from coos_mlflow.registry import project_run
from coos_mlflow.registry.store_uri import understood

TrackingUri = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow's tracking store: a database, such as mlflow.db or "
        "sqlite:////folder/mlflow.db, or a server's address; default mlflow.db here.",
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

DropBad = Annotated[
    bool,
    typer.Option(
        "--drop-bad",
        help="Train and test without cells that cannot be used: a constant channel, two identical "
        "channels, values that are no numbers. They are counted, and at most 5 % of a file.",
    ),
]


Data = Annotated[
    str,
    typer.Option(help="auto (COOS-7 where it is on disk, else simulated), simulated, a folder."),
]
Preset = Annotated[
    str, typer.Option(help="paper, quick, or auto (paper on real data, quick on simulated).")
]
Scale = Annotated[float, typer.Option(help="Of simulated data; 1 is the size of COOS-7.")]

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all that is random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace results that are there already.")]

Labeller = Annotated[
    str | None, typer.Option(help="Name of who labels the cells; default: the login name.")
]

PlateFile = Annotated[
    Path | None,
    typer.Option(
        "--plate", metavar="FILE", help="Where the plate file is now, if it was moved since."
    ),
]


def labeller_of(name: str | None) -> str:
    """Return the name of who labels, by default that of the login."""
    from coos_mlflow.audit.labels_file import named

    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError) as error:
            raise DataError(
                "no login name found, expected one for the labels; give it with --labeller."
            ) from error
    return named(name)


def use_store(uri: str | None) -> None:
    """Set the tracking store that MLflow uses in this process and its children.

    Child processes do not inherit the run that ``mlflow run`` created.
    """
    project_run.hide()
    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = understood(uri)


def check_dask(dask: str | None, workers: int | None) -> None:
    """Refuse --workers without --dask."""
    if workers and dask is None:
        raise DataError(
            f"--workers {workers} found without --dask; expected --dask local or the address of a "
            "scheduler beside it."
        )
