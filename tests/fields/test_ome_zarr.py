"""OME-Zarr plates of other programs: what is read of them, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numcodecs
import numpy as np
import pytest
from zarr_plates import SCALES, UNITS, edit, write_by_hand

from coos_mlflow.errors import DataError
from coos_mlflow.fields.sources import open_images

SIZES = {"t": 2, "c": 2, "z": 3, "y": 20, "x": 30}


def counts_of(axes: str):
    """Return a function that gives each image of a plate counts of its own."""

    def image_of(well: str, name: str) -> np.ndarray:
        rng = np.random.default_rng([ord(well[0]), int(well[2:]), int(name)])
        shape = [SIZES[axis] for axis in axes]
        return rng.integers(100, 4000, shape, dtype=np.uint16)

    return image_of


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return write_by_hand(tmp_path / "p.zarr", counts_of("cyx"))


def metadata(plate: Path) -> Path:
    """Return the metadata file of a group or array, in either version."""
    return next(path for name in ("zarr.json", ".zattrs") if (path := plate / name).exists())


# What is read


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("axes", ["yx", "xy", "cyx", "yxc", "czyx", "zcyx", "tczyx", "xyzct"])
def test_each_plane_is_found_whatever_the_order_of_axes(tmp_path, axes, zarr_format):
    names = ("GFP", "DAPI") if "c" in axes else ("GFP",)
    image_of = counts_of(axes)
    folder = write_by_hand(
        tmp_path / "p.zarr", image_of, axes=axes, zarr_format=zarr_format, names=names
    )
    images = open_images(str(folder))
    assert tuple(one.name for one in images.channels) == names
    n_times, n_depths = (SIZES[axis] if axis in axes else 1 for axis in "tz")
    assert len(images.fields) == 4 * n_times
    for field in images.fields:
        whole = image_of(f"{field.well[0]}/{field.well[1:]}", str(field.number))
        assert len(field.planes) == len(names) * n_depths
        for (c, z), plane in field.planes.items():
            at = {"t": field.time - 1, "c": c, "z": z - 1}
            expected = whole[tuple(at.get(axis, slice(None)) for axis in axes)]
            expected = expected.T if axes.index("x") < axes.index("y") else expected
            np.testing.assert_array_equal(plane.read(), expected)


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("micrometer", 0.325), ("nanometer", 325.0), ("millimeter", 0.000325), ("angstrom", 3250.0)],
)
def test_the_pixel_size_is_in_micrometres_whatever_its_unit(tmp_path, unit, scale):
    folder = write_by_hand(
        tmp_path / "p.zarr",
        counts_of("cyx"),
        units={"y": unit, "x": unit},
        scales=SCALES | {"y": scale, "x": scale},
    )
    images = open_images(str(folder))
    assert images.pixel_size_um == pytest.approx(0.325)
    assert images.notes == ()


@pytest.mark.parametrize(
    ("units", "scales", "size", "note"),
    [
        ({}, {}, 0.5, "unit of the pixel size is missing, taken as micrometers"),
        ({}, {"y": 1.0, "x": 1.0}, None, "size is not known"),
        ({"y": "furlong", "x": "furlong"}, {}, None, "'furlong', which is no length"),
        (UNITS, {"x": 0.7}, None, "pixels of 0.5 x 0.7 micrometers, expected squares"),
        (UNITS, {"y": 0.0, "x": 0.0}, None, "expected squares"),
    ],
)
def test_a_doubtful_pixel_size_is_said_and_not_guessed(tmp_path, units, scales, size, note):
    folder = write_by_hand(
        tmp_path / "p.zarr", counts_of("cyx"), units=units, scales=SCALES | scales
    )
    images = open_images(str(folder))
    assert images.pixel_size_um == size
    assert len(images.notes) == 1 and note in images.notes[0]


def test_scales_of_an_image_and_of_its_level_are_multiplied(plate):
    def twice(document):
        step = [{"type": "scale", "scale": [1.0, 2.0, 2.0]}]
        document["attributes"]["ome"]["multiscales"][0]["coordinateTransformations"] = step

    for path in plate.glob("*/*/*/zarr.json"):
        edit(path, twice)
    assert open_images(str(plate)).pixel_size_um == 1.0


def test_channels_without_names_are_numbered(tmp_path):
    folder = write_by_hand(tmp_path / "p.zarr", counts_of("cyx"), names=())
    assert [one.name for one in open_images(str(folder)).channels] == ["channel 1", "channel 2"]


def test_plates_wells_and_shape_have_their_names(tmp_path, plate):
    images = open_images(str(plate))
    assert images.wells == (("plate 7", "B03"), ("plate 7", "H12"))
    assert images.shape is None  # two rows and two columns are those with images

    def whole(document):
        facts = document["attributes"]["ome"]["plate"]
        del facts["name"]
        facts["rows"] = [{"name": row} for row in "ABCDEFGH"]
        facts["columns"] = [{"name": str(column)} for column in range(1, 13)]

    edit(plate / "zarr.json", whole)
    images = open_images(f"{plate}/")
    assert images.shape == (8, 12)
    assert images.plates == ("p",)


def test_fields_are_numbered_by_the_ends_of_their_names_or_by_place(tmp_path):
    def image_of(well: str, name: str) -> np.ndarray:
        return np.full((2, 4, 4), len(name), np.uint16)

    wells = {"A/1": ("0_FOV_7", "0_FOV_2"), "A/2": ("0a1", "1a1"), "A/3": ("left", "right")}
    folder = write_by_hand(tmp_path / "p.zarr", image_of, wells=wells)
    found = [(field.well, field.number) for field in open_images(str(folder)).fields]
    assert found == [
        (f"A0{well}", n) for well, n in [(1, 2), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)]
    ]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_label_images_are_found_by_name(tmp_path, zarr_format):
    labels = np.zeros((20, 30), np.int32)
    labels[3:6, 4:9] = 7
    folder = write_by_hand(
        tmp_path / "p.zarr", counts_of("cyx"), labels=labels, zarr_format=zarr_format
    )
    for field in open_images(str(folder)).fields:
        np.testing.assert_array_equal(field.labels["nuclei"].read(), labels)


def test_label_images_without_a_nucleus_may_have_no_file(tmp_path):
    labels = np.zeros((20, 30), np.int32)
    folder = write_by_hand(tmp_path / "p.zarr", counts_of("cyx"), labels=labels)
    for path in folder.rglob("nuclei/0/c"):
        shutil.rmtree(path)
    assert not open_images(str(folder)).fields[0].labels["nuclei"].read().any()


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", "<f4"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_counts_of_any_type_are_read_in_the_byte_order_of_the_machine(tmp_path, dtype, zarr_format):
    def image_of(well: str, name: str) -> np.ndarray:
        return (np.arange(2 * 4 * 5) + 3).reshape(2, 4, 5).astype(dtype)

    folder = write_by_hand(tmp_path / "p.zarr", image_of, zarr_format=zarr_format)
    counts = open_images(str(folder)).fields[0].planes[1, 1].read()
    assert counts.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(counts, image_of("", "")[1])


def test_chunks_in_shards_are_read(tmp_path):
    image_of = counts_of("cyx")
    folder = write_by_hand(tmp_path / "p.zarr", image_of, chunks=(1, 10, 10), shards=(2, 20, 30))
    field = open_images(str(folder)).fields[0]
    np.testing.assert_array_equal(field.planes[1, 1].read(), image_of("B/03", "1")[1])


# What is missing or damaged


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_missing_and_damaged_wells_are_named_and_the_others_read(tmp_path, zarr_format):
    wells = {f"A/{column}": ("1",) for column in range(1, 6)}
    folder = write_by_hand(
        tmp_path / "p.zarr", counts_of("cyx"), wells=wells, zarr_format=zarr_format
    )
    shutil.rmtree(folder / "A/1")
    metadata(folder / "A/2").write_text('{"attributes": {')
    metadata(folder / "A/3").write_text("{}")
    metadata(folder / "A/4/1").write_text("[1, 2]")
    images = open_images(str(folder))
    assert [field.well for field in images.fields] == ["A05"]
    (note,) = images.notes
    for well in ("A/1", "A/2", "A/3", "A/4"):
        assert f"{well} (" in note or f"{well}/1 (" in note


def test_an_image_that_is_named_and_not_there_is_missing(plate):
    shutil.rmtree(plate / "B/03/2")
    images = open_images(str(plate))
    assert len(images.fields) == 4
    assert {Path(plane.place).name for plane in images.missing} == {"2"}
    with pytest.raises(DataError, match="03/2: is missing"):
        images.missing[0].read()


def test_only_a_few_of_many_damaged_wells_are_named(tmp_path):
    wells = {f"A/{column}": ("1",) for column in range(1, 12)}
    folder = write_by_hand(tmp_path / "p.zarr", counts_of("cyx"), wells=wells)
    for column in range(1, 11):
        shutil.rmtree(folder / f"A/{column}")
    (note,) = open_images(str(folder)).notes
    assert note.endswith("and 5 more")


def test_a_plate_without_a_readable_image_is_refused(plate):
    for well in ("B", "H"):
        shutil.rmtree(plate / well)
    with pytest.raises(DataError, match=r"none of the 2 wells .* such as B/03 \("):
        open_images(str(plate))


def test_fields_with_other_channels_are_named_and_left_out(plate):
    def rename(document):
        document["attributes"]["ome"]["omero"]["channels"][0]["label"] = "RFP"

    edit(plate / "H/12/2/zarr.json", rename)
    images = open_images(str(plate))
    assert len(images.fields) == 3
    assert "H/12/2 (its channels are not those of B/03/1)" in images.notes[0]


def test_fields_of_different_pixel_sizes_are_refused(plate):
    def enlarge(document):
        level = document["attributes"]["ome"]["multiscales"][0]["datasets"][0]
        level["coordinateTransformations"][0]["scale"] = [1.0, 0.7, 0.7]

    edit(plate / "H/12/2/zarr.json", enlarge)
    with pytest.raises(DataError, match=r"pixels of 0.5 to 0.7 micrometers"):
        open_images(str(plate))


@pytest.mark.parametrize(
    ("path", "words"), [("B/03/1", "one image found"), ("B/03", "one well found"), ("B", "no OME-")]
)
def test_what_is_no_plate_is_named_in_one_sentence(plate, path, words):
    with pytest.raises(DataError, match=words) as said:
        open_images(str(plate / path), "ome_zarr")
    assert "\n" not in str(said.value) and "name the folder of the plate" in str(said.value)


def test_a_lost_chunk_is_not_read_as_black(plate):
    plane = open_images(str(plate)).fields[0].planes[0, 1]
    (plate / "B/03/1/0/c/0/0/0").unlink()
    with pytest.raises(DataError, match="none of its chunks is there"):
        plane.read()


# What is hostile


@pytest.mark.parametrize("path", ["../secret", "/etc", "A/../../x", "A\\..\\x", "A//1", ".", ""])
def test_paths_out_of_the_plate_are_refused(plate, path):
    def lead_out(document):
        document["attributes"]["ome"]["plate"]["wells"][0]["path"] = path

    edit(plate / "zarr.json", lead_out)
    with pytest.raises(DataError, match="a path inside is expected"):
        open_images(str(plate))


def test_paths_out_of_a_well_are_refused(plate):
    def lead_out(document):
        document["attributes"]["ome"]["well"]["images"][0]["path"] = "../../../other.zarr/A/1/0"

    edit(plate / "B/03/zarr.json", lead_out)
    images = open_images(str(plate))
    assert {field.well for field in images.fields} == {"H12"}
    assert "a path inside is expected" in images.notes[0]


def test_links_out_of_the_plate_are_not_followed(plate, tmp_path):
    planes = [field.planes[0, 1] for field in open_images(str(plate)).fields]
    chunk = plate / "B/03/1/0/c/0/0/0"
    chunk.rename(tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    with pytest.raises(DataError, match="is a link out of"):
        planes[0].read()
    (plate / "H").rename(tmp_path / "H")
    (plate / "H").symlink_to(tmp_path / "H")
    images = open_images(str(plate))
    assert {field.well for field in images.fields} == {"B03"}
    assert "is a link out of" in images.notes[0]


def test_sizes_that_no_camera_has_are_refused_before_memory_is_taken(plate):
    def enlarge(document):
        document["shape"] = [2, 2**16, 2**15]

    for path in plate.glob("*/*/*/0/zarr.json"):
        edit(path, enlarge)
    with pytest.raises(DataError, match="65,536 x 32,768 pixels claimed"):
        open_images(str(plate))


def test_more_planes_than_a_microscope_takes_are_refused(plate):
    def enlarge(document):
        document["shape"] = [2**20, 20, 30]

    edit(plate / "B/03/1/0/zarr.json", enlarge)
    assert "expected at most 65,536 planes" in open_images(str(plate)).notes[0]


def test_large_chunks_are_refused(plate):
    def enlarge(document):
        document["chunk_grid"]["configuration"]["chunk_shape"] = [1, 2**16, 2**15]

    for path in plate.glob("*/*/*/0/zarr.json"):
        edit(path, enlarge)
    for field in open_images(str(plate)).fields:
        with pytest.raises(DataError, match="in chunks of"):
            field.planes[0, 1].read()


COMPRESSORS = [
    numcodecs.Zstd(),
    numcodecs.Blosc("zstd"),
    numcodecs.GZip(),
    numcodecs.Zlib(),
    numcodecs.LZ4(),
]


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=lambda one: one.codec_id)
def test_chunks_that_unpack_to_too_much_are_refused(tmp_path, compressor):
    image_of = counts_of("cyx")
    folder = write_by_hand(tmp_path / "p.zarr", image_of, zarr_format=2, compressors=compressor)
    planes = open_images(str(folder)).fields[0].planes
    np.testing.assert_array_equal(planes[1, 1].read(), image_of("B/03", "1")[1])
    bomb = compressor.encode(bytes(2**24))
    (folder / "B/03/1/0/1/0/0").write_bytes(bomb)
    with pytest.raises(DataError, match="unpacks to more than the 1,264 bytes of a chunk"):
        planes[1, 1].read()


def test_a_zstandard_frame_that_hides_its_size_is_refused_when_it_is_too_large(tmp_path):
    folder = write_by_hand(tmp_path / "p.zarr", counts_of("cyx"))
    plane = open_images(str(folder)).fields[0].planes[0, 1]
    # A frame of RFC 8878 without content size: blocks of 128 KiB, each one byte repeated.
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (2**17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00\x88" + block * 1000 + last
    (folder / "B/03/1/0/c/0/0/0").write_bytes(frame)
    with pytest.raises(DataError, match="unpacks to more than"):
        plane.read()


def test_packing_whose_size_cannot_be_checked_is_refused(tmp_path):
    folder = write_by_hand(
        tmp_path / "p.zarr", counts_of("cyx"), zarr_format=2, compressors=numcodecs.BZ2()
    )
    with pytest.raises(DataError, match="packed by bz2, expected one of zstd"):
        open_images(str(folder)).fields[0].planes[0, 1].read()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{" * 100_000,
        "[" * 100_000,
        '{"attributes": 3}',
        '{"attributes": {"ome": 3}}',
        '{"attributes": {"ome": {"plate": 3}}}',
        '{"attributes": {"ome": {"plate": {"wells": [{"path": 3}]}}}}',
        '{"attributes": {"ome": {"plate": {"wells": []}}}}',
        '{"attributes": {"ome": {"plate": {"name": "\\u001b[31m", "wells": "x"}}}}',
    ],
)
def test_damaged_metadata_are_refused_in_one_sentence(plate, text):
    (plate / "zarr.json").write_text(text)
    with pytest.raises(DataError) as said:
        open_images(str(plate))
    assert str(plate) in str(said.value) and str(said.value).isprintable()


def test_a_damaged_array_is_refused_in_one_sentence(plate):
    fields = open_images(str(plate)).fields
    (plate / "B/03/1/0/zarr.json").write_text('{"zarr_format": 3}')
    with pytest.raises(DataError, match="cannot be read") as said:
        fields[0].planes[0, 1].read()
    assert "\n" not in str(said.value)


# Addresses, and packages that are missing


@pytest.fixture
def server(tmp_path):
    """Serve a folder at an address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_plate_at_an_address_is_read_as_the_same_in_a_folder(tmp_path, server, zarr_format):
    folder = write_by_hand(tmp_path / "p.zarr", counts_of("cyx"), zarr_format=zarr_format)
    here, there = open_images(str(folder)), open_images(f"{server}/p.zarr")
    assert there.source == "ome_zarr"
    assert [field.key for field in here.fields] == [field.key for field in there.fields]
    assert (here.channels, here.pixel_size_um) == (there.channels, there.pixel_size_um)
    for one, other in zip(here.fields, there.fields, strict=True):
        for place, plane in one.planes.items():
            np.testing.assert_array_equal(plane.read(), other.planes[place].read())
            assert other.planes[place].stamp()


