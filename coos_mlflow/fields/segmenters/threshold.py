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
"""Finer pixels are averaged up to this size: a small nucleus still has 6 of them across."""

SMOOTH_UM, SMOOTH_PX = 0.5, 0.5
"""Standard deviation of the smoothing, about the resolution of a dry objective; at least so many
pixels."""

NOISE_UM = 1.5
"""Standard deviation of the smoothing that takes the noise away, also where it is correlated."""

DARK_UM = 3.0
"""Standard deviation of the smoothing that finds the dark parts of a field."""

BACKGROUND_UM = 45.0
"""Every square of this side shows some background. Slower changes are uneven illumination."""

NOISE_LIMIT = 9.0
"""Least height above the background, in standard deviations of the smoothed noise."""

CROWDED = 8.5
"""A field is full of nuclei where a tenth of it is brighter than so many standard deviations of
what a narrow smoothing takes away."""

CROWDED_SHARE = 0.2
"""Least height above the background in a field full of nuclei, as a share of the nuclei's."""

SPECK = 0.7
"""Bright parts smaller than this share of the smallest nucleus do not set a nucleus' brightness."""

RISE = 0.45
"""Share of a nucleus' own brightness at its outline. Blur leaves half of it at an edge."""

DIMMEST, NEAR_UM = 0.22, 16.0
"""Least brightness at an outline, as a share of the brightest nucleus in a square of this side
around it. It leaves out the glow around bright nuclei."""

FAINTEST = 0.15
"""Least brightness of a nucleus, as a share of the usual one. It leaves out cytoplasm."""

BRIGHTEST = 1.5
"""Greater brightness, as a multiple of the usual one, counts no more: next to a dividing or a dead
cell other nuclei keep their outlines."""

HOLE_UM = 5.0
"""Diameter of the largest dark part of a nucleus, such as a nucleolus."""

HOLE_RATIO = 0.9
"""Brightness over that at an outline, above which a hole is no gap between nuclei."""

PEAK_SHARE, CERTAIN = 0.5, 2.0
"""A nucleus is as wide as the smallest one also where only what is brighter than this share of its
own top counts. Debris is a peak without a plateau: blur alone makes its outline wide. Of simulated
debris within the range of sizes 95 % is narrower (three quarters at 3 um out of focus), of nuclei
less than 0.05 %. Outlines wider than so many smallest nuclei may hold a bright speck, and stay."""

SPLIT_UM, SPLIT_PX = 0.5, 0.9
"""Standard deviation of the smoothing of depths; at least so many pixels."""

NO_LABEL = np.int32(np.iinfo(np.int32).max)
"""Greater than the number of any nucleus."""

