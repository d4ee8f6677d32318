"""A field with the outlines of its nuclei, as a small picture."""

from __future__ import annotations

import io
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

SIDE = 900
"""Pixels of the longer side, to which fields are shrunk or enlarged, so that lines are alike."""

NUCLEUS = 20
"""Least diameter in pixels at which the median nucleus is drawn, so that its outline can be judged.
Of a field with smaller nuclei only the middle is drawn; chosen."""

MAX_BYTES = 150_000
"""Largest size of a picture, so that a page can hold dozens."""

QUALITIES = (85, 75, 60, 45, 30, 15, 1)
"""WebP qualities to try, the best first, until a picture is within `MAX_BYTES`."""

BLACK, WHITE = 1.0, 99.7
"""Percentiles of a channel that become black and white. Nuclei cover more than 0.3 % of most fields
with cells, and hot pixels less."""

WHITE_IN_NUCLEI = 90.0
"""Percentile within nuclei that becomes white where it is brighter, as in a field of few cells."""

FAINT = 0.7
"""Exponent of brightness, below 1, so that faint nuclei can be seen beside bright ones; chosen."""

GREY = 0.8
"""Brightness of the brightest nucleus, below white, so that outlines stand out on it; chosen."""

TINT = 0.45
"""Largest share of green by which protein tints a pixel; chosen, so that nuclei stay clear."""

CELL_COLOUR, LEFT_OUT_COLOUR = (0, 190, 255), (255, 140, 0)
"""Outlines of nuclei that became cells, and of others: blue and orange, which people of all kinds
of colour vision tell apart. Dashes tell them apart too."""

FONT = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
"""Matplotlib brings it. Pillow's own font has no micro sign."""

DASH = 4
"""Length of a dash, and of a gap, in widths of the line."""


def overlay_picture(
    counts: np.ndarray, labels: np.ndarray, cells: Collection[int], pixel_size_um: float
) -> bytes:
    """Return a field as WebP: nuclei grey, protein as a green tint, outlines, and a scale bar.

    Outlines of nuclei that became cells are blue and unbroken, all others orange and dashed. Each
    channel is scaled from its percentile `BLACK` to the higher of `WHITE` and `WHITE_IN_NUCLEI`.

    Parameters
    ----------
    counts : ndarray, shape (2, height, width)
        Raw counts, [protein, nucleus].
    labels : ndarray of int32, shape (height, width)
        Number of the nucleus in each pixel; 0 is background.
    cells : collection of int
        Numbers of the nuclei that became cells.
    pixel_size_um : float
        Size of a pixel of `counts`, in micrometres.

    Returns
    -------
    bytes
        A picture whose longer side has `SIDE` pixels, of at most `MAX_BYTES`.
    """
    middle = _middle(labels)
    counts, labels = counts[:, *middle], labels[middle]
    height, width = labels.shape
    zoom = SIDE / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    drawn_labels = _resized_labels(labels, size)
    protein, nucleus = (_brightness(channel, drawn_labels) for channel in counts)
    grey = GREY * nucleus
    rgb = np.stack([grey, grey + TINT * protein * (1 - nucleus), grey], axis=2)
    picture = (rgb * 255).astype(np.uint8)
    line = 3 if _diameter(drawn_labels) >= 1.5 * NUCLEUS else 2
    _draw_outlines(picture, drawn_labels, cells, line)
    drawn = Image.fromarray(picture)
    _draw_scale_bar(drawn, pixel_size_um / zoom)
    return _within_limit(drawn)


