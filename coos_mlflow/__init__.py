"""Model registry and batch scorer for single-cell fluorescence microscopy, around COOS-7."""

__version__ = "0.1.0"

__all__ = ["__version__"]
