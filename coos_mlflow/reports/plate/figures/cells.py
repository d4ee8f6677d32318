"""Cells as small WebP pictures, with both channels in one image."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

QUALITY = 85
"""WebP quality: about 1.3 kB a cell, a quarter of the lossless size, in a tenth of the time. The
difference is at the level of camera noise (30 dB)."""

MAX_SIDE = 128
"""Larger cells are drawn smaller: a page shows hundreds."""


def cell_picture(image: np.ndarray) -> bytes:
    """Return a cell as WebP: protein in green, nucleus in magenta.

    Each channel is rescaled to [0, 1] by its own minimum and maximum: Lu et al. 2019 rescale
    images for display (section 2.1) and to [0, 1] before features are extracted (section 3.1).

    Parameters
    ----------
    image : ndarray, shape (2, crop, crop)
        Raw counts, [protein, nucleus].
    """
    protein, nucleus = (_rescaled(channel) for channel in image)
    rgb = np.stack([0.8 * nucleus, protein, 0.9 * nucleus], axis=2)
    buffer = io.BytesIO()
    drawn = Image.fromarray((rgb * 255).astype(np.uint8))
    drawn.thumbnail((MAX_SIDE, MAX_SIDE))
    drawn.save(buffer, format="WEBP", quality=QUALITY)
    return buffer.getvalue()


def data_uri(picture: bytes, kind: str = "webp") -> str:
    """Return a picture of the given file type as an address that holds all of its bytes."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _rescaled(channel: np.ndarray) -> np.ndarray:
    counts = channel.astype(np.float32)
    low, high = counts.min(), counts.max()
    return (counts - low) / max(high - low, np.float32(1e-9))
