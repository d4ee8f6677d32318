"""Smooth, threshold and split nuclei, with all lengths in micrometres.

Open this to change how nuclei are found without a network. Constants without a source are chosen:
they were tuned on simulated fields of other seeds than those that `scripts/validate_fields.py`
judges by, and by looking at fields of real instruments.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy import ndimage

from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters.base import NucleusSize, Segmenter

WORK_PIXEL_UM = 0.65
"""Finer pixels are averaged up to this size: a small nucleus still has 6 pixels across."""

SMOOTH_UM = 0.5
"""Standard deviation of the smoothing, about the resolution of a dry objective."""

DARK_UM = 3.0
"""Standard deviation of the smoothing that finds the dark parts of a field."""

BACKGROUND_UM = 45.0
"""Every square of this side shows some background. Slower changes are uneven illumination."""

NOISE_LIMIT = 7.0
"""Least height above the background, in standard deviations of the smoothed noise."""

SPECK = 0.7
"""Brighter parts smaller than this share of the smallest nucleus are no plateau of a nucleus."""

RISE = 0.45
"""Share of a nucleus' own brightness at its outline. Blur leaves half of it at an edge."""

DIMMEST = 0.22
"""Least brightness at an outline, as a share of the brightest nucleus within `NEAR_UM`: it leaves
out the glow around bright nuclei."""

NEAR_UM = 16.0
"""Side of the square around a pixel in which `DIMMEST` holds."""

FAINTEST = 0.15
"""Least brightness of a nucleus, as a share of that of usual nuclei. It leaves out cytoplasm."""

BRIGHTEST = 1.5
"""Greater brightness, as a multiple of that of usual nuclei, counts no more: next to a dividing or
a dead cell other nuclei keep their outlines."""

HOLE_UM = 5.0
"""Diameter of the largest dark part that is filled; nucleoli are smaller."""

