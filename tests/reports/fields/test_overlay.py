"""Pictures of fields: outlines tell cells from nuclei left out, and lengths are right."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from coos_mlflow.reports.fields.figures import overlay
from coos_mlflow.reports.fields.figures.overlay import (
    CELL_COLOUR,
    LEFT_OUT_COLOUR,
    MAX_BYTES,
    SIDE,
    overlay_picture,
)


def discs(side: int, radius: int, step: int) -> np.ndarray:
    """A label image of discs on a grid."""
    y, x = np.mgrid[:side, :side]
    inside = np.hypot(y % step - step / 2, x % step - step / 2) < radius
    return np.where(inside, 1 + y // step * (side // step + 1) + x // step, 0).astype(np.int32)


def counts_of(labels: np.ndarray, noise: float = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    clean = 200 + 2000.0 * (labels > 0)
    return rng.normal([clean * 0 + 300, clean], noise).clip(0, 65535).astype(np.uint16)


def opened(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def n_like(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture - colour).max(axis=2) < 60).sum())


def test_cells_are_outlined_in_blue_and_others_in_dashes_of_orange():
    labels = discs(400, 30, 100)
    numbers = set(np.unique(labels).tolist()) - {0}
    blue, orange = CELL_COLOUR, LEFT_OUT_COLOUR
    all_cells = opened(overlay_picture(counts_of(labels), labels, numbers, 0.5))
    none = opened(overlay_picture(counts_of(labels), labels, set(), 0.5))
    assert n_like(all_cells, blue) > 3000
    assert n_like(all_cells, orange) == 0
    assert n_like(none, blue) == 0
    # Half of a dashed line is gaps.
    assert 0.3 < n_like(none, orange) / n_like(all_cells, blue) < 0.7


def test_two_touching_nuclei_have_a_line_between_them():
    labels = np.zeros((300, 300), np.int32)
    labels[100:200, 50:150], labels[100:200, 150:250] = 1, 2
    picture = opened(overlay_picture(counts_of(labels), labels, {1, 2}, 0.5))
    middle = picture[450, 440:461]
    assert (np.abs(middle - CELL_COLOUR).max(axis=1) < 60).any()


@pytest.mark.parametrize("shape", [(200, 300), (1080, 1080), (2160, 1000)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_pictures_of_any_field_have_one_size_and_are_small(shape, dtype):
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 60000, (2, *shape)).astype(dtype)
    labels = np.zeros(shape, np.int32)
    labels[50:110, 50:110] = 7
    picture = overlay_picture(counts, labels, {7}, 0.3)
    height, width, _ = opened(picture).shape
    assert max(height, width) == SIDE
    assert abs(height / width - shape[0] / shape[1]) < 0.01
    assert len(picture) <= MAX_BYTES


def test_small_nuclei_are_drawn_from_the_middle_of_the_field():
    labels = np.zeros((2000, 2000), np.int32)
    labels[:900] = discs(2000, 5, 40)[:900]  # none is in the middle row
    top, left = overlay._middle(labels)
    assert top == left
    assert top.start == 2000 - top.stop
    assert top.stop - top.start == pytest.approx(SIDE * 10 / 20, rel=0.1)


@pytest.mark.parametrize("pixel_size_um", [0.1, 0.3225, 0.65, 1.3])
def test_the_scale_bar_is_as_long_as_it_says(monkeypatch, pixel_size_um):
    said = []
    draw = overlay.ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        overlay.ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text, **k: (said.append(text), draw(self, xy, text, **k)),
    )
    labels = np.zeros((450, 450), np.int32)
    picture = opened(overlay_picture(np.zeros((2, 450, 450)), labels, set(), pixel_size_um))
    bright = picture[883:887].min(axis=(0, 2)) > 200
    length, unit = said[0].split()
    assert unit == "µm"
    assert bright.sum() == pytest.approx(float(length) / (pixel_size_um / 2), abs=5)
    assert 0.07 * SIDE < bright.sum() <= 0.21 * SIDE


def test_a_field_without_light_and_nuclei_is_a_picture_too():
    labels = np.zeros((64, 64), np.int32)
    assert opened(overlay_picture(np.zeros((2, 64, 64)), labels, {3}, 1.0)).shape == (900, 900, 3)


def test_label_numbers_may_be_large():
    labels = np.zeros((64, 64), np.int32)
    labels[20:40, 20:40] = 2**31 - 1
    picture = opened(overlay_picture(counts_of(labels), labels, {2**31 - 1}, 1.0))
    assert n_like(picture, CELL_COLOUR) > 300
