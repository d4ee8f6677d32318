"""Crops lie where the nuclei are, hold raw counts, and are measured in micrometres."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coos_mlflow.fields.cells import EDGE, LARGE, SMALL, FieldCells, cut_cells
from coos_mlflow.fields.segmenters import NucleusSize
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.plates.columns import MEASUREMENTS

SETTINGS = CropSettings(protein=0, nucleus=1, crop=32, image_pixel_um=0.5)


def discs(
    places: list[tuple[float, float, float]], shape: tuple[int, int] = (200, 240)
) -> np.ndarray:
    """A label image of discs, each a centre and a radius in pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for number, (cy, cx, radius) in enumerate(places, 1):
        labels[np.hypot(y - cy, x - cx) <= radius] = number
    return labels


def counts_for(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(np.stack([0 * labels + 300, 100 + 500 * (labels > 0)])).astype(np.uint16)


def cut(labels: np.ndarray, counts: np.ndarray | None = None, **changes: object) -> FieldCells:
    counts = counts_for(labels) if counts is None else counts
    return cut_cells(counts, labels, replace(SETTINGS, **changes))


def test_a_crop_is_the_field_itself_around_the_centroid() -> None:
    labels = discs([(60, 70, 9), (120, 150, 10)])
    counts = counts_for(labels)
    cells = cut(labels, counts)
    np.testing.assert_array_equal(cells.columns["object"], [1, 2])
    np.testing.assert_array_equal(cells.columns["centre_y"], [60, 120])
    np.testing.assert_array_equal(cells.columns["centre_x"], [70, 150])
    np.testing.assert_array_equal(cells.images[0], counts[:, 44:76, 54:86])
    np.testing.assert_array_equal(cells.images[1], counts[:, 104:136, 134:166])
    assert cells.images.dtype == counts.dtype


def test_columns_are_those_of_a_plate_file() -> None:
    for labels in (discs([(60, 70, 9)]), discs([])):
        columns = cut(labels).columns
        assert {*columns} == {*MEASUREMENTS} - {"field", "time"}
        assert all(values.dtype == MEASUREMENTS[name] for name, values in columns.items())


def test_a_field_without_nuclei_gives_no_cell() -> None:
    cells = cut(discs([]))
    assert cells.images.shape == (0, 2, 32, 32)
    assert cells.left_out == {EDGE: 0, SMALL: 0, LARGE: 0}


def test_a_crop_that_would_leave_the_field_is_left_out_by_a_single_pixel() -> None:
    # The crop of 32 pixels around pixel y reaches from y - 16 to y + 15.
    for y, is_inside in ((15, False), (16, True), (200 - 16, True), (200 - 15, False)):
        cells = cut(discs([(y, 100, 9)]))
        assert len(cells) == is_inside
        assert cells.left_out[EDGE] == (not is_inside)


def test_sizes_are_diameters_of_a_circle_in_micrometres() -> None:
    labels = discs([(50, 50, 3), (50, 150, 10), (140, 120, 40)])
    assert cut(labels).left_out == {EDGE: 0, SMALL: 1, LARGE: 1}
    # With larger pixels the smallest becomes a nucleus.
    assert cut(labels, image_pixel_um=0.7).left_out == {EDGE: 0, SMALL: 0, LARGE: 1}
    assert cut(labels, size=NucleusSize(1, 50)).left_out == {EDGE: 0, SMALL: 0, LARGE: 0}


def test_nuclei_cut_by_the_border_are_no_debris() -> None:
    assert cut(discs([(0, 60, 3), (100, 239, 60)])).left_out == {EDGE: 2, SMALL: 0, LARGE: 0}


def test_area_solidity_and_distance_are_measured_of_known_shapes() -> None:
    labels = discs([(60, 70, 10)])
    labels[100:120, 100:130] = 7  # a rectangle
    labels[140:170, 60:90] = 9
    labels[140:155, 75:90] = 0  # an L
    columns = cut(labels).columns
    np.testing.assert_array_equal(columns["object"], [1, 7, 9])
    np.testing.assert_allclose(columns["area_um2"], [math.pi * 25, 150, 168.75], rtol=0.02)
    # The hull of the L leaves out a triangle, half of a square of 15 but for its long side.
    np.testing.assert_allclose(columns["solidity"], [1, 1, 675 / (900 - 120)], atol=0.01)
    # From the centroid to the outer side of the first pixel.
    np.testing.assert_allclose(columns["edge_distance_um"][:2], [60.5 / 2, (200 - 110) / 2])


def test_a_line_of_pixels_is_solid() -> None:
    labels = discs([])
    np.fill_diagonal(labels[60:100, 60:100], 1)
    labels[60, 120:160] = 2
    columns = cut(labels, size=NucleusSize(1, 50)).columns
    np.testing.assert_array_equal(columns["solidity"], [1, 1])


def test_solidity_counts_the_pixels_of_the_hull_as_scikit_image_does() -> None:
    from skimage.morphology import convex_hull_image

    rng = np.random.default_rng(4)
    labels = np.zeros((200, 240), np.int32)
    for number, (y, x) in enumerate([(60, 60), (60, 160), (140, 60), (140, 160)], 1):
        for dy, dx in rng.normal(0, 8, (4, 2)):
            labels[discs([(y + dy, x + dx, 7)]) > 0] = number
    hulls = [convex_hull_image(labels == n, offset_coordinates=False).sum() for n in range(1, 5)]
    expected = [(labels == n).sum() / hull for n, hull in enumerate(hulls, 1)]
    np.testing.assert_allclose(cut(labels).columns["solidity"], expected, rtol=1e-6)


def test_neighbours_are_other_nuclei_with_a_centre_on_the_crop() -> None:
    labels = discs([(60, 60, 5), (60, 75, 5), (60, 100, 5), (75, 60, 1)])
    cells = cut(labels)
    assert cells.left_out[SMALL] == 1
    np.testing.assert_array_equal(cells.columns["neighbours"], [1, 1, 0])


def test_touching_nuclei_may_have_a_line_of_one_pixel_between_them() -> None:
    labels = np.zeros((200, 240), np.int32)
    for number, left in enumerate((40, 55, 71, 88), 1):
        labels[60:75, left : left + 15] = number
    # Gaps of 0, 1 and 2 pixels.
    np.testing.assert_array_equal(cut(labels).columns["touching"], [1, 1, 1, 0])


def grid_of_nuclei() -> tuple[np.ndarray, np.ndarray]:
    labels = discs([(y, x, 9) for y in range(30, 200, 35) for x in range(30, 230, 35)])
    return labels, counts_for(labels)


def test_a_small_bright_nucleus_is_a_hint_of_division() -> None:
    labels, counts = grid_of_nuclei()
    assert not cut(labels, counts).columns["dividing"].any()
    plate_like = labels == 9
    plate_like[: 1 + int(np.mean(np.nonzero(plate_like)[0]))] = False
    labels[(labels == 9) & ~plate_like] = 0
    counts[1][plate_like] += 700
    columns = cut(labels, counts).columns
    np.testing.assert_array_equal(columns["object"][columns["dividing"] == 1], [9])


def test_a_few_nuclei_give_no_hint_of_division() -> None:
    labels = discs([(60, 60, 9), (120, 120, 5)])
    counts = counts_for(labels)
    counts[1][labels == 2] += 5000
    assert not cut(labels, counts).columns["dividing"].any()


def test_focus_tells_a_sharp_from_a_blurred_half_of_a_field() -> None:
    from scipy import ndimage

    labels, counts = grid_of_nuclei()
    counts[1, :, 120:] = ndimage.gaussian_filter(counts[1].astype(float), 3)[:, 120:]
    columns = cut(labels, counts).columns
    right = columns["centre_x"] > 130
    left = columns["centre_x"] < 110
    assert columns["focus"][left].min() > 3 * columns["focus"][right].max()


@pytest.mark.parametrize("pixel", [None, 0.5, 0.525, 0.4765])
def test_pixels_of_nearly_the_same_size_are_left_untouched(pixel: float | None) -> None:
    labels, counts = grid_of_nuclei()
    np.testing.assert_array_equal(
        cut(labels, counts, crop_pixel_um=pixel).images, cut(labels, counts).images
    )


@pytest.mark.parametrize("factor", [0.4, 0.5, 0.77, 1.3, 2.0])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_resampled_counts_stay_counts(factor: float, dtype: type) -> None:
    labels = discs([(100, 120, 10)])
    flat = np.full((2, *labels.shape), 1234, dtype)
    images = cut(labels, flat, crop_pixel_um=0.5 / factor).images
    assert images.dtype == dtype
    np.testing.assert_array_equal(images, np.full_like(images, 1234))


@pytest.mark.parametrize("factor", [0.4, 0.77, 1.3, 2.0])
def test_resampling_keeps_the_centre_the_mean_and_the_shape(factor: float) -> None:
    labels = discs([(100, 120, 10)])
    bright = np.full((2, *labels.shape), 100, np.uint16)
    bright[:, labels > 0] = 1100
    image = cut(labels, bright, crop_pixel_um=0.5 / factor, crop=48).images[0, 1].astype(float)
    light = image - 100
    y, x = np.mgrid[:48, :48]
    centre = (light * y).sum() / light.sum(), (light * x).sum() / light.sum()
    np.testing.assert_allclose(centre, (24, 24), atol=0.8)
    # The same light falls on factor^2 as many pixels.
    assert light.sum() == pytest.approx(1000 * (labels > 0).sum() * factor**2, rel=0.02)


def test_detail_finer_than_larger_pixels_does_not_alias() -> None:
    labels = discs([(100, 120, 10)])
    stripes = np.zeros((2, *labels.shape), np.uint16)
    stripes[:, :, ::2] = 1000
    image = cut(labels, stripes, crop_pixel_um=1.5).images
    assert np.ptp(image.astype(float)) < 250


def test_resampling_makes_room_for_crops_of_the_same_width_in_micrometres() -> None:
    labels = discs([(40, 40, 10)])
    assert len(cut(labels)) == 1
    assert len(cut(labels, crop_pixel_um=1.5)) == 0  # 48 micrometres do not fit
    assert len(cut(labels, crop_pixel_um=0.25)) == 1


@settings(max_examples=25, deadline=None)
@given(dy=st.integers(-20, 20), dx=st.integers(-20, 20), seed=st.integers(0, 999))
def test_a_moved_field_gives_the_same_crops_and_moved_centres(dy: int, dx: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = [
        (80 + 40 * y + rng.uniform(-8, 8), 80 + 40 * x + rng.uniform(-8, 8), rng.uniform(5, 12))
        for y in range(3)
        for x in range(3)
    ]
    labels = discs(places, (260, 260))
    counts = counts_for(labels, seed)
    here = cut(labels, counts)
    there = cut(np.roll(labels, (dy, dx), (0, 1)), np.roll(counts, (dy, dx), (1, 2)))
    np.testing.assert_array_equal(here.images, there.images)
    moved = {"centre_y": dy, "centre_x": dx}
    for name in {*here.columns} - {"edge_distance_um"}:
        np.testing.assert_allclose(
            there.columns[name], here.columns[name] + moved.get(name, 0), rtol=1e-5
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_other_numbers_of_nuclei_change_the_order_of_cells_alone(seed: int) -> None:
    labels, counts = grid_of_nuclei()
    numbers = 2**31 - 1 - np.random.default_rng(seed).permutation(10 * labels.max())[: labels.max()]
    renamed = np.append(0, numbers)[labels].astype(np.int32)
    usual, other = cut(labels, counts), cut(renamed, counts)
    order = np.argsort(numbers[usual.columns["object"] - 1])
    np.testing.assert_array_equal(other.images, usual.images[order])
    assert other.left_out == usual.left_out
    for name in {*usual.columns} - {"object"}:
        np.testing.assert_array_equal(other.columns[name], usual.columns[name][order])


@pytest.mark.parametrize("pixel", [None, 0.7])
def test_the_same_field_gives_the_same_bytes(pixel: float | None) -> None:
    labels, counts = grid_of_nuclei()
    first, second = (cut(labels, counts, crop_pixel_um=pixel) for _ in range(2))
    assert first.images.tobytes() == second.images.tobytes()
    for name, values in first.columns.items():
        assert values.tobytes() == second.columns[name].tobytes()


def test_three_hundred_nuclei_take_a_fraction_of_a_second() -> None:
    labels = discs([], (1080, 1080))
    disc = discs([(14, 14, 13)], (29, 29))
    corners = [(y, x) for y in range(20, 1040, 58) for x in range(20, 1040, 58)]
    for number, (top, left) in enumerate(corners, 1):
        labels[top : top + 29, left : left + 29] = number * disc
    counts = counts_for(labels)
    begun = time.perf_counter()
    cells = cut(labels, counts, crop=64)
    # 0.1 s alone on one core; the limit leaves room for other work on the machine.
    assert time.perf_counter() - begun < 2
    assert len(cells) > 250
