"""Tables of predictions."""

from __future__ import annotations

import pandas as pd


def with_plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with class names as text; a server does not name classes without cells."""
    return table.assign(class_name=table["class_name"].astype(object))
