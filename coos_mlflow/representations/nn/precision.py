"""Names of the precisions in which networks compute; importing this does not load torch."""

from __future__ import annotations

from typing import Literal, get_args

from coos_mlflow.errors import DataError

Precision = Literal["auto", "fp32", "bf16"]

PRECISIONS = (AUTO, FP32, BF16) = get_args(Precision)
"""Bfloat16 where the device has instructions for it, else single; always single; bfloat16."""


def check_precision(precision: str) -> None:
    """Check that a precision is in `PRECISIONS`.

    Raises
    ------
    DataError
        For an unknown precision.
    """
    if precision not in PRECISIONS:
        raise DataError(f"precision={precision!r} found, expected one of {', '.join(PRECISIONS)}.")
