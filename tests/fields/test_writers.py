"""What writers write is read back by the sources, and labels go into copies of plates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from zarr_plates import edit, write_by_hand

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.fields.labelled_plates import NAME, LabelledField, write_labels
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources import open_images
from coos_mlflow.fields.writers import WrittenField, write_plate, writer_keys
from coos_mlflow.fields.writers.base import PlateFacts
from coos_mlflow.fields.writers.ome_zarr import PlateFolder

COLOURS = {"ER": "#e69f00", "Golgi": "#56b4e9"}

CHANNELS = (Channel("GFP", 488.0, 510.0), Channel("HOECHST 33342", 405.0, 450.0))
SHAPE = (258, 271)


def some_fields(wells=("B03",), numbers=(1, 2), shape=SHAPE) -> list[WrittenField]:
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.int32)
    labels[10:20, 30:50], labels[200:220, 100:130] = 1, 70_000
    return [
        WrittenField(
            "p 7", well, n, rng.integers(0, 60_000, (2, *shape), np.uint16), labels + n - 1
        )
        for well in wells
        for n in numbers
    ]


def written(folder: Path, fields=None, **asked) -> Path:
    given = {"format": "ome_zarr", "channels": CHANNELS, "pixel_size_um": 0.325, "shape": (8, 12)}
    return write_plate(folder, some_fields() if fields is None else fields, **given | asked)


def digest(folder: Path) -> str:
    """Return a digest of the names and contents of all files."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


# All formats


@pytest.fixture(params=writer_keys())
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_counts_labels_channels_and_pixel_size_are_read_back(key, tmp_path):
    fields = some_fields()
    images = open_images(str(written(tmp_path / "p 7", fields, format=key)))
    assert [(one.plate, one.well, one.number) for one in images.fields] == [
        (one.plate, one.well, one.number) for one in fields
    ]
    assert images.pixel_size_um == pytest.approx(0.325, rel=1e-6)
    place = {channel.name.replace(" ", ""): i for i, channel in enumerate(images.channels)}
    for one, read in zip(fields, images.fields, strict=True):
        for channel, counts in zip(CHANNELS, one.counts, strict=True):
            plane = read.planes[place[channel.name.replace(" ", "")], 1]
            np.testing.assert_array_equal(plane.read(), counts)
        (labels,) = read.labels.values()
        np.testing.assert_array_equal(labels.read(), one.labels)


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_plates_say_so(key, tmp_path, simulated):
    folder = written(tmp_path / "p", format=key, simulated=simulated)
    assert open_images(str(folder)).simulated is simulated


def test_the_shape_and_wavelengths_are_read_back_where_the_format_has_them(key, tmp_path):
    images = open_images(str(written(tmp_path / "p", format=key, shape=(16, 24))))
    if key != "tiff":
        assert images.shape == (16, 24)
        assert images.channels == CHANNELS


def test_fields_without_labels_are_written(key, tmp_path):
    fields = [one._replace(labels=None) for one in some_fields()]
    images = open_images(str(written(tmp_path / "p", fields, format=key)))
    assert not any(one.labels for one in images.fields)


def test_the_same_fields_give_the_same_bytes(key, tmp_path):
    one, other = (written(tmp_path / name / "p", format=key) for name in "ab")
    assert digest(one) == digest(other)


def test_a_plate_is_replaced_only_when_asked(key, tmp_path):
    folder = written(tmp_path / "p", format=key)
    with pytest.raises(OutputError, match="--force replaces"):
        written(folder, format=key)
    fields = some_fields(wells=("A01",))
    assert len(open_images(str(written(folder, fields, format=key, force=True))).fields) == 2
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        written(folder, format=key, force=True)


def test_a_plate_that_fails_half_way_leaves_nothing(key, tmp_path):
    def broken():
        yield some_fields()[0]
        raise DataError("enough")

    with pytest.raises(DataError, match="enough"):
        written(tmp_path / "p", broken(), format=key)
    assert not list(tmp_path.iterdir())


