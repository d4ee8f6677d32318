"""Cut one crop around each nucleus of a field, and measure it.

Open this to change which nuclei become cells, or what is measured of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, KDTree, QhullError

from coos_mlflow.fields import focus
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.plates.columns import MEASUREMENTS
from coos_mlflow.plates.reader import PIXEL_SIZE_TOLERANCE

EDGE, SMALL, LARGE = "edge", "small", "large"
"""Why a nucleus gives no cell: its crop would reach over the field's edge, or its size."""

TOUCHING_PX = 2
"""Nuclei so near touch one another, so that a line of one pixel between them counts."""

DIVIDING_BRIGHTNESS = 1.6
"""Least brightness of a dividing nucleus, in medians of the field; chosen, not measured."""

DIVIDING_AREA = 0.75
"""Largest area of a dividing nucleus, in medians of the field; chosen, not measured."""

FEWEST_FOR_MEDIAN = 10
"""Fewest nuclei of a field whose medians say what is ordinary; chosen."""


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
        field around the nucleus (see `coos_mlflow.fields.focus`). ``edge_distance_um`` is from the
        centroid to the field's nearest edge. ``neighbours`` counts other nuclei whose centroids lie
        on the crop. ``touching`` is 1 where another nucleus lies within `TOUCHING_PX`.
        ``dividing`` is 1 where the nucleus is small and bright beside the others of its field, as
        condensed chromosomes are. It is a hint: dying cells look the same.
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

    The field is resampled where the pixels of crops have another size. The middle of a crop, pixel
    ``crop // 2``, is the pixel that holds the centroid. Nuclei that the border of the field cuts
    count as `EDGE`, whatever their size.

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
    nuclei = _Nuclei.of(labels)
    resampled = _resampled(counts, settings)
    scale = np.array(resampled.shape[1:]) / np.array(counts.shape[1:])
    middles = np.floor((nuclei.centres + 0.5) * scale).astype(int)
    corners = middles - settings.crop // 2
    inside = ((corners >= 0) & (corners + settings.crop <= resampled.shape[1:])).all(axis=1)

    diameters = 2 * settings.image_pixel_um * np.sqrt(nuclei.areas / math.pi)
    small = ~nuclei.cut & (diameters < settings.size.smallest)
    large = ~nuclei.cut & (diameters > settings.size.largest)
    sized = ~small & ~large
    kept = np.flatnonzero(sized & inside & ~nuclei.cut)
    left_out = {EDGE: sized & ~(inside & ~nuclei.cut), SMALL: small, LARGE: large}

    images = np.empty((len(kept), 2, settings.crop, settings.crop), counts.dtype)
    for image, (top, left) in zip(images, corners[kept], strict=True):
        image[:] = resampled[:, top : top + settings.crop, left : left + settings.crop]
    columns = _measured(counts[1], labels, nuclei, kept, sized, settings)
    places = (nuclei.centres + 0.5) * scale
    columns["neighbours"] = _neighbours(places, corners, sized, kept, settings.crop)
    return FieldCells(
        images,
        {name: values.astype(MEASUREMENTS[name]) for name, values in columns.items()},
        {why: int(which.sum()) for why, which in left_out.items()},
    )


class _Nuclei(NamedTuple):
    """All nuclei of a label image, in the order of their numbers.

    `pixels` are the places of their pixels in the flat image, in order, and `owners` the place of
    each pixel's nucleus. `centres` (n, 2) are in pixels. `cut` says whether the border of the field
    cuts them.
    """

    numbers: np.ndarray
    pixels: np.ndarray
    owners: np.ndarray
    areas: np.ndarray
    centres: np.ndarray
    cut: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray) -> _Nuclei:
        """Return the nuclei of a label image."""
        height, width = labels.shape
        pixels = np.flatnonzero(labels > 0)
        numbers, owners = np.unique(labels.ravel()[pixels], return_inverse=True)
        n = len(numbers)
        rows, columns = np.divmod(pixels, width)
        areas = np.bincount(owners, minlength=n)
        # Sums of whole numbers are exact, so that shifted fields give shifted centres.
        sums = [np.bincount(owners, weights=places, minlength=n) for places in (rows, columns)]
        centres = np.stack(sums, axis=1) / areas[:, None]
        at_border = (rows == 0) | (rows == height - 1) | (columns == 0) | (columns == width - 1)
        cut = np.bincount(owners[at_border], minlength=n) > 0
        return cls(numbers, pixels, owners, areas, centres, cut)


def _resampled(counts: np.ndarray, settings: CropSettings) -> np.ndarray:
    """Return the field with pixels of the crops' size, same dtype."""
    if settings.crop_pixel_um is None:
        return counts
    factor = settings.image_pixel_um / settings.crop_pixel_um
    if abs(factor - 1) <= PIXEL_SIZE_TOLERANCE:
        return counts
    from skimage.transform import resize

    shape = [max(1, round(side * factor)) for side in counts.shape[1:]]
    # A Gaussian before shrinking suppresses detail that larger pixels cannot show.
    images = [
        resize(image.astype(np.float32), shape, order=1, mode="edge", anti_aliasing=factor < 1)
        for image in counts
    ]
    resampled = np.stack(images)
    return (np.rint(resampled) if counts.dtype.kind == "u" else resampled).astype(counts.dtype)


