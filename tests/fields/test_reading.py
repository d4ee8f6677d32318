"""Both channels of a field, its depths, and everything that is no raw count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planes import ArrayPlane, a_field

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field, MissingPlane
from coos_mlflow.fields.reading import read_field
from coos_mlflow.fields.settings import FOCUS, MAX, CropSettings

SETTINGS = CropSettings(protein=0, nucleus=1, crop=32, image_pixel_um=0.5)


def noise(seed: int = 0, shape: tuple[int, int] = (40, 50), high: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, high, shape).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"])
def test_integers_of_any_size_become_the_same_16_bit_counts(dtype: str) -> None:
    protein, nucleus = noise(0, high=100), noise(1, high=100)
    counts = read_field(a_field(protein.astype(dtype), nucleus.astype(dtype)), SETTINGS)
    assert counts.dtype == np.uint16
    np.testing.assert_array_equal(counts, [protein, nucleus])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_become_float32(dtype: str) -> None:
    counts = read_field(a_field(noise(0).astype(dtype), noise(1).astype(dtype)), SETTINGS)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, [noise(0), noise(1)])


def test_channels_are_taken_in_the_order_of_the_settings() -> None:
    field = a_field(noise(0), noise(1))
    swapped = replace(SETTINGS, protein=1, nucleus=0)
    np.testing.assert_array_equal(read_field(field, swapped), read_field(field, SETTINGS)[::-1])


def test_depths_become_their_maximum_or_one_of_them() -> None:
    protein, nucleus = [noise(z) for z in range(3)], [noise(10 + z) for z in range(3)]
    field = a_field(protein, nucleus)
    highest = read_field(field, replace(SETTINGS, z=MAX))
    np.testing.assert_array_equal(highest, [np.max(protein, axis=0), np.max(nucleus, axis=0)])
    second = read_field(field, replace(SETTINGS, z="2"))
    np.testing.assert_array_equal(second, [protein[1], nucleus[1]])
    np.testing.assert_array_equal(protein[0], noise(0))  # the images themselves did not change


def test_the_sharpest_depth_of_the_nucleus_channel_is_that_of_both() -> None:
    flat = np.full((40, 40), 90, np.uint16)
    disc = flat.copy()
    disc[10:20, 10:25] = 900
    protein = [flat + 1, flat + 2, flat + 3]
    chosen = read_field(a_field(protein, [flat, flat, disc]), replace(SETTINGS, z=FOCUS))
    np.testing.assert_array_equal(chosen, [protein[2], disc])


def test_a_depth_of_one_channel_alone_is_not_chosen() -> None:
    field = a_field([noise(0), noise(1)], noise(2))
    np.testing.assert_array_equal(
        read_field(field, replace(SETTINGS, z=FOCUS)), [noise(0), noise(2)]
    )
    apart = replace(field, planes={(0, 1): ArrayPlane(noise(0)), (1, 2): ArrayPlane(noise(1))})
    with pytest.raises(DataError, match="the channels share no depth, expected one for --z focus"):
        read_field(apart, replace(SETTINGS, z=FOCUS))


def refused(field: Field, settings: CropSettings = SETTINGS) -> str:
    with pytest.raises(DataError) as caught:
        read_field(field, settings)
    message = str(caught.value)
    assert message.startswith("plate P1, well B03, field 1: ")
    assert message.endswith(".") and "\n" not in message
    return message


def test_a_depth_that_is_not_there_is_refused() -> None:
    field = a_field([noise(0), noise(1)], [noise(2), noise(3)])
    for z in ("7", "-1", "best"):
        message = refused(field, replace(SETTINGS, z=z))
        assert f"depth {z} is not there, expected one of 1, 2" in message


def test_a_missing_channel_is_refused_by_name() -> None:
    settings = replace(SETTINGS, nucleus=3)
    assert "no image of the nucleus channel (channel 4)" in refused(
        a_field(noise(0), noise(1)), settings
    )


def test_a_missing_file_is_named_with_its_field() -> None:
    planes = {(0, 1): ArrayPlane(noise()), (1, 1): MissingPlane(Path("gone.tif"), "Index.xml")}
    message = refused(Field("P1", "B03", 1, planes))
    assert "gone.tif: is missing, though Index.xml names it" in message


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        (np.int16(-3), "w2_z1.tif: -3 found, expected raw counts from 0 to 65,535"),
        (np.int32(70000), "w2_z1.tif: 70,000 found, expected raw counts from 0 to 65,535"),
        (np.float32(np.nan), "w2_z1.tif: a value that is no number found"),
        (np.float32(np.inf), "w2_z1.tif: a value that is no number found"),
        (np.float64(1e300), "w2_z1.tif: 1e+300 found, expected raw counts"),
    ],
)
def test_values_that_are_no_counts_are_refused(odd: np.generic, sentence: str) -> None:
    nucleus = noise(1).astype(odd.dtype)
    nucleus[3, 4] = odd
    assert sentence in refused(a_field(noise(0).astype(odd.dtype), nucleus))


def test_counts_scaled_to_one_are_refused_but_an_empty_field_is_not() -> None:
    scaled = noise(0) / 4095
    assert "as if scaled to [0, 1]" in refused(a_field(scaled, scaled))
    black = np.zeros((40, 50))
    assert not read_field(a_field(black, black), SETTINGS).any()


def test_counts_with_half_the_range_added_are_refused_with_the_remedy() -> None:
    message = refused(a_field(noise(0), noise(1) + 32768))
    assert "w2_z1.tif: no count of the nucleus channel is below 32,7" in message
    assert "subtract 32,768 if the instrument added it" in message


def test_channels_of_different_shape_or_kind_are_refused() -> None:
    assert "shape (40, 50) found in the protein channel and (40, 60) in the nucleus" in refused(
        a_field(noise(0), noise(1, (40, 60)))
    )
    assert "dtype uint16 found in the protein channel and float32" in refused(
        a_field(noise(0), noise(1).astype(float))
    )
    assert "w1_z2.tif: uint16 of shape (40, 60) found, expected uint16 of shape (40, 50)" in (
        refused(a_field([noise(0), noise(1, (40, 60))], noise(1)))
    )


@pytest.mark.parametrize("image", [noise().astype(bool), noise().astype(complex)])
def test_kinds_of_numbers_that_no_camera_writes_are_refused(image: np.ndarray) -> None:
    assert "expected whole or real numbers" in refused(a_field(image, image))


@pytest.mark.parametrize("image", [noise()[None], noise()[0], noise()[:0]])
def test_images_without_height_and_width_are_refused(image: np.ndarray) -> None:
    planes = {(0, 1): ArrayPlane(image), (1, 1): ArrayPlane(noise())}
    assert "expected height and width" in refused(Field("P1", "B03", 1, planes))
