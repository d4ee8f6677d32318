"""The figures of the pages: SVG drawn by hand, and cells as small pictures.

SVG takes its colours from the page's style sheet, so that figures follow a dark page.
"""

from coos_mlflow.reports.plate.figures.cells import data_uri
from coos_mlflow.reports.plate.figures.effects import effect_strip, raw_moves
from coos_mlflow.reports.plate.figures.estimates import class_shares, interval_rows, small_interval
from coos_mlflow.reports.plate.figures.maps import FAR_WELL, colour_scale, plate_map, warning_mark
from coos_mlflow.reports.plate.figures.plate_comparison import comparison_axis, plate_comparison
from coos_mlflow.reports.plate.figures.svg import symbol

__all__ = [
    "FAR_WELL",
    "class_shares",
    "colour_scale",
    "comparison_axis",
    "data_uri",
    "effect_strip",
    "interval_rows",
    "plate_comparison",
    "plate_map",
    "raw_moves",
    "small_interval",
    "symbol",
    "warning_mark",
]
