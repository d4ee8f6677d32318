"""The precisions in which networks compute, known without loading torch."""

from __future__ import annotations

from typing import Literal, get_args

from coos_mlflow.errors import DataError

Precision = Literal["auto", "fp32", "bf16"]

PRECISIONS = (AUTO, FP32, BF16) = get_args(Precision)
"""The best that the device has instructions for, single precision, and bfloat16."""


def check_precision(asked: str) -> None:
    """Refuse a precision that is not in `PRECISIONS`.

    Raises
    ------
    DataError
        Saying what came, and which there are.
    """
    if asked not in PRECISIONS:
        raise DataError(f"precision={asked!r} found, expected one of {', '.join(PRECISIONS)}.")
