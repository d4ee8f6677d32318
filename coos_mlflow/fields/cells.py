"""Cut one crop around each nucleus of a field, and measure it.

Open this to change which nuclei become cells, or what is measured of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coos_mlflow.fields.settings import CropSettings

EDGE, SMALL, LARGE = "edge", "small", "large"
"""Why a nucleus gives no cell: its crop would reach over the field's edge, or its size."""


@dataclass(frozen=True)
class FieldCells:
    """The cells of one field.

    Parameters
    ----------
    images : ndarray of uint16 or float32, shape (n, 2, crop, crop)
        Raw counts of protein and nucleus, in the order of `object`.
    columns : dict of ndarray, shape (n,)
        `coos_mlflow.plates.columns.MEASUREMENTS`, but for ``field`` and ``time``: ``object`` is the
        number of the nucleus in the label image. ``centre_y`` and ``centre_x`` are its centroid in
        pixels of the field, 0 in the middle of the first pixel. ``focus`` is the sharpness of the
        nucleus in its crop (see `coos_mlflow.fields.focus`). ``edge_distance_um`` is from the
        centroid to the field's nearest edge. ``neighbours`` counts nuclei whose centroids lie on
        the crop. ``touching`` is 1 where the nucleus borders on another one, ``dividing`` where its
        shape and brightness are those of a division.
    left_out : dict of str to int
        Numbers of nuclei without a cell, by `EDGE`, `SMALL` and `LARGE`.
    """

    images: np.ndarray
    columns: dict[str, np.ndarray]
    left_out: dict[str, int]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.images)


def cut_cells(counts: np.ndarray, labels: np.ndarray, settings: CropSettings) -> FieldCells:
    """Cut the cells of a field.

    Parameters
    ----------
    counts : ndarray of uint16 or float32, shape (2, height, width)
        From `coos_mlflow.fields.reading.read_field`.
    labels : ndarray of int32, shape (height, width)
        From a segmenter.
    settings : CropSettings

    Returns
    -------
    FieldCells
        The same input gives the same bytes.
    """
    raise NotImplementedError