def test_a_lost_chunk_at_an_address_is_named(tmp_path, server):
    folder = write_by_hand(tmp_path / "p.zarr", counts_of("cyx"))
    plane = open_images(f"{server}/p.zarr").fields[0].planes[0, 1]
    (folder / "B/03/1/0/c/0/0/0").unlink()
    with pytest.raises(DataError, match="none of its chunks is there"):
        plane.read()


@pytest.mark.parametrize("path", ["nothing.zarr", "p.zarr/B"])
def test_an_address_without_a_plate_is_refused(plate, server, path):
    with pytest.raises(DataError, match="no OME-Zarr found"):
        open_images(f"{server}/{path}")


def test_a_server_that_does_not_answer_is_named(server):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/p\.zarr"):
        open_images("http://127.0.0.1:9/p.zarr")


def test_an_unknown_kind_of_address_is_refused():
    with pytest.raises(DataError, match="nonsense:// is no kind of address"):
        open_images("nonsense://user:secret@host/p.zarr")


@pytest.mark.parametrize(
    ("name", "address"), [("s3fs", "s3://b/p.zarr"), ("gcsfs", "gs://b/p.zarr")]
)
def test_a_package_that_an_address_needs_is_named(monkeypatch, name, address):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=f"pip install {name}"):
        open_images(address)


def test_without_zarr_the_message_says_how_to_install_it(plate, monkeypatch):
    plane = open_images(str(plate)).fields[0].planes[0, 1]
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(DataError, match=r"pip install 'coos-mlflow\[fields\]'"):
        plane.read()


def test_the_metadata_of_each_file_are_small_enough_to_be_read(plate, monkeypatch):
    monkeypatch.setattr("coos_mlflow.fields.sources._ome_metadata.MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than 100 bytes found"):
        open_images(str(plate))


def test_a_plate_by_hand_has_the_metadata_that_it_should(plate):
    document = json.loads((plate / "zarr.json").read_text())
    assert document["attributes"]["ome"]["plate"]["wells"][0]["path"] == "B/03"
