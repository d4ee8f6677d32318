"""HCS plates of OME-Zarr 0.4, for programs that do not read zarr 3; see `ome_zarr`."""

from functools import partial

from coos_mlflow.fields.writers._ome_groups import V04
from coos_mlflow.fields.writers.base import Writer
from coos_mlflow.fields.writers.ome_zarr import NAMES, write

WRITER = Writer("OME-Zarr 0.4 (zarr 2)", NAMES, partial(write, version=V04))
