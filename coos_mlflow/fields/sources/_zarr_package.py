"""Import zarr, which the extra ``[fields]`` installs."""

from __future__ import annotations

from typing import Any

from coos_mlflow.errors import DataError


def zarr_package() -> Any:
    """Return the package zarr.

    Raises
    ------
    DataError
        Saying how to install it.
    """
    try:
        import zarr
    except ImportError as error:
        raise DataError(
            "OME-Zarr plates need the package zarr, which is not installed; "
            "pip install 'coos-mlflow[fields]' installs it."
        ) from error
    return zarr
