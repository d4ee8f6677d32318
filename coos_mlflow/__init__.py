"""Model registry and batch scorer for single-cell fluorescence microscopy, around COOS-7."""

import os

__version__ = "0.1.0"

__all__ = ["__version__"]

# OpenMP threads would otherwise spin while they wait for each other. On a quiet machine that gains
# a network's training a sixth; beside any other process it has been seen to take two to four times
# as long for it. OpenMP reads this when the first library that uses it is loaded, hence here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