FIRST = some_fields(shape=(20, 30))[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "no field found"),
        ([FIRST, FIRST], "found twice"),
        ([FIRST, FIRST._replace(plate="p 8", number=2)], "a second plate found"),
        ([FIRST._replace(well="nowhere")], "expected a row and a column"),
        ([FIRST._replace(well="P24")], "lies off a plate of 8 rows and 12 columns"),
        ([FIRST._replace(counts=FIRST.counts[:1])], r"expected uint16 and \(2, height, width\)"),
        ([FIRST._replace(counts=FIRST.counts.astype(float))], "float64 counts"),
        ([FIRST._replace(labels=FIRST.labels[1:])], r"labels of shape \(19, 30\)"),
    ],
)
def test_fields_that_do_not_fit_are_refused(tmp_path, fields, words):
    with pytest.raises(DataError, match=words):
        written(tmp_path / "p", fields)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected one of harmony, ome_zarr, ome_zarr_04, tiff"):
        written(tmp_path / "p", format="jpeg")


def test_channels_whose_files_would_have_one_name_are_refused(tmp_path):
    channels = (Channel("DAPI 1"), Channel("dapi-1"))
    with pytest.raises(DataError, match="expected names that differ"):
        written(tmp_path / "p", format="tiff", channels=channels)


# Single formats


def test_imagej_finds_the_pixel_size_in_its_own_unit(tmp_path):
    folder = written(tmp_path / "p", format="tiff")
    with tifffile.TiffFile(folder / "B03_f1_GFP.tif") as tiff:
        assert tiff.is_imagej
        assert tiff.imagej_metadata["unit"] == "um"
        pixels, microns = tiff.pages[0].tags["XResolution"].value
        assert microns / pixels == pytest.approx(0.325)
    with tifffile.TiffFile(folder / "masks" / "B03_f1.tif") as tiff:
        per_micrometre = tiff.pages[0].get_resolution("micrometer")
        assert per_micrometre == pytest.approx((1 / 0.325, 1 / 0.325))


def test_harmony_has_a_tiff_for_each_channel_under_its_own_names(tmp_path):
    folder = written(tmp_path / "p", some_fields(wells=("B03",)), format="harmony")
    assert sorted(path.name for path in (folder / "Images").iterdir()) == [
        "Index.idx.xml",
        "masks",
        *[f"r02c03f0{f}p01-ch{c}sk1fk1fl1.tiff" for f in (1, 2) for c in (1, 2)],
    ]


@pytest.mark.parametrize(("key", "zarr_format"), [("ome_zarr", 3), ("ome_zarr_04", 2)])
def test_smaller_copies_are_means_of_counts_and_pixels_of_labels(tmp_path, key, zarr_format):
    (field,) = some_fields(wells=("B03",), numbers=(1,))
    root = zarr.open_group(str(written(tmp_path / "p", [field], format=key)), mode="r")
    assert root.metadata.zarr_format == zarr_format
    image = root["B/03/1"]
    half = image["1"][...]
    assert half.shape == (2, 129, 135)
    blocks = field.counts[:, :258, :270].reshape(2, 129, 2, 135, 2)
    np.testing.assert_array_equal(half, blocks.mean(axis=(2, 4)).round())
    small = image["labels/nuclei/1"][...]
    assert small.shape == (129, 135)
    assert set(np.unique(small)) == set(np.unique(field.labels))
    attributes = dict(image.attrs)
    levels = attributes.get("ome", attributes)["multiscales"][0]["datasets"]
    scales = [level["coordinateTransformations"][0]["scale"] for level in levels]
    assert scales == [[1.0, 0.325, 0.325], [1.0, 0.65, 0.65]]


def test_a_black_image_is_told_from_a_lost_one(tmp_path):
    black = [one._replace(counts=np.zeros_like(one.counts)) for one in some_fields(wells=("B03",))]
    folder = written(tmp_path / "p", black)
    plane = open_images(str(folder)).fields[0].planes[0, 1]
    assert not plane.read().any()
    (folder / "B/03/1/0/c/0/0/0").unlink()
    with pytest.raises(DataError, match="none of its chunks is there"):
        plane.read()


# Labels in copies