ONE_PASS, ONE_SHAPE = 0.985, 0.88
"""Parts are of one nucleus where the pass between them is higher than this share of the lower top,
or where this share times the share that both fill of their convex hull is higher."""


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`."""
    step = max(1, int(WORK_PIXEL_UM / pixel_size_um))
    um = pixel_size_um * step
    counts = _mean_of_squares(np.asarray(nucleus, np.float32), step)
    smooth = ndimage.gaussian_filter(counts, _smoothing(um))
    bright = smooth - _background(smooth, um)
    floor, noise, narrow_noise = _floor(bright, _rounding(counts), um)
    bright -= floor
    plateau = _plateaus(bright, um, size)
    limit = _limit(plateau, noise, narrow_noise)
    usual = _usual_brightness(plateau, limit)
    capped = np.minimum(bright, BRIGHTEST * usual)
    plateau = _plateaus(capped, um, size)
    levels = _outline_levels(plateau, limit, FAINTEST * usual, um)
    ratio = capped / levels
    parts = _split(_mask(ratio, um), plateau / levels, um)
    parts = _without_peaks(parts, bright, size, um)
    nuclei = _without_holes(_without_specks(parts, size, um), um)
    return nuclei if step == 1 else _enlarged(nuclei, ratio - 1.0, step, nucleus.shape)


def _smoothing(um: float) -> float:
    """Return the standard deviation of the smoothing in pixels."""
    return max(SMOOTH_UM / um, SMOOTH_PX)


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


def _floor(bright: np.ndarray, rounding: float, um: float) -> tuple[float, float, float]:
    """Return the brightness between nuclei, and two standard deviations of the noise there.

    All are taken in the darkest twentieth of the field. The first standard deviation is that of
    what a wide smoothing takes away, also where noise is correlated; the second one of what a
    narrow smoothing takes away. 0.6745 of them is the median of absolute values. Regions that are
    exactly even are no image.
    """
    fine = bright - ndimage.gaussian_filter(bright, NOISE_UM / um)
    wide = ndimage.gaussian_filter(bright, DARK_UM / um)
    uneven = fine != 0.0
    if not uneven.any():
        return 0.0, rounding, rounding
    dark = uneven & (wide <= np.percentile(wide[uneven], 5))
    finest = bright - ndimage.gaussian_filter(bright, 2.0 * _smoothing(um))
    coarse, narrow = (float(np.median(np.abs(part[dark]))) / 0.6745 for part in (fine, finest))
    return float(np.median(bright[dark])), max(coarse, rounding), max(narrow, rounding)


def _limit(plateau: np.ndarray, noise: float, narrow_noise: float) -> float:
    """Return the least brightness of a nucleus.

    Where a tenth of the field is far brighter than noise, even its darkest parts lie among nuclei,
    and what looks like noise there is not. A share of that brightness is enough then.
    """
    limit = NOISE_LIMIT * noise
    brightest = float(np.percentile(plateau, 90))
    is_crowded = brightest > CROWDED * narrow_noise
    return min(limit, CROWDED_SHARE * brightest) if is_crowded else limit


def _rounding(counts: np.ndarray) -> float:
    """Return the standard deviation of the error of rounding, from some rows of the field."""
    steps = np.diff(np.unique(counts[:: max(1, len(counts) // 64)]))
    return float(steps.min()) / math.sqrt(12.0) if len(steps) else 1.0


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


def _outline_levels(plateau: np.ndarray, limit: float, faintest: float, um: float) -> np.ndarray:
    """Return the brightness of an outline at each pixel, from the nucleus that it belongs to.

    It is infinite where no plateau is near, and around those too faint for a nucleus.
    """
    basins = _basins(plateau, plateau > limit)
    tops = _maxima(plateau, basins)
    near = ndimage.maximum_filter(tops[basins], max(3, round(NEAR_UM / um)))
    outline = np.where((tops < faintest) & (tops > 0.0), np.inf, RISE * tops)[basins]
    least = np.where(near > 0.0, max(limit, RISE * faintest), np.inf)
    return np.maximum(np.maximum(outline, DIMMEST * near), least).astype(np.float32)


def _mask(ratio: np.ndarray, um: float) -> np.ndarray:
    """Return where nuclei are, from the brightness over that at an outline.

    Thin bridges are opened, and holes are filled that are nearly bright enough.
    """
    mask = ndimage.binary_opening(ratio > 1.0)
    holes, count = ndimage.label(~mask)
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    sums = np.bincount(holes.ravel(), weights=ratio.ravel(), minlength=count + 1)
    filled = (sizes < _pixels(HOLE_UM, um)) & (sums > HOLE_RATIO * sizes)
    filled[0] = False
    return mask | filled[holes]


def _pixels(diameter_um: float, um: float) -> float:
    """Return the number of pixels of a disk."""
    return math.pi * (0.5 * diameter_um / um) ** 2


def _split(mask: np.ndarray, ratio: np.ndarray, um: float) -> np.ndarray:
    """Return parts of the mask with one nucleus each, by its depth and brightness."""
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    depth *= np.sqrt(np.clip(RISE * ratio, 0.0, 1.0))
    depth = ndimage.gaussian_filter(depth, max(SPLIT_UM / um, SPLIT_PX))
    return _joined(depth, _basins(depth, mask))


def _without_peaks(
    parts: np.ndarray, bright: np.ndarray, size: NucleusSize, um: float
) -> np.ndarray:
    """Return the parts without debris, whose brighter half is smaller than any nucleus."""
    tops = _maxima(bright, parts)
    upper = np.bincount(parts.ravel(), weights=(bright > PEAK_SHARE * tops[parts]).ravel())
    sizes = np.bincount(parts.ravel())
    kept = (upper >= _pixels(size.smallest, um)) | (sizes >= _pixels(CERTAIN * size.smallest, um))
    return np.where(kept[parts], parts, 0).astype(np.int32)


def _without_specks(parts: np.ndarray, size: NucleusSize, um: float) -> np.ndarray:
    """Return the parts numbered from 1, without those half as wide as the smallest nucleus."""
    kept = np.bincount(parts.ravel()) >= _pixels(0.5 * size.smallest, um)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[parts]


def _without_holes(labels: np.ndarray, um: float) -> np.ndarray:
    """Return the labels with holes filled that one nucleus surrounds, such as nucleoli."""
    holes, count = ndimage.label(labels == 0)
    largest = np.zeros(count + 1, np.int32)
    np.maximum.at(largest, holes.ravel(), ndimage.maximum_filter(labels, 3).ravel())
    others = np.where(labels == 0, NO_LABEL, labels)
    smallest = np.full(count + 1, NO_LABEL)
    np.minimum.at(smallest, holes.ravel(), ndimage.minimum_filter(others, 3).ravel())
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    filled = (sizes < _pixels(HOLE_UM, um)) & (largest == smallest)
    fill = np.where(filled, largest, 0).astype(np.int32)
    fill[0] = 0
    return labels + fill[holes]


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


def _joined(height: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Join parts of one nucleus, those with the highest pass between them first.

    See `ONE_PASS` and `ONE_SHAPE`.
    """
    pairs, passed = _passes(height, parts)
    tops = _maxima(height, parts).astype(np.float64)
    sizes = np.bincount(parts.ravel())
    roots = _roots(pairs, passed, tops, sizes, *_rims(parts, len(tops)))
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)[parts]


@njit(cache=True, nogil=True)
def _roots(
    pairs: np.ndarray,
    passed: np.ndarray,
    tops: np.ndarray,
    sizes: np.ndarray,
    first_rows: np.ndarray,
    starts: np.ndarray,
    rims: np.ndarray,
) -> np.ndarray:
    """Return for each part the least number of those that it is joined with.

    `tops` and `sizes` are changed. `first_rows`, `starts` and `rims` are from `_rims`.
    """
    top = first_rows.copy()
    bottom = first_rows + np.diff(starts)
    root = np.arange(len(tops))
    following, end = np.full(len(tops), -1), np.arange(len(tops))  # chains of joined parts
    for k in range(len(pairs)):
        a, b = _root(root, pairs[k, 0]), _root(root, pairs[k, 1])
        if a == b:
            continue
        low, high = min(a, b), max(a, b)
        share, size = passed[k] / min(tops[a], tops[b]), sizes[a] + sizes[b]
        above, below = min(top[a], top[b]), max(bottom[a], bottom[b])
        is_one = share > ONE_PASS
        if not is_one:
            rim = np.empty((2, below - above))
            rim[0], rim[1] = np.inf, -np.inf
            for joined in (a, b):
                part = joined
                while part >= 0:
                    here = rims[:, starts[part] : starts[part + 1]]
                    _widen(rim[:, first_rows[part] - above :], here)
                    part = following[part]
            is_one = share * size > ONE_SHAPE * _hull_pixels(rim[0], rim[1])
        if is_one:
            root[high] = low
            following[end[low]], end[low] = high, end[high]
            tops[low], sizes[low] = max(tops[a], tops[b]), size
            top[low], bottom[low] = above, below
    return np.array([_root(root, part) for part in range(len(root))])


@njit(cache=True, nogil=True)
def _widen(rim: np.ndarray, other: np.ndarray) -> None:
    """Widen a rim by another that begins in the same row, in place."""
    for row in range(other.shape[1]):
        rim[0, row] = min(rim[0, row], other[0, row])
        rim[1, row] = max(rim[1, row], other[1, row])


@njit(cache=True, nogil=True)
def _root(root: np.ndarray, part: int) -> int:
    """Return the last of a chain of roots, and shorten the chain."""
    while root[part] != part:
        root[part] = root[root[part]]
        part = root[part]
    return part


@njit(cache=True, nogil=True)
def _rims(parts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rims of the parts; that of the number 0 is empty.

    Returns
    -------
    first_rows : ndarray of int64, shape (count,)
        First row of each part.
    starts : ndarray of int64, shape (count + 1,)
        Where the rows of each part begin in `rims`.
    rims : ndarray of float64, shape (2, n)
        First and last column in each row of each part.
    """
    height, width = parts.shape
    first_rows, bottoms = np.full(count, height), np.zeros(count, np.int64)
    for y in range(height):
        for x in range(width):
            part = parts[y, x]
            if part > 0:
                first_rows[part] = min(first_rows[part], y)
                bottoms[part] = y + 1
    starts = np.zeros(count + 1, np.int64)
    for part in range(count):
        starts[part + 1] = starts[part] + max(bottoms[part] - first_rows[part], 0)
    rims = np.empty((2, starts[count]))
    rims[0], rims[1] = np.inf, -np.inf
    for y in range(height):
        for x in range(width):
            part = parts[y, x]
            if part > 0:
                place = starts[part] + y - first_rows[part]
                rims[0, place] = min(rims[0, place], x)
                rims[1, place] = x
    return first_rows, starts, rims


@njit(cache=True, nogil=True)
def _hull_pixels(first: np.ndarray, last: np.ndarray) -> float:
    """Return the number of pixels in the convex hull, by Pick's theorem."""
    left, right = _chain(first, 1.0), _chain(last, -1.0)
    area = _under(right) - _under(left)
    border = _length(left) + _length(right)
    border += right[0, 1] - left[0, 1] + right[-1, 1] - left[-1, 1]
    return area + 0.5 * border + 1.0


@njit(cache=True, nogil=True)
def _chain(edge: np.ndarray, sign: float) -> np.ndarray:
    """Return the corners (row, column) of one side of a hull, outwards where `sign` * x is low."""
    corners = np.empty((len(edge), 2))
    count = 0
    for row in range(len(edge)):
        if not np.isfinite(edge[row]):
            continue
        while count > 1:
            dy, dx = corners[count - 1] - corners[count - 2]
            if sign * (dx * (row - corners[count - 2, 0])) < sign * (
                dy * (edge[row] - corners[count - 2, 1])
            ):
                break
            count -= 1
        corners[count, 0], corners[count, 1] = row, edge[row]
        count += 1
    return corners[:count]


@njit(cache=True, nogil=True)
def _under(chain: np.ndarray) -> float:
    """Return the integral of the column over the rows."""
    total = 0.0
    for k in range(len(chain) - 1):
        total += 0.5 * (chain[k, 1] + chain[k + 1, 1]) * (chain[k + 1, 0] - chain[k, 0])
    return total


@njit(cache=True, nogil=True)
def _length(chain: np.ndarray) -> float:
    """Return the length of a side of a hull."""
    total = 0.0
    for k in range(len(chain) - 1):
        total += math.hypot(chain[k + 1, 0] - chain[k, 0], chain[k + 1, 1] - chain[k, 1])
    return total


def _passes(height: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (n, 2) of parts that touch, and the heights of passes (n,), highest first."""
    pairs, heights = [], []
    for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        a, b = parts[here], parts[there]
        met = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.sort(np.stack([a[met], b[met]], axis=1), axis=1))
        heights.append(np.minimum(height[here][met], height[there][met]))
    found, passed = np.concatenate(pairs), np.concatenate(heights)
    order = np.lexsort((found[:, 1], found[:, 0], -passed))
    return found[order], passed[order].astype(np.float64)


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


@njit(cache=True, nogil=True)
def _enlarged(
    labels: np.ndarray, margin: np.ndarray, step: int, shape: tuple[int, int]
) -> np.ndarray:
    """Return labels at the pixels of `shape`, with the outline where the margin crosses 0."""
    rows, columns = labels.shape
    signed = np.empty(labels.shape, np.float32)
    for y in range(rows):
        for x in range(columns):
            value = margin[y, x]
            signed[y, x] = max(value, 0.1) if labels[y, x] > 0 else min(value, -0.1)
    fine = _zoomed(signed, step, shape)
    image = np.zeros(shape, np.int32)
    for y in range(shape[0]):
        for x in range(shape[1]):
            if fine[y, x] > 0.0:
                image[y, x] = _nearest_label(labels, (y + 0.5) / step, (x + 0.5) / step)
    return image


@njit(cache=True, nogil=True)
def _nearest_label(labels: np.ndarray, y: float, x: float) -> int:
    """Return the label of the nearest nucleus among the square at a point and those around it."""
    best, label = 9.0, 0
    for v in range(max(int(y) - 1, 0), min(int(y) + 2, labels.shape[0])):
        for u in range(max(int(x) - 1, 0), min(int(x) + 2, labels.shape[1])):
            distance = (v + 0.5 - y) ** 2 + (u + 0.5 - x) ** 2
            if labels[v, u] > 0 and distance < best:
                best, label = distance, labels[v, u]
    return label


SEGMENTER = Segmenter("threshold and distance transform", segment, lambda: {})
