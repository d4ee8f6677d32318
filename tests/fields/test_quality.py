"""Warnings name fields that are bad, and no ordinary ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from coos_mlflow.fields.cells import cut_cells
from coos_mlflow.fields.illumination import GRID, Light, correct
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.quality import (
    FEWEST_FIELDS,
    FIELD_RULES,
    RELATIVE_FOCUS,
    WELL_RULES,
    compared,
    field_figures,
    flags,
    well_figures,
)
from coos_mlflow.fields.segmenters.threshold import segment
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.simulate.whole_fields import (
    DENSE,
    ORDINARY,
    OVERGROWN,
    SPARSE,
    WholeField,
    simulate_fields,
)

REAL = Path(__file__).parents[3] / "shared" / "real" / "fields"
SETTINGS = CropSettings(protein=0, nucleus=1, crop=64, image_pixel_um=0.3225)


@cache
def simulated(seed: int = 0, **more: Any) -> tuple[WholeField, ...]:
    options: dict[str, Any] = {"wells_per_class": 2, "fields_per_well": 2, "size": (320, 320)}
    return tuple(simulate_fields(seed=seed, classes=(0, 4), jobs=1, **(options | more)))


def figures_of(
    counts: np.ndarray, labels: np.ndarray, settings: CropSettings = SETTINGS
) -> dict[str, float]:
    return field_figures(counts, labels, cut_cells(counts, labels, settings), settings)


def figures(fields: tuple[WholeField, ...]) -> list[dict[str, float]]:
    return [
        figures_of(one.counts, one.labels, replace(SETTINGS, image_pixel_um=one.pixel_size_um))
        for one in fields
    ]


def warnings_of(measured: list[dict[str, float]]) -> list[list[str]]:
    return [flags(one, FIELD_RULES) for one in compared(measured)]


@pytest.mark.parametrize(
    ("seed", "pixel", "density"),
    [
        (501, 0.3225, ORDINARY),
        (502, 0.645, ORDINARY),
        (503, 0.3225, SPARSE),
        (504, 0.3225, DENSE),
        pytest.param(505, 0.645, SPARSE, marks=pytest.mark.slow),
        pytest.param(506, 0.645, DENSE, marks=pytest.mark.slow),
        pytest.param(507, 0.3225, ORDINARY, marks=pytest.mark.slow),
    ],
)
def test_ordinary_simulated_fields_have_no_warning(seed: int, pixel: float, density: float) -> None:
    fields = simulated(seed, pixel_size_um=pixel, density=density)
    assert warnings_of(figures(fields)) == [[]] * len(fields)


@pytest.mark.parametrize("seed", [501, 507, pytest.param(508, marks=pytest.mark.slow)])
def test_a_field_three_times_as_far_from_the_focus_is_less_sharp_than_its_plate(seed: int) -> None:
    # The usual distance is 0.45 micrometres.
    sharp, far = figures(simulated(seed)), figures(simulated(seed, defocus_um=0.9))
    found = [
        warnings_of([*sharp[:place], one, *sharp[place + 1 :]])[place]
        for place, one in enumerate(far)
    ]
    assert found.count(["less_sharp"]) >= len(far) - 1


@pytest.mark.parametrize("seed", [501, 507])
def test_a_plate_far_from_the_focus_is_out_of_focus_as_a_whole(seed: int) -> None:
    measured = figures(simulated(seed, defocus_um=2.5))
    assert all("out_of_focus" in found for found in warnings_of(measured))


REAL_NUCLEI = {
    "Phenix": "harmony_phenix/BR00121482/images/r01c01f01p01-ch5sk1fk1fl1.tiff",
    "MetaXpress": "metaxpress_md_embl/IM-Assays-EXP2_A01_s1_w1.TIF",
    "ImageXpress": "imagexpress_faim/ImageXpress_exported/9987_Plate_3434/TimePoint_1/ZStep_1/"
    "9987_B03_s1_w1.TIF",
    "10x, 8 bit": "bbbc014_tiff/Channel 2-12-A-12-00.tif",
}


@pytest.mark.parametrize("name", REAL_NUCLEI)
def test_real_sharp_fields_are_in_focus_and_blurred_copies_are_not(name: str) -> None:
    if not REAL.is_dir():
        pytest.skip("the real fields are not beside the repository (../shared/real/fields)")
    nucleus = tifffile.imread(REAL / REAL_NUCLEI[name]).astype(np.uint16)
    smooth = ndimage.gaussian_filter(nucleus.astype(float), 2)
    # The brightest parts: there are few nuclei in some of the fields.
    lowest = smooth[10:-10, 10:-10].max() * 0.3 + np.median(smooth) * 0.7
    labels = ndimage.label(smooth > lowest)[0].astype(np.int32)

    def found(image: np.ndarray) -> list[str]:
        # Objects of any size count, as pixel sizes differ.
        settings = replace(SETTINGS, size=SETTINGS.size._replace(smallest=0, largest=1e4))
        return flags(figures_of(np.stack([image, image]), labels, settings), FIELD_RULES)

    assert "out_of_focus" not in found(nucleus)
    blurred = np.random.default_rng(0).poisson(smooth).astype(np.uint16)
    assert "out_of_focus" in found(blurred)


def test_figures_depend_on_neither_gain_nor_offset() -> None:
    field = simulated(501)[0]
    usual = figures_of(field.counts, field.labels)
    other = figures_of((field.counts * 3 + 2000).astype(np.uint16), field.labels)
    assert usual == pytest.approx(other, rel=1e-3)


def test_focus_hardly_depends_on_the_brightness_of_the_dye() -> None:
    field = simulated(501)[0]
    photons = (field.counts.astype(float) - 100) / 1.6
    dim = np.random.default_rng(0).poisson(np.maximum(photons, 0) / 4) + 100
    found = figures_of(dim.astype(np.uint16), field.labels)["focus"]
    assert found == pytest.approx(figures_of(field.counts, field.labels)["focus"], rel=0.15)


def test_a_field_whose_noise_hides_its_sharpness_has_none() -> None:
    field = simulated(501)[0]
    noise = np.random.default_rng(0).poisson(np.full(field.counts.shape, 3000)).astype(np.uint16)
    assert np.isnan(figures_of(noise, field.labels)["focus"])


@pytest.mark.parametrize("level", [255, 4095, 65520])
@pytest.mark.parametrize(("channel", "key"), [(0, "saturated_protein"), (1, "saturated_nucleus")])
def test_a_clipped_channel_is_saturated_at_whatever_count(
    level: int, channel: int, key: str
) -> None:
    field = simulated(501)[0]
    counts = field.counts.astype(float)
    image = counts[channel]
    # 1 % of the pixels reach the limit of the camera.
    counts[channel] = np.minimum(
        (image - image.min()) * level / np.quantile(image - image.min(), 0.99), level
    )
    assert flags(figures_of(counts.astype(np.uint16), field.labels), FIELD_RULES) == [key]


def test_an_overgrown_field_is_covered_by_nuclei() -> None:
    found = warnings_of(figures(simulated(513, density=OVERGROWN)))
    assert sum("overgrown" in one for one in found) > len(found) / 2


def test_an_empty_field_has_no_nuclei_and_nothing_that_depends_on_them() -> None:
    for counts in (np.zeros((2, 100, 100), np.uint16), simulated(514, density=0.0)[0].counts):
        found = figures_of(counts, np.zeros(counts.shape[1:], np.int32))
        assert flags(found, FIELD_RULES) == ["no_nuclei"]
        assert np.isnan(found["focus"]) and np.isnan(found["unevenness"])


def through_the_segmenter(fields: tuple[WholeField, ...]) -> list[dict[str, float]]:
    """Return the figures with the labels that `threshold` finds."""
    measured = []
    for one in fields:
        settings = replace(SETTINGS, image_pixel_um=one.pixel_size_um)
        place = Field(one.plate, one.well, one.number, {})
        nucleus = one.counts[1].astype(np.float32)
        labels = segment(nucleus, one.pixel_size_um, settings.size, place)
        measured.append(figures_of(one.counts, labels, settings))
    return measured


def well_of(measured: list[dict[str, float]]) -> dict[str, Any]:
    """Return the figures of a well with these fields, after `compared`."""
    fields = [
        {"n_cells": one["nuclei"], "figures": one, "flags": flags(one, FIELD_RULES), "error": None}
        for one in measured
    ]
    return well_figures(fields)


@pytest.mark.parametrize(("pixel", "side", "defocus"), [(0.645, 540, 0.0), (0.3225, 1080, 3.0)])
def test_a_plate_of_noise_and_debris_is_empty(pixel: float, side: int, defocus: float) -> None:
    size = (side, side)
    fields = simulated(515, density=0.0, size=size, pixel_size_um=pixel, defocus_um=defocus)
    measured = through_the_segmenter(fields)
    assert sum(one["nuclei"] for one in measured) <= 2 * len(fields)
    found = compared(measured)
    wells = [well_of(found[place : place + 2]) for place in range(0, len(found), 2)]
    assert all("empty" in flags(one, WELL_RULES) for one in wells)


def test_an_empty_well_of_a_plate_with_cells_has_few_nuclei() -> None:
    empty = figures(simulated(516, density=0.0))[:2]
    # A segmenter that takes debris for nuclei finds some per field.
    debris = [one | {"nuclei": 1.0, "nuclei_per_mm2": 94.0} for one in empty]
    found = compared([*debris, *figures(simulated(516))])
    assert flags(well_of(found[:2]), WELL_RULES) == ["few_nuclei", "few_cells"]
    assert "few_nuclei" not in flags(well_of(found[2:4]), WELL_RULES)


def test_sparse_wells_beside_ordinary_ones_are_no_empty_ones() -> None:
    fields = simulated(517, density=(SPARSE, ORDINARY))
    found = compared(figures(fields))
    for place in range(0, len(found), 2):
        assert not {"empty", "few_nuclei"} & {*flags(well_of(found[place : place + 2]), WELL_RULES)}


def test_nuclei_smaller_than_the_plates_are_named() -> None:
    usual = {"cell_area_um2": 60.0}
    found = [flags(one, FIELD_RULES) for one in compared([*[usual] * 5, {"cell_area_um2": 25.0}])]
    assert found == [[]] * 5 + [["small_nuclei"]]


def test_figures_of_counts_as_read_take_labels_of_corrected_counts() -> None:
    field = simulated(501)[0]
    light = Light(
        np.broadcast_to(np.linspace(0.6, 1.4, GRID), (2, GRID, GRID)).astype(np.float32),
        np.full(2, 100, np.float32),
    )
    # The camera clips a thousandth and more before the correction.
    level = np.quantile(field.counts[1], 0.99)
    counts = np.minimum(field.counts, np.uint16(level))
    corrected = correct(counts, light)
    labels = segment(
        corrected[1].astype(np.float32), 0.3225, SETTINGS.size, Field("p", "A01", 1, {})
    )
    cells = cut_cells(corrected, labels, SETTINGS)
    assert "saturated_nucleus" in flags(field_figures(counts, labels, cells, SETTINGS), FIELD_RULES)


def test_small_and_large_objects_are_debris() -> None:
    counts, labels = simulated(501)[0].counts, np.zeros((320, 320), np.int32)
    for number in range(10):
        side = 30 if number < 4 else 4
        labels[100 : 100 + side, 30 * number + 1 : 30 * number + 1 + min(side, 28)] = number + 1
    found = figures_of(counts, labels)
    assert found["debris"] == pytest.approx(6 / 10)
    assert "debris" in flags(found, FIELD_RULES)


def test_a_slope_of_the_background_is_uneven() -> None:
    field = simulated(501)[0]
    counts = field.counts.astype(float)
    nuclei = np.median(counts[1][field.labels > 0]) - np.median(counts[1][field.labels == 0])
    counts[1] += np.linspace(0, nuclei, 320)
    found = figures_of(counts.astype(np.uint16), field.labels)
    assert found["unevenness"] == pytest.approx(0.9, abs=0.2)
    assert flags(found, FIELD_RULES) == ["uneven"]


def test_relative_focus_is_the_share_of_the_median_and_needs_some_fields() -> None:
    measured = [{"focus": value} for value in (0.2, 0.4, 0.4, 0.5, 0.3)]
    found = [one[RELATIVE_FOCUS] for one in compared([*measured, {"focus": np.nan}, {}][:6])]
    np.testing.assert_allclose(found, [0.5, 1, 1, 1.25, 0.75, np.nan])
    assert compared([{}, *measured])[0] == {}
    few = compared(measured[: FEWEST_FIELDS - 1])
    assert all(np.isnan(one[RELATIVE_FOCUS]) for one in few)
    assert measured[0] == {"focus": 0.2}  # the input is left as it was


def entry(cells: int, nuclei: float, *warnings: str, error: str | None = None) -> dict[str, Any]:
    figures = (
        {}
        if error
        else {"nuclei": nuclei, "nuclei_per_mm2": nuclei / 0.12, "relative_nuclei": nuclei / 40.0}
    )
    return {"n_cells": cells, "figures": figures, "flags": [*warnings], "error": error}


def test_a_well_is_judged_by_its_fields() -> None:
    good = [entry(40, 50.0), entry(30, 35.0)]
    assert flags(well_figures(good), WELL_RULES) == []
    empty = [entry(0, 0.0, "no_nuclei")] * 2
    assert flags(well_figures(empty), WELL_RULES) == [
        "empty",
        "few_nuclei",
        "few_cells",
        "mostly_flagged",
    ]
    blurred = [entry(40, 50.0, "out_of_focus"), entry(40, 50.0, "less_sharp"), good[0]]
    assert flags(well_figures(blurred), WELL_RULES) == ["mostly_out_of_focus", "mostly_flagged"]
    broken = [*good, entry(0, 0, error="a.tif: is missing.")]
    assert flags(well_figures(broken), WELL_RULES) == ["unreadable"]
    assert flags(well_figures(broken[2:]), WELL_RULES) == ["unreadable"]


@pytest.mark.parametrize("rules", [FIELD_RULES, WELL_RULES])
def test_each_rule_has_a_key_of_its_own_and_says_what_it_means(rules: Any) -> None:
    assert len({rule.key for rule in rules}) == len(rules)
    assert all(len(rule.meaning.split()) > 5 and not rule.meaning.endswith(".") for rule in rules)


def test_limits_themselves_are_no_warning() -> None:
    for rules in (FIELD_RULES, WELL_RULES):
        assert flags({rule.figure: float(rule.limit) for rule in rules}, rules) == []
    assert flags({"focus": np.nan}, FIELD_RULES) == []