HOLE_RATIO = 0.9
POWER = 0.5
SPLIT_UM = 0.6
NECK = 0.92
"""Two parts are two nuclei where their neck is narrower than this share of the smaller one."""


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`."""
    step = max(1, int(WORK_PIXEL_UM / pixel_size_um))
    counts = _mean_of_squares(np.asarray(nucleus, np.float32), step)
    um = pixel_size_um * step
    smooth = ndimage.gaussian_filter(counts, _sigma(um))
    bright = smooth - _background(smooth, um)
    limit = NOISE_LIMIT * _noise(counts, smooth, um)
    usual = _usual_brightness(_plateaus(bright, um, size), limit)
    bright = np.minimum(bright, BRIGHTEST * usual)
    plateau = _plateaus(bright, um, size)
    levels = _outline_levels(plateau, max(limit, RISE * FAINTEST * usual), um)
    ratio = bright / levels
    labels = _split(_filled(ratio > 1.0, ratio, um), plateau / levels, um)
    labels = _without_specks(labels, math.pi * (0.25 * size.smallest / um) ** 2)
    margin = bright - levels
    return _enlarged(labels, margin, step, nucleus.shape)


def _sigma(um: float) -> float:
    """Return the standard deviation of the smoothing in pixels."""
    return max(SMOOTH_UM / um, 0.5)


def _mean_of_squares(image: np.ndarray, step: int) -> np.ndarray:
    """Return the means of squares of `step` pixels; the last ones repeat the border."""
    if step == 1:
        return image
    height, width = image.shape
    padded = np.pad(image, ((0, -height % step), (0, -width % step)), mode="edge")
    rows, columns = padded.shape[0] // step, padded.shape[1] // step
    return padded.reshape(rows, step, columns, step).mean(axis=(1, 3), dtype=np.float32)


def _background(smooth: np.ndarray, um: float) -> np.ndarray:
    """Return the counts between nuclei: a smoothed opening by a square of `BACKGROUND_UM`."""
    step = max(1, round(2.5 / um))
    coarse = _mean_of_squares(smooth, step)
    side = max(3, round(BACKGROUND_UM / um / step))
    opened = ndimage.maximum_filter(ndimage.minimum_filter(coarse, side), side)
    even = ndimage.gaussian_filter(opened, side / 3.0, mode="nearest")
    return _zoomed(even, step, smooth.shape)


def _noise(counts: np.ndarray, smooth: np.ndarray, um: float) -> float:
    """Return the standard deviation of the smoothed noise between nuclei.

    It is that of what a second smoothing takes away, which has 0.73 of it where noise is white, in
    the darkest twentieth of the field. The median of absolute values is 0.6745 standard deviations.
    Regions that are exactly even are no image. Rounding is noise too.
    """
    fine = smooth - ndimage.gaussian_filter(smooth, 2.0 * _sigma(um))
    wide = ndimage.gaussian_filter(smooth, DARK_UM / um)
    uneven = fine != 0.0
    steps = np.diff(np.unique(counts[:: max(1, len(counts) // 64)]))
    rounding = 0.3 * float(steps.min()) if len(steps) else 1.0
    if not uneven.any():
        return rounding
    dark = fine[uneven & (wide <= np.percentile(wide[uneven], 5))]
    return max(float(np.median(np.abs(dark))) / 0.6745 / 0.73, rounding)


def _plateaus(bright: np.ndarray, um: float, size: NucleusSize) -> np.ndarray:
    """Return the brightness without parts much smaller than a nucleus, smoothed."""
    side = 2 * int(0.5 * SPECK * size.smallest / um) + 1
    opened = ndimage.maximum_filter(ndimage.minimum_filter(bright, side), side)
    return ndimage.gaussian_filter(opened, 1.0 / um)


def _usual_brightness(plateau: np.ndarray, limit: float) -> float:
    """Return the brightness that the brighter quarter of the area of all nuclei exceeds."""
    basins = _basins(plateau, plateau > limit)
    tops = _maxima(plateau, basins)
    inside = plateau > np.maximum(RISE * tops[basins], limit)
    areas = np.bincount(basins[inside], minlength=len(tops))
    if not areas.any():
        return limit
    order = np.argsort(tops, kind="stable")
    place = np.searchsorted(np.cumsum(areas[order]), 0.75 * areas.sum())
    return float(tops[order[place]])


def _outline_levels(plateau: np.ndarray, limit: float, um: float) -> np.ndarray:
    """Return the brightness of an outline at each pixel, from the nucleus that it belongs to."""
    basins = _basins(plateau, plateau > limit)
    own = _maxima(plateau, basins)[basins]
    near = ndimage.maximum_filter(own, max(3, round(NEAR_UM / um)))
    return np.maximum(np.maximum(RISE * own, DIMMEST * near), limit)


def _filled(mask: np.ndarray, ratio: np.ndarray, um: float) -> np.ndarray:
    """Return the mask without thin bridges, specks, and holes that are nearly bright enough.

    `ratio` is the brightness over that of an outline.
    """
    mask = ndimage.binary_opening(mask, iterations=max(1, round(0.5 / um)))
    holes, count = ndimage.label(~mask)
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    small = sizes < math.pi * (0.5 * HOLE_UM / um) ** 2
    sums = np.bincount(holes.ravel(), weights=ratio.ravel(), minlength=count + 1)
    filled = small & (sums > HOLE_RATIO * sizes)
    filled[0] = False
    return mask | filled[holes]


def _split(mask: np.ndarray, ratio: np.ndarray, um: float) -> np.ndarray:
    """Return parts of the mask with one nucleus each."""
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    depth = ndimage.gaussian_filter(depth * np.clip(ratio * RISE, 0.0, 1.0) ** POWER, SPLIT_UM / um)
    parts = _basins(depth, mask)
    return _joined(depth, parts, NECK)


def _without_specks(labels: np.ndarray, smallest: float) -> np.ndarray:
    """Return the labels numbered from 1, without those of less than `smallest` pixels."""
    kept = np.bincount(labels.ravel()) >= smallest
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


@njit(cache=True, nogil=True)
def _basins(height: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the numbers, from 1, of the maxima that steepest ascents from each pixel reach.

    Of equally high pixels the earlier one counts as higher.
    """
    rows, columns = height.shape
    target = np.empty(rows * columns, np.int64)
    for y in range(rows):
        for x in range(columns):
            best = y * columns + x
            top = height[y, x]
            if mask[y, x]:
                for v in range(max(y - 1, 0), min(y + 2, rows)):
                    for u in range(max(x - 1, 0), min(x + 2, columns)):
                        place = v * columns + u
                        if mask[v, u] and (
                            height[v, u] > top or (height[v, u] == top and place < best)
                        ):
                            best, top = place, height[v, u]
            target[y * columns + x] = best
    numbers = np.zeros(rows * columns, np.int32)
    count = 0
    for place in range(rows * columns):
        if mask.flat[place] and target[place] == place:
            count += 1
            numbers[place] = count
    for place in range(rows * columns):
        if not mask.flat[place]:
            continue
        end = place
        while numbers[end] == 0:
            end = target[end]
        number, end = numbers[end], place
        while numbers[end] == 0:
            numbers[end] = number
            end = target[end]
    return numbers.reshape(rows, columns)


def _maxima(height: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the greatest height of each part, and 0 for the number 0."""
    tops = np.zeros(int(parts.max()) + 1, np.float32)
    np.maximum.at(tops, parts.ravel(), height.ravel())
    tops[0] = 0.0
    return tops


def _joined(height: np.ndarray, parts: np.ndarray, share: float) -> np.ndarray:
    """Join parts whose pass is higher than a share of the lower top, the highest pass first."""
    tops = _maxima(height, parts)
    root = np.arange(len(tops))

    def find(part: int) -> int:
        while root[part] != part:
            root[part] = root[root[part]]
            part = root[part]
        return part

    for first, second, pass_height in _passes(height, parts):
        a, b = find(first), find(second)
        if a != b and pass_height > share * min(tops[a], tops[b]):
            low, high = min(a, b), max(a, b)
            root[high] = low
            tops[low] = max(tops[a], tops[b])
    roots = np.array([find(part) for part in range(len(root))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)[parts]


def _passes(height: np.ndarray, parts: np.ndarray) -> list[tuple[int, int, float]]:
    """Return pairs of parts that touch with the height of the pass between, highest first."""
    pairs, heights = [], []
    for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        a, b = parts[here], parts[there]
        met = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.sort(np.stack([a[met], b[met]], axis=1), axis=1))
        heights.append(np.minimum(height[here][met], height[there][met]))
    found, passed = np.concatenate(pairs), np.concatenate(heights)
    order = np.lexsort((found[:, 1], found[:, 0], -passed))
    return list(zip(*found[order].T.tolist(), passed[order].tolist(), strict=True))


@njit(cache=True, nogil=True)
def _zoomed(coarse: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the squares of `step` pixels interpolated bilinearly to the pixels of `shape`."""
    rows, columns = coarse.shape
    image = np.empty(shape, np.float32)
    for y in range(shape[0]):
        v = min(max((y + 0.5) / step - 0.5, 0.0), rows - 1.0)
        i = int(v)
        k, fy = min(i + 1, rows - 1), v - i
        for x in range(shape[1]):
            u = min(max((x + 0.5) / step - 0.5, 0.0), columns - 1.0)
            j = int(u)
            m, fx = min(j + 1, columns - 1), u - j
            top = coarse[i, j] * (1.0 - fx) + coarse[i, m] * fx
            bottom = coarse[k, j] * (1.0 - fx) + coarse[k, m] * fx
            image[y, x] = top * (1.0 - fy) + bottom * fy
    return image


def _enlarged(
    labels: np.ndarray, margin: np.ndarray, step: int, shape: tuple[int, int]
) -> np.ndarray:
    """Return the labels at the pixels of the field, with outlines finer than the squares."""
    if step == 1:
        return labels
    return np.kron(labels, np.ones((step, step), np.int32))[: shape[0], : shape[1]]


SEGMENTER = Segmenter("threshold and distance transform", segment, lambda: {})
