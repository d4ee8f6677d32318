"""Damaged, hostile and odd plates of fields: one sentence each, and no other file is read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
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
from coos_mlflow.fields.sources.base import open_images, sources
from coos_mlflow.fields.survey import survey, unreadable

ONE = some_counts(fields=1, wells=("B03",))
IMAGE = ONE["B03", 1, 1][0, 1]

BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]>'
OTHER_FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'


def refused(location: Path, message: str, source: str | None = None) -> None:
    with pytest.raises(DataError, match=message) as said:
        open_images(str(location), source)
    assert "\n" not in str(said.value)


def planes(images: PlateImages) -> list[TiffPlane]:
    found = [plane for field in images.fields for plane in field.planes.values()]
    assert all(isinstance(plane, TiffPlane) for plane in found)
    return [plane for plane in found if isinstance(plane, TiffPlane)]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8-sig")
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_an_empty_folder_has_no_images(tmp_path):
    refused(tmp_path, "no images of a plate found, expected one of these: ")


def test_two_formats_in_one_folder_are_told_apart_by_the_user(tmp_path):
    (tmp_path / "a").mkdir()
    write_harmony(tmp_path / "a", ONE)
    (tmp_path / "b").mkdir()
    write_imagexpress(tmp_path / "b", ONE)
    refused(tmp_path, "looks like harmony and imagexpress; choose one by --source")
    assert open_images(str(tmp_path), "harmony").source == "harmony"
    assert open_images(str(tmp_path), "imagexpress").source == "imagexpress"


@pytest.mark.parametrize("hostile", [BOMB, OTHER_FILE])
def test_an_index_with_entities_is_not_read(tmp_path, hostile):
    write_harmony(tmp_path, ONE)
    index = tmp_path / "Images" / "Index.idx.xml"
    change(index, "<EvaluationInputData", f"{hostile}<EvaluationInputData")
    refused(tmp_path, "Index.idx.xml: defines entities or refers to other files")


@pytest.mark.parametrize("name", ["MeasurementData.mlf", "MeasurementDetail.mrf", "a.mes"])
def test_no_file_of_cellvoyager_may_have_entities(tmp_path, name):
    write_cellvoyager(tmp_path, ONE)
    change(tmp_path / name, "<bts:Measurement", f"{BOMB}<bts:Measurement")
    refused(tmp_path, f"{name}: defines entities")


def test_entities_in_a_flex_are_not_read(tmp_path):
    xml = flex_xml([(1, 0, 1)]).replace("<Root>", f"{BOMB}<Root>")
    write_flex(tmp_path / "002003000.flex", [IMAGE], xml)
    refused(tmp_path, r"002003000\.flex: defines entities")


def test_entities_in_a_description_are_not_read(tmp_path):
    hostile = BOMB + "<MetaData><prop id='spatial-calibration-x' value='&y;'/></MetaData>"
    tifffile.imwrite(tmp_path / "p_B03_s1_w1.tif", IMAGE, description=hostile, metadata=None)
    assert open_images(str(tmp_path)).pixel_size_um is None
    ome = ome_xml((1, 1, 1), ("GFP",)).replace("<OME", f"{BOMB}<OME")
    (tmp_path / "ome").mkdir()
    tifffile.imwrite(tmp_path / "ome" / "B03.tif", IMAGE, description=ome, metadata=None)
    images = open_images(str(tmp_path / "ome"))
    assert any("defines entities" in note for note in images.notes)
    assert [channel.name for channel in images.channels] == ["channel 1"]


def test_an_index_that_is_cut_short_is_one_sentence(tmp_path):
    write_harmony(tmp_path, ONE)
    index = tmp_path / "Images" / "Index.idx.xml"
    index.write_bytes(index.read_bytes()[:-300])
    refused(tmp_path, "cannot be read as XML .*; it may be cut short")


@pytest.mark.parametrize("name", ["../secret.tif", "/etc/hostname", "..\\secret.tif", "a/../../b"])
def test_a_name_that_leads_out_of_the_folder_is_not_read(tmp_path, name):
    tifffile.imwrite(tmp_path / "secret.tif", IMAGE)
    written = write_harmony(tmp_path / "plate", ONE)
    change(written[0].parent / "Index.idx.xml", f"<URL>{written[0].name}", f"<URL>{name}")
    refused(tmp_path / "plate", "names the file .* outside .*; it is not read")


def test_a_link_out_of_the_folder_is_not_read(tmp_path):
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, IMAGE)
    written = write_harmony(tmp_path / "plate", ONE)
    written[0].unlink()
    written[0].symlink_to(secret)
    refused(tmp_path / "plate", "outside .*; it is not read")
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "B03_c1.tif").symlink_to(secret)
    (folder / "more").symlink_to(tmp_path)
    refused(folder, "no images of a plate found")


def test_a_link_inside_the_folder_is_read(tmp_path):
    written = write_harmony(tmp_path, ONE)
    written[0].rename(written[0].with_name("other.tif"))
    written[0].symlink_to("other.tif")
    images = open_images(str(tmp_path))
    assert not images.missing
    np.testing.assert_array_equal(images.fields[0].planes[0, 1].read(), IMAGE)


def test_links_to_files_inside_are_read_and_others_are_said(tmp_path):
    folder = tmp_path / "plate"
    (folder / "deep").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "secret.tif", IMAGE)
    tifffile.imwrite(folder / "deep" / "one.bin", IMAGE)
    (folder / "B03_c1.tif").symlink_to("deep/one.bin")
    tifffile.imwrite(folder / "B03_c2.tif", IMAGE)
    assert open_images(str(folder)).notes[1:] == ()
    (folder / "B04_c1.tif").symlink_to("../secret.tif")
    (folder / "loop").symlink_to(".")
    images = open_images(str(folder))
    assert [field.well for field in images.fields] == ["B03"]
    np.testing.assert_array_equal(images.fields[0].planes[0, 1].read(), IMAGE)
    assert images.notes[-1].startswith("2 links") and "such as B04_c1.tif" in images.notes[-1]


def test_two_files_of_one_image_are_refused_by_name(tmp_path):
    for run in ("run 1", "run 2"):
        (tmp_path / run).mkdir()
        tifffile.imwrite(tmp_path / run / "B03_c1.tif", IMAGE)
    with pytest.raises(
        DataError, match=r"run 1/B03_c1\.tif and .*run 2/B03_c1\.tif are both plate"
    ):
        open_images(str(tmp_path), pattern="{well}_c{channel}.tif")


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_a_stack_that_claims_more_images_than_memory_holds_is_not_built(tmp_path, kind):
    path = tmp_path / "B03.tif"
    if kind == "ome":
        xml = ome_xml((9999, 9999, 9999))
        tifffile.imwrite(path, IMAGE, description=xml, metadata=None)
    else:
        text = "ImageJ=1.53\nimages=9\nchannels=9999\nslices=9999\nframes=9999\n"
        tifffile.imwrite(path, IMAGE, description=text, metadata=None)
    begun = time.perf_counter()
    images = open_images(str(tmp_path))
    assert time.perf_counter() - begun < 5
    assert len(planes(images)) == 1
    assert any(
        "999,700,029,999 images claimed, expected at most 100,000" in x for x in images.notes
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<Row>2</Row>", "<Row>two</Row>", "'two' found as Row of an image"),
        ("<Row>2</Row>", "<Row>99</Row>", "row 99, column 3 found, expected rows 1 to 32"),
        ("<Row>2</Row>", "", "'nothing' found as Row"),
        ("<ChannelID>1</ChannelID>", "<ChannelID>1e9</ChannelID>", "'1e9' found as ChannelID"),
        ("<FieldID>1</FieldID>", "<FieldID>-1</FieldID>", "'-1' found as FieldID"),
    ],
)
def test_an_index_with_odd_numbers_is_refused(tmp_path, old, new, message):
    write_harmony(tmp_path, ONE)
    change(tmp_path / "Images" / "Index.idx.xml", old, new)
    refused(tmp_path, message)


def test_an_index_without_images_is_refused(tmp_path):
    (tmp_path / "Index.xml").write_text("<EvaluationInputData/>")
    refused(tmp_path, "names no image")
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "MeasurementData.mlf").write_text("<MeasurementData/>")
    refused(tmp_path / "cv", "names no image")


def test_an_image_that_was_not_taken_is_missing_and_its_state_is_said(tmp_path):
    written = write_harmony(tmp_path, ONE)
    index = written[0].parent / "Index.idx.xml"
    change(index, "<State>Ok</State>", "<State>Failed</State>")
    change(index, f"<URL>{written[0].name}</URL>", "<URL></URL>")
    images = open_images(str(tmp_path))
    assert len(images.missing) == 1
    assert any("1 images have the state 'Failed'" in note for note in images.notes)


def test_pixels_of_two_sizes_are_refused(tmp_path):
    write_harmony(tmp_path / "one", ONE, plate="one")
    write_harmony(tmp_path / "two", ONE, plate="two", pixel_size_um=0.3)
    refused(tmp_path, "pixels of 0.3, 0.5 micrometres found, expected one size")


def test_plates_with_other_channels_are_refused(tmp_path):
    write_harmony(tmp_path / "one", ONE, plate="one")
    write_harmony(tmp_path / "two", ONE, plate="two", channels=("GFP", "DAPI"))
    refused(tmp_path, "one and two have different channels")
    for stem, channels in (("p", ("DAPI", "FITC")), ("q", ("DAPI", "Cy5"))):
        (tmp_path / "ix" / stem).mkdir(parents=True)
        write_imagexpress(tmp_path / "ix" / stem, ONE, stem=stem, channels=channels)
    refused(tmp_path / "ix", "wave 2 is 'FITC' in .* and 'Cy5' in")


def test_a_pixel_size_that_is_not_given_is_not_guessed(tmp_path):
    tifffile.imwrite(tmp_path / "B03.tif", IMAGE, resolution=(72, 72), resolutionunit="INCH")
    assert open_images(str(tmp_path)).pixel_size_um is None
    write_harmony(tmp_path / "h", ONE)
    index = tmp_path / "h" / "Images" / "Index.idx.xml"
    index.write_text(index.read_text("utf-8-sig").replace("ImageResolutionX", "Other"))
    assert open_images(str(tmp_path / "h")).pixel_size_um is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_keep_their_kind_of_number(tmp_path, dtype):
    image = (IMAGE % 200).astype(dtype)
    tifffile.imwrite(tmp_path / "B03.tif", image)
    (plane,) = planes(open_images(str(tmp_path)))
    counts = plane.read()
    assert counts.dtype == dtype
    np.testing.assert_array_equal(counts, image)


def test_twelve_bits_are_unpacked(tmp_path):
    image = IMAGE % 4096
    bits = (image[..., None] >> np.arange(11, -1, -1)) & 1
    packed = np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()
    path = tmp_path / "B03.tif"
    tifffile.imwrite(path, iter([packed]), shape=SHAPE, dtype=np.uint16, bitspersample=12)
    (plane,) = planes(open_images(str(tmp_path)))
    np.testing.assert_array_equal(plane.read(), image)


def claim_many_pixels(path: Path) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(2**16)
        tiff.pages[0].tags["ImageLength"].overwrite(2**15)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def replace_by_text(path: Path) -> None:
    path.write_text("no image")


def make_pipe(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (claim_many_pixels, "pixels claimed"),
        (cut_short, "cut short"),
        (replace_by_text, "cannot be read as a TIFF"),
        (Path.unlink, "is missing, though Index.idx.xml names it"),
        (make_pipe, "is missing, though"),
    ],
)
def test_a_damaged_image_is_named_and_the_others_are_read(
    tmp_path, damage: Callable[[Path], None], message
):
    written = write_harmony(tmp_path, some_counts())
    damage(written[3])
    images = open_images(str(tmp_path))
    (sentence,) = unreadable(images.fields)
    assert str(written[3]) in sentence and message in sentence and "\n" not in sentence
    facts = survey(images)
    assert facts["image"] == {"height": SHAPE[0], "width": SHAPE[1], "dtype": "uint16"}
    (bad,) = [
        plane
        for field in images.fields
        for plane in field.planes.values()
        if plane.place == str(written[3])
    ]
    with pytest.raises(DataError, match=written[3].name):
        bad.read()


def test_files_that_an_ome_tiff_names_are_not_opened(tmp_path):
    data = (
        '<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="B03.ome.tif">urn:a</UUID>'
        '</TiffData><TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="../secret.tif">'
        "urn:b</UUID></TiffData>"
    )
    xml = ome_xml((1, 2, 1), data=data)
    tifffile.imwrite(tmp_path / "secret.tif", IMAGE)
    folder = tmp_path / "plate"
    folder.mkdir()
    tifffile.imwrite(folder / "B03.ome.tif", IMAGE, description=xml, metadata=None)
    images = open_images(str(folder))
    assert [plane.path.name for plane in planes(images)] == ["B03.ome.tif"]
    assert any("names images of other files, which are not read" in note for note in images.notes)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (flex_xml([(1, 0, 1), (1, 1, 1)]), "1 pages and the names of 2 found"),
        (flex_xml([(1, 0, 1)], factor="nan"), "the factor 'nan' found"),
        (flex_xml([(1, 0, 1)], factor="-1"), "the factor '-1' found"),
        ("<Root>", "cannot be read as XML"),
    ],
)
def test_a_flex_that_contradicts_itself_is_refused(tmp_path, xml, message):
    write_flex(tmp_path / "002003001.flex", [IMAGE], xml)
    refused(tmp_path, message)


def test_a_flex_without_its_xml_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "002003001.flex", IMAGE)
    refused(tmp_path, "has no tag 65200")


@pytest.mark.parametrize("content", [b"", b"\xff\x00\xfe", b'"XWells", "x\n', b"a" * 1000])
def test_a_damaged_htd_says_nothing_and_the_names_say_the_rest(tmp_path, content):
    write_imagexpress(tmp_path, ONE)
    (tmp_path / "9987.HTD").write_bytes(content)
    images = open_images(str(tmp_path))
    assert [channel.name for channel in images.channels] == ["DAPI", "FITC"]
    assert images.shape is None


def test_names_may_hold_what_a_terminal_would_act_on(tmp_path):
    (tmp_path / "B03_\x1b[31m x.tif").write_bytes(b"")
    (tmp_path / "B03_é 2.tif").write_bytes(b"")
    images = open_images(str(tmp_path))
    assert len(images.channels) == 2
    assert all(channel.name.isprintable() for channel in images.channels)


def test_names_that_give_too_many_channels_ask_for_a_pattern(tmp_path):
    for number in range(80):
        (tmp_path / f"A01 x{number}y.tif").write_bytes(b"")
    refused(tmp_path, r"read as \{well\} \{channel\}.tif the files have 80 channels.*--pattern")


@pytest.mark.parametrize("key", ["harmony", "imagexpress", "cellvoyager", "flex", "tiff_pattern"])
def test_a_disk_that_fails_is_one_sentence(tmp_path, key, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", fails)
    monkeypatch.setattr(Path, "is_file", fails)
    refused(tmp_path, r": cannot be read \(Permission denied\)\.", key)
    assert sources()[key].recognises(str(tmp_path)) is False
