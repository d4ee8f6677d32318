"""Whole fields: the truth is where the counts are, and seeds alone decide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from coos_mlflow.errors import DataError
from coos_mlflow.simulate.coos7_layout import plan_plate
from coos_mlflow.simulate.whole_fields import (
    DENSE,
    OVERGROWN,
    SPARSE,
    WholeField,
    simulate_fields,
)

SMALL = {"size": (160, 192), "classes": (0, 4), "wells_per_class": 1, "fields_per_well": 2}


def one(**changes: object) -> WholeField:
    """Return the only field of a plate of one well."""
    asked = SMALL | {"classes": (1,), "fields_per_well": 1, "seed": 3, "debris": 0.0} | changes
    (field,) = simulate_fields(**asked)
    return field


@pytest.fixture(scope="module")
def plate() -> list[WholeField]:
    return list(simulate_fields(**SMALL, seed=5, jobs=2))


def test_fields_come_well_by_well_with_the_places_of_a_simulated_plate(plate):
    plans = plan_plate("training", (0, 4), 5, 1, 1, 1.0)
    wells = [(plan.plate, plan.row, plan.column, number) for plan in plans for number in (1, 2)]
    assert [(one.plate, one.row, one.column, one.number) for one in plate] == wells
    assert [set(field.classes.tolist()) for field in plate] == [{0}, {0}, {4}, {4}]
    assert plate[0].well == f"{'ABCDEFGHIJKLMNOP'[plans[0].row - 1]}{plans[0].column:02d}"


def test_threads_do_not_change_the_fields(plate):
    for a, b in zip(plate, simulate_fields(**SMALL, seed=5, jobs=1), strict=True):
        np.testing.assert_array_equal(a.counts, b.counts)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_seeds_and_fields_differ(plate):
    assert (plate[0].counts != plate[1].counts).any()
    other = next(simulate_fields(**SMALL, seed=6))
    assert (plate[0].counts != other.counts).any()


def test_arrays_are_as_described(plate):
    for field in plate:
        assert (field.counts.shape, field.counts.dtype) == ((2, 160, 192), np.uint16)
        assert (field.labels.shape, field.labels.dtype) == ((160, 192), np.int32)
        numbers = np.unique(field.labels)
        np.testing.assert_array_equal(numbers, np.arange(len(field.classes) + 1))
        assert field.centres.shape == (len(field.classes), 2)


@pytest.mark.parametrize("pixel_size_um", [0.16, 0.3225, 0.645, 1.29])
def test_centres_lie_in_the_middle_of_the_labels(pixel_size_um):
    field = one(pixel_size_um=pixel_size_um)
    numbers = np.arange(1, len(field.centres) + 1)
    middles = ndimage.center_of_mass(field.labels > 0, field.labels, numbers)
    np.testing.assert_allclose(field.centres, middles, atol=0.35)


@pytest.mark.parametrize("pixel_size_um", [0.3225, 0.645])
def test_nuclei_have_their_size_in_micrometres_at_any_magnification(pixel_size_um):
    field = one(pixel_size_um=pixel_size_um, size=(320, 320))
    inner = np.setdiff1d(field.labels, np.r_[field.labels[[0, -1]].ravel(), 0])
    areas = np.bincount(field.labels.ravel())[inner] * pixel_size_um**2
    assert 3.8 < np.median(np.sqrt(areas / np.pi)) < 5.2  # population.EFFECTS: 4.5 um


def test_nuclei_are_brighter_than_what_is_between_them():
    field = one()
    inside = field.labels > 0
    assert np.median(field.counts[1][inside]) > 2 * np.median(field.counts[1][~inside])


def test_the_outline_lies_where_the_counts_change_most():
    field = one(pixel_size_um=0.16)
    dilated = ndimage.distance_transform_edt(field.labels == 0)
    eroded = ndimage.distance_transform_edt(field.labels > 0)
    signed = np.where(field.labels > 0, -eroded, dilated)
    profile = [np.mean(field.counts[1][(signed >= r) & (signed < r + 2)]) for r in range(-12, 12)]
    assert abs(np.argmin(np.diff(profile)) - 11) <= 3


def test_density_sets_the_number_of_nuclei_and_zero_is_an_empty_well():
    found = [len(one(density=density).centres) for density in (0.0, SPARSE, 1.0, DENSE, OVERGROWN)]
    assert found[0] == 0
    assert found == sorted(set(found))
    assert found[4] > 1.7 * found[2]


def test_nuclei_of_overgrown_wells_touch():
    def touching(density: float) -> float:
        labels = one(density=density, size=(320, 320)).labels
        pairs = [(labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])]
        met = [a[(a != b) & (a > 0) & (b > 0)] for a, b in pairs]
        return len(np.unique(np.concatenate(met))) / labels.max()

    assert touching(1.0) < 0.35
    assert touching(OVERGROWN) > 0.45


def test_wells_take_densities_in_turn():
    fields = list(simulate_fields(**SMALL | {"fields_per_well": 1}, density=(0.0, 1.0)))
    assert [len(field.centres) > 0 for field in fields] == [False, True]


def test_defocus_blurs_and_light_falls_to_the_corners():
    sharp, blurred = one(), one(defocus_um=4.0)
    np.testing.assert_array_equal(sharp.labels, blurred.labels)
    assert np.diff(blurred.counts[1][40:60].astype(float)).std() < 0.8 * (
        np.diff(sharp.counts[1][40:60].astype(float)).std()
    )
    flat, uneven = one(unevenness=0.0), one(unevenness=4.0)
    nuclei = flat.labels[:40, :40] > 0
    bright, dim = (field.counts[1, :40, :40][nuclei].mean() for field in (flat, uneven))
    assert dim < 0.8 * bright


def test_debris_is_bright_and_no_nucleus():
    clean, dirty = one(density=0.0), one(density=0.0, debris=40.0)
    assert dirty.labels.max() == 0
    assert dirty.counts[1].max() > 3 * clean.counts[1].max()


def test_own_crops_are_cut_around_the_centres(plate):
    field = plate[0]
    images, numbers = field.own_crops(48)
    assert images.shape == (len(numbers), 2, 48, 48)
    assert 0 < len(numbers) < len(field.centres)
    for image, number in zip(images, numbers, strict=True):
        y, x = np.rint(field.centres[number - 1]).astype(int)
        assert field.labels[y, x] == number
        assert image[1, 24, 24] == field.counts[1, y, x]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fields_per_well": 0}, "0 fields a well"),
        ({"size": (32, 512)}, "32 x 512 pixels"),
        ({"pixel_size_um": 9.0}, "pixel size 9 found"),
        ({"density": -1.0}, "density -1.0 found"),
        ({"density": (1.0, 7.0)}, "density 7.0 found"),
        ({"like": "test9"}, "plate like 'test9'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(wrong, message):
    with pytest.raises(DataError, match=message):
        simulate_fields(**SMALL | wrong)
