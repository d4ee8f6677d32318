"""The report's pictures: hand-placed SVG that follows the page's colours, and cells as WebP."""

from coos_mlflow.reports.plate.figures.cells import data_uri
from coos_mlflow.reports.plate.figures.effects import effect_strip, raw_moves
from coos_mlflow.reports.plate.figures.intervals import interval_rows, small_interval
from coos_mlflow.reports.plate.figures.ladder import axis_of, ladder
from coos_mlflow.reports.plate.figures.maps import FAR_WELL, colour_scale, plate_map
from coos_mlflow.reports.plate.figures.shares import class_shares

__all__ = [
    "FAR_WELL",
    "axis_of",
    "class_shares",
    "colour_scale",
    "data_uri",
    "effect_strip",
    "interval_rows",
    "ladder",
    "plate_map",
    "raw_moves",
    "small_interval",
]