def cells_of(field, shape) -> LabelledField:
    """Return three nuclei of which two are cells; none in field 2."""
    labels = np.zeros(shape, np.int32)
    if field.number == 2:
        empty = pd.DataFrame({"class_name": [], "confidence": []}, index=pd.Index([], dtype=int))
        return LabelledField(field, labels, empty)
    for number in (1, 2, 5):
        labels[4 * number : 4 * number + 3, 2 * number : 2 * number + 4] = number
    facts = {"class_name": ["ER", "Golgi"], "confidence": [0.75, 0.5], "centre_y": [5.0, 9.0]}
    return LabelledField(field, labels, pd.DataFrame(facts, index=[1, 2]))


def labelled(folder: Path, out: Path, shape=SHAPE, **asked) -> Path:
    images = open_images(str(folder))
    cells = (cells_of(field, shape) for field in images.fields)
    return write_labels(images, out, cells, colours=COLOURS, **asked)


def test_labels_go_into_a_plate_of_the_same_images(key, tmp_path):
    source = written(tmp_path / "p 7", format=key, simulated=True)
    before = digest(source)
    out = labelled(source, tmp_path / "out.zarr")
    assert digest(source) == before
    images, copies = open_images(str(source)), open_images(str(out))
    assert copies.source == "ome_zarr"
    assert [one.key for one in images.fields] == [one.key for one in copies.fields]
    assert (images.channels, images.simulated) == (copies.channels, copies.simulated)
    assert images.pixel_size_um == pytest.approx(copies.pixel_size_um)
    for one, other in zip(images.fields, copies.fields, strict=True):
        for place, plane in one.planes.items():
            np.testing.assert_array_equal(plane.read(), other.planes[place].read())
        np.testing.assert_array_equal(other.labels[NAME].read(), cells_of(one, SHAPE).labels)


@pytest.mark.parametrize("key", ["ome_zarr", "ome_zarr_04"])
def test_colours_follow_classes_and_the_table_lists_cells(tmp_path, key):
    out = labelled(written(tmp_path / "p", format=key), tmp_path / "out.zarr")
    image = zarr.open_group(str(out), mode="r")["B/03/1"]
    assert image["tables"].attrs["tables"] == [NAME]
    attributes = dict(image[f"labels/{NAME}"].attrs)
    about = attributes.get("ome", attributes)["image-label"]
    colours = {one["label-value"]: one["rgba"] for one in about["colors"]}
    assert set(colours) == {1, 2, 5}
    assert colours[1] != colours[2] and colours[5] == [128, 128, 128, 255]
    assert about["properties"] == [
        {"label-value": 1, "class_name": "ER", "confidence": 0.75},
        {"label-value": 2, "class_name": "Golgi", "confidence": 0.5},
        {"label-value": 5},
    ]
    table = pd.read_csv(out / "B/03/1/tables" / NAME / "table.csv", index_col="label")
    pd.testing.assert_frame_equal(
        table, cells_of(open_images(str(out)).fields[0], SHAPE).cells, check_names=False
    )
    assert dict(image["tables"][NAME].attrs)["region"] == {"path": f"../labels/{NAME}"}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_have_the_axes_of_the_image_but_for_channels(tmp_path, zarr_format):
    counts = np.random.default_rng(0).integers(1, 9, (2, 2, 3, 40, 50), np.uint16)
    source = write_by_hand(
        tmp_path / "p.zarr", lambda *_: counts, axes="tczyx", zarr_format=zarr_format
    )
    out = labelled(source, tmp_path / "out.zarr", shape=(40, 50))
    image = zarr.open_group(str(out), mode="r")["B/03/1"]
    labels = image[f"labels/{NAME}/0"]
    assert labels.shape == (2, 3, 40, 50)
    field = open_images(str(out)).fields[0]
    expected = cells_of(field, (40, 50)).labels
    for time in (0, 1):
        for depth in range(3):
            np.testing.assert_array_equal(labels[time, depth], expected)
    assert image["tables"].attrs["tables"] == [NAME, f"{NAME}_t2"]


def test_several_depths_become_their_maximum_in_a_new_plate(tmp_path):
    counts = np.random.default_rng(0).integers(1, 900, (2, 3, 40, 50), np.uint16)
    source = write_by_hand(tmp_path / "p.zarr", lambda *_: counts, axes="czyx")
    images = replace(open_images(str(source)), source="harmony")
    cells = [cells_of(field, (40, 50)) for field in images.fields]
    out = write_labels(images, tmp_path / "out.zarr", cells, colours=COLOURS)
    planes = open_images(str(out)).fields[0].planes
    np.testing.assert_array_equal(planes[1, 1].read(), counts[1].max(axis=0))


