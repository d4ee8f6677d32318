"""The figures of the page: maps of wells in SVG, and fields with outlines as pictures."""

from coos_mlflow.reports.fields.figures.maps import empty_mark, field_map
from coos_mlflow.reports.fields.figures.overlay import overlay_picture

__all__ = ["empty_mark", "field_map", "overlay_picture"]
