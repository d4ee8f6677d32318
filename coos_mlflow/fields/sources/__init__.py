"""Formats of instruments, one file each; see `base.Source`."""

from coos_mlflow.fields.sources.base import Source, check_pixel_size, open_images, source_keys

__all__ = ["Source", "check_pixel_size", "open_images", "source_keys"]