def _measured(
    nucleus: np.ndarray,
    labels: np.ndarray,
    nuclei: _Nuclei,
    kept: np.ndarray,
    sized: np.ndarray,
    settings: CropSettings,
) -> dict[str, np.ndarray]:
    """Return what is measured of the kept nuclei on the field itself."""
    pixel = settings.image_pixel_um
    centres = nuclei.centres[kept]
    to_edges = np.concatenate([centres + 0.5, np.array(labels.shape) - (centres + 0.5)], axis=1)
    boxes = _boxes(nuclei, labels.shape[1])
    return {
        "object": nuclei.numbers[kept],
        "centre_y": centres[:, 0],
        "centre_x": centres[:, 1],
        "area_um2": nuclei.areas[kept] * pixel**2,
        "solidity": _solidities(nuclei, labels.shape[1], kept),
        "focus": _sharpness(nucleus, boxes[kept]),
        "edge_distance_um": to_edges.min(axis=1, initial=np.inf) * pixel,
        "touching": _touching(labels, nuclei)[kept],
        "dividing": _dividing(nucleus, labels, nuclei, sized)[kept],
    }


def _neighbours(
    centres: np.ndarray, corners: np.ndarray, sized: np.ndarray, kept: np.ndarray, crop: int
) -> np.ndarray:
    """Count other nuclei of ordinary size with centroids on each crop; edges of pixels count."""
    if not len(kept):
        return np.zeros(0, int)
    around = KDTree(centres[sized]).query_ball_point(
        corners[kept] + crop / 2, crop / 2, p=np.inf, return_length=True
    )
    return np.asarray(around) - 1


def _boxes(nuclei: _Nuclei, width: int) -> np.ndarray:
    """Return top, bottom, left and right of each nucleus, (n, 4); bottom and right are outside."""
    rows, columns = np.divmod(nuclei.pixels, width)
    boxes = np.empty((len(nuclei.numbers), 4), int)
    for places, low, high in ((rows, 0, 1), (columns, 2, 3)):
        first, last = np.full(len(boxes), np.iinfo(int).max), np.zeros(len(boxes), int)
        np.minimum.at(first, nuclei.owners, places)
        np.maximum.at(last, nuclei.owners, places)
        boxes[:, low], boxes[:, high] = first, last + 1
    return boxes


MARGIN_PX = 3
"""Width of the surroundings of a nucleus in which its sharpness is measured; holds its edge."""


def _sharpness(nucleus: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    if min(nucleus.shape) < focus.SMALLEST_SIDE:
        return np.zeros(len(boxes))
    found = focus.energy(nucleus)
    windows = np.maximum(boxes + MARGIN_PX * np.array([-1, 1, -1, 1]) - 1, 0)
    return np.array(
        [
            focus.sharpness(focus.Energy(*(part[top:bottom, left:right] for part in found))).value
            for top, bottom, left, right in windows
        ]
    )


def _touching(labels: np.ndarray, nuclei: _Nuclei) -> np.ndarray:
    """Return whether another nucleus lies within `TOUCHING_PX`, in eight directions."""
    padded = np.pad(labels, TOUCHING_PX)
    rows, columns = np.divmod(nuclei.pixels, labels.shape[1])
    places = (rows + TOUCHING_PX) * padded.shape[1] + columns + TOUCHING_PX
    flat = padded.ravel()
    own = flat[places]
    touching = np.zeros(len(nuclei.numbers), bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            for distance in range(1, TOUCHING_PX + 1) if (dy, dx) != (0, 0) else ():
                other = flat[places + distance * (dy * padded.shape[1] + dx)]
                touching[nuclei.owners[(other > 0) & (other != own)]] = True
    return touching


def _dividing(
    nucleus: np.ndarray, labels: np.ndarray, nuclei: _Nuclei, sized: np.ndarray
) -> np.ndarray:
    """Return which nuclei are small and bright beside the others, as condensed ones are."""
    whole = sized & ~nuclei.cut
    dark = nucleus[labels <= 0]
    if whole.sum() < FEWEST_FOR_MEDIAN or not dark.size:
        return np.zeros(len(sized), bool)
    counts = nucleus.ravel()[nuclei.pixels].astype(np.float64)
    bright = np.bincount(nuclei.owners, weights=counts) / nuclei.areas - np.median(dark)
    return (
        sized
        & (bright > DIVIDING_BRIGHTNESS * np.median(bright[whole]))
        & (nuclei.areas < DIVIDING_AREA * np.median(nuclei.areas[whole]))
    )


def _solidities(nuclei: _Nuclei, width: int, kept: np.ndarray) -> np.ndarray:
    """Return the number of pixels over that of the smallest convex shape around them."""
    order = np.argsort(nuclei.owners, kind="stable")
    pixels = nuclei.pixels[order]
    starts = np.cumsum(nuclei.areas) - nuclei.areas
    values = np.empty(len(kept))
    for place, index in enumerate(kept):
        rows, columns = np.divmod(
            pixels[starts[index] : starts[index] + nuclei.areas[index]], width
        )
        # Only the ends of rows can be corners of the hull.
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        last = np.append(first[1:], len(rows)) - 1
        ends = np.concatenate([first, last])
        values[place] = nuclei.areas[index] / _pixels_of_hull(rows[ends], columns[ends])
    return values


def _pixels_of_hull(rows: np.ndarray, columns: np.ndarray) -> float:
    """Count the pixels in the convex hull of some, by Pick's theorem."""
    points = np.stack([rows, columns], axis=1)
    try:
        hull = ConvexHull(points - points[0])
    except QhullError:  # All lie on one line.
        return 1.0 + np.gcd(np.ptp(rows), np.ptp(columns))
    steps = np.diff(points[hull.vertices], axis=0, append=points[hull.vertices[:1]])
    return float(hull.volume + np.gcd(*steps.T).sum() / 2 + 1)
