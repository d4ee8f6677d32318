"""The default segmenter: no nuclei in noise, any counts and pixels, and real fields by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters import NucleusSize
from coos_mlflow.fields.segmenters.base import DEFAULT_SIZE
from coos_mlflow.fields.segmenters.threshold import segment
from coos_mlflow.plates.tiff_pages import read_page
from coos_mlflow.simulate.whole_fields import simulate_fields

REAL = Path(__file__).parents[3] / "shared" / "real" / "fields"
FIELD = Field("plate", "A01", 1, {})


def found(image: np.ndarray, pixel_um: float = 0.645, size: NucleusSize = DEFAULT_SIZE):
    return segment(np.asarray(image, np.float32), pixel_um, size, FIELD)


def number(labels: np.ndarray, pixel_um: float) -> int:
    """Return the number of nuclei of the usual sizes."""
    diameters = 2 * pixel_um * np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)
    return int(((diameters >= DEFAULT_SIZE.smallest) & (diameters <= DEFAULT_SIZE.largest)).sum())


def disks(
    centres, radius_um: float = 5.0, pixel_um: float = 0.645, side_um: float = 120.0
) -> np.ndarray:
    """Return blurred disks of height 1 at centres (y, x) in micrometres."""
    pixels = round(side_um / pixel_um)
    y, x = (np.mgrid[:pixels, :pixels] + 0.5) * pixel_um
    image = np.zeros((pixels, pixels))
    for cy, cx in centres:
        image = np.maximum(image, np.hypot(y - cy, x - cx) < radius_um)
    return ndimage.gaussian_filter(image, 0.4 / pixel_um)


def noisy(image: np.ndarray, height: float = 500.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(100 + height * image) + rng.normal(100, 8, image.shape)


APART = [(30.0, 30.0), (30.0, 80.0), (85.0, 40.0), (90.0, 90.0)]


@pytest.mark.parametrize("seed", range(4))
def test_noise_gives_no_nuclei(seed):
    rng = np.random.default_rng(seed)
    shape = (400, 400)
    assert found(rng.normal(100, 10, shape)).max() == 0
    assert found(rng.poisson(3, shape)).max() == 0
    assert found(rng.poisson(20, shape).astype(np.uint8)).max() == 0
    assert found(ndimage.gaussian_filter(rng.normal(100, 10, shape), 1.5)).max() == 0


def test_noise_in_uneven_light_gives_no_nuclei():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:600j, -1:1:600j]
    assert found(rng.poisson(400 * (1 - 0.3 * (x**2 + y**2)))).max() == 0
    assert found(rng.poisson(200 + 100 * x)).max() == 0


@pytest.mark.parametrize("value", [0, 7.5, 65535])
def test_a_field_of_one_value_gives_no_nuclei(value):
    assert found(np.full((300, 200), value)).max() == 0


@pytest.mark.parametrize("pixel_um", [0.1, 0.2, 0.3225, 0.645, 1.29])
def test_nuclei_are_found_with_their_size_at_any_magnification(pixel_um):
    labels = found(noisy(disks(APART, pixel_um=pixel_um)), pixel_um)
    assert labels.max() == 4
    diameters = 2 * pixel_um * np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)
    np.testing.assert_allclose(diameters, 10.0, atol=0.9)
    centres = (np.array(ndimage.center_of_mass(labels > 0, labels, [1, 2, 3, 4])) + 0.5) * pixel_um
    away = np.hypot(*(centres[:, None] - np.array(APART)).T)
    assert (away.min(axis=0) < 0.3).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a + 32768,
        lambda a: a / 65535,
        lambda a: a * 1e6,
        lambda a: a - 200,
        lambda a: np.clip(a / 4, 0, 255).astype(np.uint8),
        lambda a: np.minimum(a, 450),
    ],
    ids=["offset", "floats", "large", "negative", "8 bit", "saturated"],
)
def test_offset_and_scale_of_the_counts_do_not_matter(change):
    image = noisy(disks(APART))
    assert number(found(change(image)), 0.645) == 4


@pytest.mark.parametrize("shape", [(50, 400), (401, 53), (17, 17), (1, 1)])
def test_labels_have_the_shape_of_the_field(shape):
    for pixel_um in (0.2, 0.645):
        labels = found(np.random.default_rng(0).poisson(50, shape), pixel_um)
        assert labels.shape == shape
        assert labels.dtype == np.int32


def test_the_same_field_gives_the_same_labels():
    image = noisy(disks(APART))
    np.testing.assert_array_equal(found(image), found(image.copy()))


@pytest.mark.parametrize("pixel_um", [0.3225, 0.645])
@pytest.mark.parametrize("distance", [1.6, 1.8, 2.0])
def test_touching_nuclei_are_split(pixel_um, distance):
    pairs = [(30.0, 40.0), (30.0 + 5 * distance, 40.0), (80.0, 80.0), (80.0, 80.0 + 5 * distance)]
    assert found(noisy(disks(pairs, pixel_um=pixel_um)), pixel_um).max() == 4


def test_a_long_nucleus_is_not_split():
    y, x = np.mgrid[:200, :200] * 0.645
    long = ((y - 60) / 4) ** 2 + ((x - 60) / 9) ** 2 < 1
    assert found(noisy(ndimage.gaussian_filter(long.astype(float), 0.6))).max() == 1


def test_chromocentres_do_not_split_a_nucleus():
    image = disks(APART)
    rng = np.random.default_rng(3)
    y, x = (np.mgrid[: len(image), : len(image)] + 0.5) * 0.645
    for cy, cx in APART:
        for _ in range(8):
            angle, radius = 2 * np.pi * rng.random(), 4 * np.sqrt(rng.random())
            sy, sx = cy + radius * np.sin(angle), cx + radius * np.cos(angle)
            image += 1.5 * np.exp(-((y - sy) ** 2 + (x - sx) ** 2) / (2 * 0.5**2))
    assert found(noisy(image)).max() == 4


def test_nucleoli_leave_no_holes():
    image = disks(APART) - 0.6 * disks(APART, 1.3)
    labels = found(noisy(image))
    assert labels.max() == 4
    for y, x in APART:
        assert labels[round(y / 0.645 - 0.5), round(x / 0.645 - 0.5)] > 0


def test_a_gap_between_nuclei_is_no_hole():
    angles = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    ring = [(60 + 10.6 * np.sin(a), 60 + 10.6 * np.cos(a)) for a in angles]
    labels = found(noisy(disks(ring)))
    assert labels.max() == 6
    assert labels[93, 93] == 0


def test_bright_debris_neither_hides_nuclei_nor_counts_as_one():
    debris = disks([(60.0, 60.0), (30.0, 36.5)], 0.8)
    labels = found(noisy(disks(APART) + 30 * debris))
    assert number(labels, 0.645) == 4


@pytest.mark.parametrize("pixel_um", [0.3225, 0.645])
def test_peaks_without_a_plateau_are_debris_and_small_disks_are_nuclei(pixel_um):
    pixels = round(120.0 / pixel_um)
    y, x = (np.mgrid[:pixels, :pixels] + 0.5) * pixel_um
    peaks = sum(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 2.0) for cy, cx in APART)
    # Each peak is brighter than a disk, and its outline is as wide.
    assert number(found(noisy(3.0 * peaks), pixel_um), pixel_um) == 0
    assert number(found(noisy(disks(APART, 2.8, pixel_um)), pixel_um), pixel_um) == 4


def test_hardly_any_debris_of_an_empty_field_becomes_nuclei():
    fields = simulate_fields(
        classes=(1, 5), wells_per_class=1, fields_per_well=2,
        size=(540, 540), pixel_size_um=0.645, density=0.0, seed=1011, jobs=1,
    )  # fmt: skip
    assert sum(number(found(one.counts[1]), 0.645) for one in fields) <= 2


def test_dim_and_bright_neighbours_both_keep_their_outlines():
    bright, dim = disks([(60.0, 54.5)]), disks([(60.0, 65.5)])
    labels = found(noisy(4 * bright + dim))
    areas = np.bincount(labels.ravel())[1:] * 0.645**2
    assert len(areas) == 2
    np.testing.assert_allclose(areas, np.pi * 25, rtol=0.25)


@pytest.mark.parametrize("pixel_um", [0.3225, 0.645])
def test_nuclei_of_a_field_without_a_free_place_are_found(pixel_um):
    (whole,) = simulate_fields(
        classes=(1,), wells_per_class=1, fields_per_well=1,
        size=(360, 360), pixel_size_um=pixel_um, density=2.8, seed=1010,
    )  # fmt: skip
    labels = found(whole.counts[1], pixel_um)
    assert 0.8 < labels.max() / whole.labels.max() <= 1.05


def test_glow_and_cytoplasm_around_bright_nuclei_are_none():
    cytoplasm = ndimage.gaussian_filter(disks(APART, 11.0), 2.0)
    assert found(noisy(disks(APART) + 0.12 * cytoplasm, 5000.0)).max() == 4


def test_uneven_light_changes_nothing():
    image = disks(APART)
    x = np.linspace(0, 1, image.shape[1])
    labels = found(noisy(image * (1 - 0.6 * x)) * (1 - 0.3 * x))
    assert labels.max() == 4


REGIONS = [
    # Nuclei with their middles inside, counted on the screen without outlines, and how many of them
    # could be counted otherwise: lobes, overlaps, fragments.
    pytest.param(
        "harmony_phenix/BR00121482/images/r01c01f01p01-ch5sk1fk1fl1.tiff",
        0.598, np.s_[:, :], 4, 1, id="Harmony",
    ),
    pytest.param(
        "imagexpress_faim/ImageXpress_exported/9987_Plate_3434/TimePoint_1/ZStep_1/"
        "9987_B02_s1_w1.TIF",
        1.3672, np.s_[:, :], 15, 1, id="ImageXpress, few",
    ),
    pytest.param(
        "imagexpress_faim/ImageXpress_exported/9987_Plate_3434/TimePoint_1/ZStep_1/"
        "9987_B03_s2_w1.TIF",
        1.3672, np.s_[:, :], 85, 4, id="ImageXpress, many",
    ),
    pytest.param(
        "metaxpress_md_embl/IM-Assays-EXP2_A01_s1_w1.TIF",
        0.645, np.s_[:442, :592], 84, 3, id="MetaXpress",
    ),
    pytest.param(
        # The pixel size is that of a camera with 6.45 um pixels and the 10x objective.
        "bbbc014_tiff/Channel 2-01-A-01-00.tif",
        0.645, np.s_[300:720, 800:1200], 54, 4, id="BBBC014",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("file", "pixel_um", "region", "counted", "unsure"), REGIONS)
def test_as_many_nuclei_of_real_fields_are_found_as_were_counted(
    file, pixel_um, region, counted, unsure
):
    path = REAL / file
    if not path.exists():
        pytest.skip("needs the real images in ../shared/real")
    labels = found(read_page(path), pixel_um)
    numbers = np.arange(1, labels.max() + 1)
    inside = np.zeros(labels.shape, bool)
    inside[region] = True
    middles = np.rint(ndimage.center_of_mass(labels > 0, labels, numbers)).astype(int)
    kept = np.isin(labels, numbers[inside[tuple(middles.T)]])
    assert abs(number(np.where(kept, labels, 0), pixel_um) - counted) <= unsure
