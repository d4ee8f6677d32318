"""Label images from a table of centres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planes import ArrayPlane, a_field, some_images

from coos_mlflow.errors import DataError
from coos_mlflow.fields.cells import FieldCells, cut_cells
from coos_mlflow.fields.centres import Centre, CentresPlane, with_centres
from coos_mlflow.fields.plate_images import Field, PlateImages
from coos_mlflow.fields.segmenters import NucleusSize, segmenter
from coos_mlflow.fields.settings import CropSettings

NUCLEUS = np.random.default_rng(0).uniform(100, 900, (40, 50)).astype(np.float32)


def from_labels(field: Field) -> np.ndarray:
    return segmenter("labels").segment(NUCLEUS, 0.3225, NucleusSize(), field)


def centroid(labels: np.ndarray, number: int) -> tuple[float, float]:
    y, x = np.nonzero(labels == number)
    return y.mean(), x.mean()


CELLPROFILER = """\
ImageNumber,ObjectNumber,Metadata_Plate,Metadata_Well,Metadata_Site,Location_Center_X,Location_Center_Y
1,1,other,b3,1,10,20.0
1,2,other,B03,1,18.5,20
2,1,other,B03,2,30,9
"""


def two_fields() -> PlateImages:
    fields = [replace(a_field(NUCLEUS, NUCLEUS, number), plate="other") for number in (1, 2)]
    return replace(some_images(fields), pixel_size_um=0.5)


def a_table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "Nuclei.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_centres_of_cellprofiler_become_discs_that_do_not_overlap(tmp_path: Path) -> None:
    images = with_centres(two_fields(), a_table(tmp_path, CELLPROFILER))
    first, second = (from_labels(field) for field in images.fields)
    # The centres are 8.5 pixels apart, so that discs have a radius of half of that.
    assert first[20, 14] == 1 and first[20, 15] == 2 and first[24, 10] == 1 and first[25, 10] == 0
    # A disc of 8 micrometres has a radius of 8 pixels.
    assert second[16, 30] == 1 and second[17, 30] == 0
    for labels, number, centre in (
        (first, 1, (20, 10)),
        (first, 2, (20, 18.5)),
        (second, 1, (9, 30)),
    ):
        assert centroid(labels, number) == pytest.approx(centre, abs=0.03)


def test_a_field_without_centres_has_no_nuclei_and_other_tables_are_refused(
    tmp_path: Path,
) -> None:
    one = a_table(tmp_path, "\n".join(CELLPROFILER.splitlines()[:2]))
    assert not from_labels(with_centres(two_fields(), one).fields[1]).any()
    for text, sentence in [
        (CELLPROFILER.replace("_Site", "_Place"), "no column Metadata_Site or Metadata_Field"),
        (CELLPROFILER.replace("18.5", "wide"), "line 3: 'wide' found, expected a number"),
        (CELLPROFILER.replace("18.5", "nan"), "line 3: 'nan' found, expected a number"),
        (CELLPROFILER.replace("B03", "C04").replace("b3", "C04"), "no row is of a field of plate"),
    ]:
        with pytest.raises(DataError, match=sentence):
            with_centres(two_fields(), a_table(tmp_path, text))
    with pytest.raises(DataError, match="cannot be read as a table"):
        with_centres(two_fields(), tmp_path / "none.csv")
    with pytest.raises(DataError, match="no pixel size found, expected one for discs"):
        with_centres(replace(two_fields(), pixel_size_um=None), a_table(tmp_path, CELLPROFILER))


def test_a_centre_outside_the_field_is_refused(tmp_path: Path) -> None:
    table = a_table(tmp_path, CELLPROFILER.replace("18.5", "900"))
    field = with_centres(two_fields(), table).fields[0]
    with pytest.raises(DataError, match="x 900, y 20 lies outside a field of 50 x 40 pixels"):
        from_labels(field)


def test_several_plates_need_a_column_of_plates(tmp_path: Path) -> None:
    fields = [replace(a_field(NUCLEUS, NUCLEUS), plate=name) for name in ("other", "P2")]
    images = replace(some_images(fields), pixel_size_um=0.5)
    first, second = with_centres(images, a_table(tmp_path, CELLPROFILER)).fields
    assert from_labels(first).any() and not from_labels(second).any()
    with pytest.raises(DataError, match="no column Metadata_Plate"):
        with_centres(images, a_table(tmp_path, CELLPROFILER.replace("_Plate", "_Dish")))


def test_rows_of_other_plates_are_not_taken_and_counted(tmp_path: Path) -> None:
    table = a_table(tmp_path, CELLPROFILER + "3,9,P2,B03,1,40,20\n3,9,other,C01,1,4,4\n")
    images = with_centres(two_fields(), table)
    assert set(np.unique(from_labels(images.fields[0]))) == {0, 1, 2}
    assert images.notes == (
        "1 rows of Nuclei.csv are of plates that are not in plate.",
        "1 rows of Nuclei.csv are of wells or fields that are not in plate.",
    )
    with pytest.raises(DataError, match="rows of plate 'P3' found, expected plate 'other'"):
        with_centres(two_fields(), a_table(tmp_path, CELLPROFILER.replace("other", "P3")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,2,other", "1,1,other", "line 3: nucleus 1 of well B03, field 1 stands in line 2 too"),
        ("B03,1,18.5", "B03,1.7,18.5", "line 3: field '1.7' found, expected a whole number"),
        ("1,2,other", "1,1099511627776,other", "line 3: nucleus '1099511627776' found, expected a"),
        ("1,2,other", "1,0,other", "line 3: nucleus '0' found, expected a number from 1 to 2,147"),
        ("1,2,other", "1,2.5,other", r"line 3: number '2\.5' found, expected a whole number"),
    ],
)
def test_numbers_that_no_nucleus_has_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        with_centres(two_fields(), a_table(tmp_path, CELLPROFILER.replace(old, new)))


def test_a_nucleus_alone_keeps_its_number(tmp_path: Path) -> None:
    table = a_table(tmp_path, CELLPROFILER.replace("2,1,other", "2,7.0,other"))
    assert set(np.unique(from_labels(with_centres(two_fields(), table).fields[1]))) == {0, 7}


SHAPE = (300, 320)


def drawn(centres: np.ndarray, radius: float) -> np.ndarray:
    found = tuple(Centre(number, y, x) for number, (y, x) in enumerate(centres.tolist(), 1))
    return CentresPlane(Path("c.csv"), found, ArrayPlane(np.zeros(SHAPE)), radius).read()


@pytest.mark.parametrize("decimals", [0, 1, 6])
@pytest.mark.parametrize("radius", [1.0, 4.3, 12.0])
def test_each_centre_lies_in_the_pixel_of_its_centroid_however_near_others_are(
    radius: float, decimals: int
) -> None:
    centres = np.random.default_rng(3).uniform(20, 280, (600, 2)).round(decimals)
    _, first = np.unique(np.floor(centres + 0.5), axis=0, return_index=True)
    centres = centres[first]
    labels = drawn(centres, radius)
    found = np.array([centroid(labels, number) for number in range(1, len(centres) + 1)])
    np.testing.assert_array_equal(np.floor(found + 0.5), np.floor(centres + 0.5))
    assert np.abs(found - centres).max() <= 0.5


def test_a_disc_with_room_has_its_centroid_where_the_centre_is() -> None:
    grid = np.stack(np.mgrid[30:290:40, 30:290:40], axis=-1).reshape(-1, 2)
    centres = grid + np.random.default_rng(8).uniform(-1, 1, grid.shape)
    for radius in (4.3, 12.0):
        labels = drawn(centres, radius)
        found = np.array([centroid(labels, number) for number in range(1, len(centres) + 1)])
        np.testing.assert_allclose(found, centres, atol=0.03)


def test_two_nuclei_within_one_pixel_are_refused() -> None:
    with pytest.raises(DataError, match="the nuclei 1 and 2 lie within one pixel"):
        drawn(np.array([[50, 60], [50.2, 60]]), 8)


def nuclei_that_touch() -> np.ndarray:
    """Return nuclei of all shapes: the parts of a field that lie nearest to random places."""
    rng = np.random.default_rng(5)
    places = rng.uniform(0, 300, (400, 2))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distances = np.hypot(y[..., None] - places[:, 0], x[..., None] - places[:, 1])
    near = distances.min(axis=2) < 8
    return np.where(near, distances.argmin(axis=2) + 1, 0).astype(np.int32)


@pytest.mark.parametrize(("decimals", "same"), [(2, 0.97), (6, 1.0)])
def test_centres_of_cells_give_the_same_crops_again(decimals: int, same: float) -> None:
    rng = np.random.default_rng(6)
    counts = rng.integers(100, 4000, (2, *SHAPE), dtype=np.uint16)
    settings = CropSettings(0, 1, 32, 0.5, size=NucleusSize(0.5, 60))
    cells = cut_cells(counts, nuclei_that_touch(), settings)
    centres = np.stack([cells.columns["centre_y"], cells.columns["centre_x"]], axis=1)
    again: FieldCells = cut_cells(counts, drawn(centres.round(decimals), 8), settings)
    assert len(again) == len(cells) > 200
    equal = (again.images == cells.images).all(axis=(1, 2, 3))
    assert equal.mean() >= same
    for name in ("centre_y", "centre_x"):
        assert np.abs(again.columns[name] - cells.columns[name]).max() < 0.51