def _middle(labels: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a field to draw: all of it, or its middle where nuclei are small."""
    most = max(1, round(SIDE * _diameter(labels) / NUCLEUS))
    height, width = (min(side, most) for side in labels.shape)
    top, left = (labels.shape[0] - height) // 2, (labels.shape[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _diameter(labels: np.ndarray) -> float:
    """Return the diameter of a circle of the median nucleus' area, in pixels."""
    areas = np.unique(labels[labels != 0], return_counts=True)[1]
    return math.sqrt(4 / math.pi * np.median(areas)) if len(areas) else NUCLEUS


def _brightness(channel: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a channel at the size of `labels`, from 0 to 1."""
    whole = Image.fromarray(channel.astype(np.float32))
    counts = np.asarray(whole.resize(labels.shape[::-1], Image.Resampling.BILINEAR))
    low, high = np.percentile(counts, (BLACK, WHITE))
    if labels.any():
        high = max(high, np.percentile(counts[labels != 0], WHITE_IN_NUCLEI))
    return np.clip((counts - low) / max(high - low, 1e-9), 0, 1) ** FAINT


def _resized_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(labels.astype(np.int32))
    return np.asarray(image.resize(size, Image.Resampling.NEAREST))


def _draw_outlines(
    picture: np.ndarray, labels: np.ndarray, cells: Collection[int], line: int
) -> None:
    """Draw the outline of each nucleus onto `picture`, `line` pixels wide, within the nucleus."""
    numbers, compact = np.unique(labels, return_inverse=True)
    is_cell = np.isin(numbers, list(cells))
    y, x = np.nonzero(_borders(labels, line) & (labels != 0))
    label = compact.reshape(labels.shape)[y, x]
    dashed = _in_gap(y, x, label, len(numbers), DASH * line) & ~is_cell[label]
    colours = np.where(is_cell[label][:, None], CELL_COLOUR, LEFT_OUT_COLOUR).astype(np.uint8)
    picture[y[~dashed], x[~dashed]] = colours[~dashed]


def _borders(labels: np.ndarray, line: int) -> np.ndarray:
    """Return which pixels are at most `line` pixels from another label or the field's edge."""
    padded = np.pad(labels, line, constant_values=0)
    height, width = labels.shape
    near = np.zeros(labels.shape, bool)
    for step in range(-line, line + 1):
        near |= padded[line + step : line + step + height, line : line + width] != labels
        near |= padded[line : line + height, line + step : line + step + width] != labels
    return near


def _in_gap(
    y: np.ndarray, x: np.ndarray, label: np.ndarray, n_labels: int, length: int
) -> np.ndarray:
    """Return which pixels of outlines fall into the gaps of dashes, by their angle."""
    n_pixels = np.maximum(np.bincount(label, minlength=n_labels), 1)
    middle_y = np.bincount(label, y, n_labels) / n_pixels
    middle_x = np.bincount(label, x, n_labels) / n_pixels
    dy, dx = y - middle_y[label], x - middle_x[label]
    radius = np.bincount(label, np.hypot(dy, dx), n_labels) / n_pixels
    n_dashes = np.maximum(3, np.rint(math.pi * radius / length))
    turn = np.arctan2(dy, dx) / (2 * math.pi) + 0.5
    return (turn * n_dashes[label]) % 1 > 0.5


def _draw_scale_bar(picture: Image.Image, pixel_size_um: float) -> None:
    """Draw a bar of a round length, about a fifth of the width, into the lower right corner."""
    width, height = picture.size
    length_um = _round_length(width * pixel_size_um / 5)
    length = round(length_um / pixel_size_um)
    words = f"{length_um:g} µm"
    unit = max(2, width // 150)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.truetype(FONT, 3 * unit)
    left, top = width - length - 3 * unit, height - 3 * unit
    box = draw.textbbox((left + length / 2, top - unit), words, font=font, anchor="mb")
    back = (min(left, box[0]) - unit, box[1] - unit, width - 2 * unit, top + 2 * unit)
    draw.rectangle(back, fill="black")
    draw.rectangle((left, top, left + length - 1, top + unit - 1), fill="white")
    draw.text((left + length / 2, top - unit), words, font=font, anchor="mb", fill="white")


def _round_length(most: float) -> float:
    """Return the largest of 1, 2 and 5 x 10^n that is at most `most`."""
    ten = 10.0 ** math.floor(math.log10(most))
    return next(step * ten for step in (5, 2, 1) if step * ten <= most * (1 + 1e-9))


def _within_limit(picture: Image.Image) -> bytes:
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, format="WEBP", quality=quality)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()
