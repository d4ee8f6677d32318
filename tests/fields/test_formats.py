"""What each format has of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from field_plates import (
    SHAPE,
    flex_xml,
    ome_xml,
    some_counts,
    write_cellvoyager,
    write_flex,
    write_harmony,
    write_imagexpress,
)

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import PlateImages, TiffPlane
from coos_mlflow.fields.sources.base import open_images

ONE = some_counts(fields=1, wells=("B03",))
GUID = "B0F2C9A1-0D3E-4B7A-9C55-0123456789AB"


def opened(folder: Path, **asked: str) -> PlateImages:
    return open_images(str(folder), **asked)


def names(images: PlateImages) -> list[str]:
    return [channel.name for channel in images.channels]


def image_of(images: PlateImages, channel: int = 0, depth: int = 1) -> np.ndarray:
    return images.fields[0].planes[channel, depth].read()


# Harmony


@pytest.mark.parametrize(
    "namespace",
    [
        "http://www.perkinelmer.com/PEHH/HarmonyV1",
        "http://www.perkinelmer.com/PEHH/HarmonyV5",
        "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7",
        "http://www.perkinelmer.com/Columbus",
        "",
    ],
)
@pytest.mark.parametrize("index", ["Index.idx.xml", "Index.xml", "Index.ref.xml"])
def test_an_index_of_any_version_and_name_is_read(tmp_path, namespace, index):
    write_harmony(tmp_path, ONE, namespace=namespace, index=index)
    images = opened(tmp_path)
    assert names(images) == ["Alexa 488", "HOECHST 33342"] and images.shape == (8, 12)
    assert opened(tmp_path / "Images").fields == opened(tmp_path / "Images" / index).fields
    assert images.plates == ("plate 7",)


def test_channels_that_stand_once_are_read(tmp_path):
    write_harmony(tmp_path, ONE)
    index = tmp_path / "Images" / "Index.idx.xml"
    text = index.read_text("utf-8-sig").replace("ChannelName>", "Left>")
    entries = "".join(
        f"<Map><Entry ChannelID='{place}'><ChannelName>{name}</ChannelName></Entry></Map>"
        for place, name in enumerate(("GFP", "DAPI"), 1)
    )
    index.write_text(text.replace("<Images>", f"<Maps>{entries}</Maps><Images>"))
    assert names(opened(tmp_path)) == ["GFP", "DAPI"]


def test_columbus_names_pages_of_a_file(tmp_path):
    (tmp_path / "Images").mkdir()
    stack = np.stack([ONE["B03", 1, 1][channel, 1] for channel in (0, 1)])
    write_harmony(tmp_path / "like", ONE)
    text = (tmp_path / "like" / "Images" / "Index.idx.xml").read_text("utf-8-sig")
    for page, channel in enumerate((1, 2)):
        name = f"<URL>r02c03f01p01-ch{channel}sk1fk1fl1.tiff"
        text = text.replace(name, f'<URL BufferNo="{page}">002003000.flex')
    plate = tmp_path / "columbus"
    plate.mkdir()
    (plate / "ImageIndex.ColumbusIDX.xml").write_text(text)
    tifffile.imwrite(plate / "002003000.flex", stack, photometric="minisblack")
    images = opened(plate)
    assert images.source == "harmony" and not images.missing
    for channel in (0, 1):
        np.testing.assert_array_equal(image_of(images, channel), stack[channel])


def test_two_measurements_of_a_plate_have_the_names_of_their_folders(tmp_path):
    for number in (1, 2):
        write_harmony(tmp_path / f"7 measurement {number}", ONE, plate="7")
    assert opened(tmp_path).plates == ("7 measurement 1", "7 measurement 2")
    write_harmony(tmp_path / "8", ONE, plate="8")
    assert opened(tmp_path).plates == ("7 measurement 1", "7 measurement 2", "8")


def test_plates_of_one_name_in_folders_of_one_name_stay_apart(tmp_path):
    for experiment in ("e1", "e2"):
        write_imagexpress(tmp_path / "mx" / experiment / "p", ONE)
        (tmp_path / "cv" / experiment / "p").mkdir(parents=True)
        write_cellvoyager(tmp_path / "cv" / experiment / "p", ONE)
    for source in ("mx", "cv"):
        assert opened(tmp_path / source).plates == ("e1_p", "e2_p")


# ImageXpress


def test_two_plates_in_one_folder_have_the_starts_of_their_names(tmp_path):
    other = some_counts(fields=1, wells=("C04",))
    write_imagexpress(tmp_path, ONE, stem="plateA")
    write_imagexpress(tmp_path, other, stem="plateB", channels=("DAPI", "FITC"))
    images = opened(tmp_path)
    assert images.wells == (("plateA", "B03"), ("plateB", "C04"))
    assert not images.missing and images.notes == ()


def test_thumbnails_are_left_out(tmp_path):
    written = write_imagexpress(tmp_path, ONE)
    for path in written:
        for ending in ("_thumb", f"_thumb{GUID}"):
            tifffile.imwrite(path.with_name(f"{path.stem}{ending}.tif"), np.zeros((4, 4), np.uint8))
    images = opened(tmp_path)
    assert sum(len(field.planes) for field in images.fields) == len(written)
    assert images.notes == ()


@pytest.mark.parametrize("guid", [GUID, GUID.lower(), "12345678-" + GUID[9:]])
def test_metaxpress_adds_an_id_to_names(tmp_path, guid):
    write_imagexpress(tmp_path, ONE, ending=guid, htd=False)
    images = opened(tmp_path)
    assert images.source == "imagexpress" and names(images) == ["DAPI", "FITC"]
    np.testing.assert_array_equal(image_of(images, 1), ONE["B03", 1, 1][1, 1])


def test_a_missing_image_is_named_without_the_id_of_another(tmp_path):
    written = write_imagexpress(tmp_path, some_counts(fields=1), ending=GUID)
    written[-1].unlink()
    (missing,) = opened(tmp_path).missing
    assert missing.path.name == "9987_H12_s1_w2.TIF" and missing.index == "9987.HTD"


@pytest.mark.parametrize("folder", ["TimePoint_1", "TimePoint_1/ZStep_0"])
def test_a_projection_is_read_only_where_its_depths_are_not(tmp_path, folder):
    counts = some_counts(fields=1, wells=("B03",), depths=2)
    written = write_imagexpress(tmp_path, counts)
    projection = np.full(SHAPE, 7, np.uint16)
    (tmp_path / folder).mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / folder / "9987_B03_s1_w1.TIF", projection)
    images = opened(tmp_path)
    assert images.fields[0].depths(0) == [1, 2]
    assert images.notes == ("9987: 1 projections are left out, since their depths are there.",)
    for path in written:
        if "_w1" in path.name:
            path.unlink()
    images = opened(tmp_path)
    np.testing.assert_array_equal(image_of(images), projection)


def test_wells_that_the_htd_names_and_nobody_imaged_are_said(tmp_path):
    for path in write_imagexpress(tmp_path, some_counts(fields=1)):
        if "_H12" in path.name:
            path.unlink()
    images = opened(tmp_path)
    assert images.notes == ("9987: 1 wells that 9987.HTD names have no image, such as H12.",)
    assert not images.missing


# CellVoyager


def test_images_for_shading_are_no_channels_and_failures_are_counted(tmp_path):
    write_cellvoyager(tmp_path, ONE)
    data = tmp_path / "MeasurementData.mlf"
    data.write_text(
        data.read_text().replace(
            "</bts:MeasurementData>",
            '<bts:MeasurementRecord bts:Type="ERR">lost</bts:MeasurementRecord>'
            "</bts:MeasurementData>",
        )
    )
    images = opened(tmp_path)
    assert len(images.channels) == 2 and images.channels[0].excitation_nm == 405
    assert images.notes == ("screen 3: 1 records of the type 'ERR' are no images.",)


def test_without_settings_channels_have_their_numbers(tmp_path):
    write_cellvoyager(tmp_path, ONE)
    for name in ("MeasurementDetail.mrf", "a.mes"):
        (tmp_path / name).unlink()
    images = opened(tmp_path)
    assert names(images) == ["channel 1", "channel 2"] and images.pixel_size_um is None
    assert images.plates == (tmp_path.name,)


# Opera


def test_the_numbers_of_a_flex_are_multiplied_by_its_factor(tmp_path):
    stored = (ONE["B03", 1, 1][0, 1] % 256).astype(np.uint8)
    write_flex(tmp_path / "002003001.flex", [stored], flex_xml([(1, 0, 1)], factor="2.5"))
    counts = image_of(opened(tmp_path))
    assert counts.dtype == np.uint16
    np.testing.assert_array_equal(counts, (stored * 2.5).round())


def test_the_field_of_a_flex_is_in_its_name_or_in_the_file(tmp_path):
    stored = ONE["B03", 1, 1][0, 1]
    write_flex(tmp_path / "002003004.flex", [stored], flex_xml([(1, 0, 1)]))
    write_flex(tmp_path / "002004000.flex", [stored, stored], flex_xml([(1, 0, 1), (2, 0, 1)]))
    images = opened(tmp_path)
    assert [(field.well, field.number) for field in images.fields] == [
        *(("B03", 4), ("B04", 1), ("B04", 2))
    ]
    assert images.channels[0].excitation_nm == 488 and images.shape == (16, 24)
    assert images.plates == ("BC 5",)


def test_a_damaged_flex_leaves_out_its_well_alone(tmp_path):
    stored = ONE["B03", 1, 1][0, 1]
    for well in ("002003", "002004"):
        write_flex(tmp_path / f"{well}001.flex", [stored], flex_xml([(1, 0, 1)]))
    (tmp_path / "002004001.flex").write_bytes(b"II*\0")
    images = opened(tmp_path)
    assert [field.well for field in images.fields] == ["B03", "B04"]
    np.testing.assert_array_equal(image_of(images), stored)
    assert images.plates == ("BC 5",) and len(images.missing) == 1
    assert images.notes[0].startswith("1 files cannot be read, such as this one: ")
    with pytest.raises(DataError, match=r"002004001\.flex: cannot be read as a TIFF"):
        image_of(replace(images, fields=images.fields[1:]))


# Any folder of TIFFs


def test_a_stack_of_imagej_says_channels_depths_and_pixels(tmp_path):
    stack = np.arange(2 * 3 * 2 * 30).reshape(2, 3, 2, 5, 6).astype(np.uint16)
    for well in ("B03", "B04"):
        tifffile.imwrite(
            tmp_path / f"{well}.tif",
            stack,
            imagej=True,
            resolution=(2, 2),
            metadata={"axes": "TZCYX", "unit": "um", "Labels": ["GFP", "DAPI"] * 6},
        )
    images = opened(tmp_path)
    assert names(images) == ["GFP", "DAPI"] and images.pixel_size_um == 0.5
    assert [field.time for field in images.fields] == [1, 2, 1, 2]
    for field in images.fields:
        for (channel, depth), plane in field.planes.items():
            np.testing.assert_array_equal(plane.read(), stack[field.time - 1, depth - 1, channel])


@pytest.mark.parametrize("order", ["XYCZT", "XYZCT", "XYTCZ"])
def test_an_ome_tiff_is_read_in_its_order(tmp_path, order):
    sizes = {"T": 2, "C": 2, "Z": 3}
    xml = ome_xml((2, 2, 3)).replace("XYZCT", order)
    slowest_first = order[:1:-1]
    stack = np.arange(12 * 6).reshape(*(sizes[axis] for axis in slowest_first), 2, 3)
    tifffile.imwrite(
        tmp_path / "B03.ome.tif",
        stack.reshape(12, 2, 3).astype(np.uint16),
        description=xml,
        metadata=None,
        photometric="minisblack",
    )
    images = opened(tmp_path)
    assert len(images.fields) == 2 and images.fields[0].depths(1) == [1, 2, 3]
    for field in images.fields:
        for (channel, depth), plane in field.planes.items():
            place = {"T": field.time - 1, "C": channel, "Z": depth - 1}
            expected = stack[tuple(place[axis] for axis in slowest_first)]
            np.testing.assert_array_equal(plane.read(), expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_in_each_pixel_are_read(tmp_path, planar):
    image = np.arange(4 * 5 * 3).reshape(4, 5, 3).astype(np.uint16)
    stored = image if planar == "contig" else np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "B03.tif", stored, photometric="rgb", planarconfig=planar)
    images = opened(tmp_path)
    assert len(images.channels) == 3
    for channel in range(3):
        np.testing.assert_array_equal(image_of(images, channel), image[..., channel])


def test_an_ome_tiff_may_hold_more_values_in_a_pixel_than_it_says(tmp_path):
    image = np.zeros((4, 5, 3), np.uint8)
    xml = ome_xml((1, 2, 1))
    tifffile.imwrite(tmp_path / "B03.tif", image, photometric="rgb", description=xml, metadata=None)
    assert names(opened(tmp_path)) == ["GFP", "DAPI", "channel 3"]


def test_pages_are_channels_or_depths_and_that_is_said(tmp_path):
    stack = np.zeros((3, *SHAPE), np.uint8)
    tifffile.imwrite(tmp_path / "B03.tif", stack, photometric="minisblack", metadata=None)
    images = opened(tmp_path)
    assert (
        len(images.channels) == 3 and "3 pages in a file are taken for channels" in images.notes[1]
    )
    (tmp_path / "B03.tif").rename(tmp_path / "B03_c1.tif")
    images = opened(tmp_path)
    assert len(images.channels) == 1 and images.fields[0].depths(0) == [1, 2, 3]
    assert "taken for depths" in images.notes[1]


def test_a_damaged_stack_does_not_change_the_channels_of_the_others(tmp_path):
    stack = np.stack([ONE["B03", 1, 1][channel, 1] for channel in (0, 1)])
    for well in ("A01", "A02", "A03"):
        description = ome_xml((1, 2, 1))
        tifffile.imwrite(
            tmp_path / f"{well}.ome.tif", stack, description=description, metadata=None
        )
    tifffile.imwrite(tmp_path / "A01.ome.tif", stack[:1])
    images = opened(tmp_path)
    assert [field.well for field in images.fields] == ["A02", "A03"]
    assert names(images) == ["GFP", "DAPI"]


def test_masks_are_labels_and_no_channels(tmp_path):
    for well in ("B03", "B04"):
        for channel in ("w1", "w2"):
            tifffile.imwrite(tmp_path / f"{well}_s1_{channel}.tif", ONE["B03", 1, 1][0, 1])
        tifffile.imwrite(tmp_path / f"{well}_s1_mask.tif", np.ones(SHAPE, np.uint16))
    images = opened(tmp_path, source="tiff_pattern")
    assert names(images) == ["channel 1", "channel 2"]
    assert all(set(field.labels) == {"mask"} for field in images.fields)
    assert images.fields[0].labels["mask"].read().max() == 1
    assert any("2 label images" in note for note in images.notes)


def test_labels_in_a_folder_of_their_own_are_found(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for well in ("B03", "B04"):
            tifffile.imwrite(tmp_path / folder / f"{well} f2.tif", np.ones(SHAPE, np.uint16))
    images = opened(tmp_path)
    assert len(images.channels) == 1
    plane = images.fields[0].labels["labels"]
    assert isinstance(plane, TiffPlane) and plane.path.parent.name == "labels"


def test_several_plates_are_folders_or_parts_of_names(tmp_path):
    for plate in ("first", "second"):
        (tmp_path / plate).mkdir()
        tifffile.imwrite(tmp_path / plate / "B03.tif", np.ones(SHAPE, np.uint16))
    assert opened(tmp_path).plates == ("first", "second")


def test_files_that_do_not_fit_are_counted(tmp_path):
    for name in ("B03_s1.tif", "B04_s1.tif", "overview of it all.tif"):
        tifffile.imwrite(tmp_path / name, np.ones(SHAPE, np.uint16))
    images = opened(tmp_path)
    assert len(images.fields) == 2
    assert any("1 files do not fit, such as overview" in note for note in images.notes)