def test_later_times_become_images_of_their_own_in_a_new_plate(tmp_path):
    counts = np.random.default_rng(0).integers(1, 900, (2, 2, 40, 50), np.uint16)
    source = write_by_hand(tmp_path / "p.zarr", lambda *_: counts, axes="tcyx")
    images = replace(open_images(str(source)), source="harmony")
    cells = [cells_of(field, (40, 50)) for field in images.fields]
    out = write_labels(images, tmp_path / "out.zarr", cells, colours=COLOURS)
    assert (out / "B/03/1t2").is_dir()
    assert len(open_images(str(out)).fields) == len(images.fields)


def test_lists_of_groups_that_would_be_outdated_are_not_copied(tmp_path):
    source = written(tmp_path / "p")
    with pytest.warns(UserWarning, match="Consolidated"):
        zarr.consolidate_metadata(str(source), zarr_format=3)
    assert "consolidated_metadata" in (source / "zarr.json").read_text()
    out = labelled(source, tmp_path / "out.zarr")
    assert "consolidated_metadata" not in json.loads((out / "zarr.json").read_text())
    assert f"labels/{NAME}" in zarr.open_group(str(out), mode="r")["B/03/1"]


def test_a_copy_with_links_is_refused(tmp_path):
    source = written(tmp_path / "p")
    (tmp_path / "elsewhere").write_text("secret")
    (source / "B" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"B/link: is a link, which is not copied"):
        labelled(source, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("inside", [".", "B/labelled", ".."])
def test_a_copy_into_the_plate_or_around_it_is_refused(tmp_path, inside):
    source = written(tmp_path / "p")
    with pytest.raises(DataError, match="expected another folder"):
        labelled(source, source / inside, force=True)
    assert len(open_images(str(source)).fields) == 2


def test_labels_of_several_plates_are_refused(tmp_path):
    for name in ("one", "two"):
        written(tmp_path / "all" / name, some_fields(), format="tiff")
    images = open_images(str(tmp_path / "all"), pattern="{plate}/{well}_f{field}_{channel}.tif")
    with pytest.raises(DataError, match="2 plates found"):
        write_labels(images, tmp_path / "out.zarr", [], colours={})


def test_labels_without_a_pixel_size_are_refused(tmp_path):
    images = replace(open_images(str(written(tmp_path / "p", format="tiff"))), pixel_size_um=None)
    cells = (cells_of(field, SHAPE) for field in images.fields)
    with pytest.raises(DataError, match="the size of its pixels is not given"):
        write_labels(images, tmp_path / "out.zarr", cells, colours={})
    assert not (tmp_path / "out.zarr").exists()


def test_labels_can_be_written_again_only_when_asked(tmp_path):
    source = written(tmp_path / "p")
    out = labelled(source, tmp_path / "out.zarr")
    with pytest.raises(OutputError, match="--force replaces"):
        labelled(source, out)
    assert digest(labelled(source, out, force=True)) == digest(
        labelled(source, tmp_path / "other.zarr")
    )


def test_labels_replace_those_of_the_same_name(tmp_path):
    source = written(tmp_path / "p")
    out = labelled(source, tmp_path / "out.zarr")
    again = labelled(out, tmp_path / "again.zarr")
    assert digest(out) == digest(again)


def test_a_field_whose_image_is_missing_cannot_be_labelled(tmp_path):
    source = written(tmp_path / "p", some_fields(numbers=(1, 2, 3)))
    edit(source / "B/03/1/zarr.json", lambda document: None)
    (source / "B/03/1").rename(source / "B/03/lost")
    with pytest.raises(DataError, match="its image is missing"):
        labelled(source, tmp_path / "out.zarr")


def test_a_plate_folder_takes_fields_one_at_a_time(tmp_path):
    folder = tmp_path / "p.zarr"
    plate = PlateFolder(folder, PlateFacts("p 7", CHANNELS, 0.5, (8, 12), False))
    assert [plate.add(field) for field in some_fields(wells=("AA01",))] == ["AA/01/1", "AA/01/2"]
