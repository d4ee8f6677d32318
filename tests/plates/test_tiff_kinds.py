"""What microscopes, ImageJ and OME write as TIFF: taken right, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from coos_mlflow.errors import DataError
from coos_mlflow.plates import tiff
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.tiff_pairs import find_pairs


@pytest.fixture
def cell(random_cells) -> np.ndarray:
    return random_cells(1)[0]


def write(folder: Path, cell: np.ndarray, **options: Any) -> None:
    for image, channel in zip(cell, ("protein", "nucleus"), strict=True):
        tifffile.imwrite(folder / f"c_{channel}.tif", image, **options)


def packed(folder: Path) -> np.ndarray:
    tiff.pack(find_pairs(folder), folder / "p.h5")
    with open_plate(folder / "p.h5") as plate:
        (batch,) = plate.batches()
    return batch.images[0]


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        tiff.pack(find_pairs(folder), folder / "p.h5")
    assert not (folder / "p.h5").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    "compression", ["lzw", "zstd", "jpeg2000", "deflate", "packbits", "lzma", "jpegxl"]
)
def test_compressed_images_are_read_exactly(tmp_path, cell, compression) -> None:
    write(tmp_path, cell, compression=compression)
    np.testing.assert_array_equal(packed(tmp_path), cell)


@pytest.mark.parametrize("predictor", [True, False])
def test_lzw_with_the_predictor_of_microscopes(tmp_path, cell, predictor) -> None:
    write(tmp_path, cell, compression="lzw", predictor=predictor, rowsperstrip=8)
    np.testing.assert_array_equal(packed(tmp_path), cell)


@pytest.mark.parametrize("compression", ["lzw", "zstd", "jpeg2000"])
def test_a_compressed_image_that_was_cut_short_is_refused(tmp_path, cell, compression) -> None:
    write(tmp_path, cell, compression=compression)
    path = tmp_path / "c_nucleus.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "c_nucleus.tif: cannot be read as a TIFF image" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_miniswhite_is_inverted(tmp_path, cell, dtype) -> None:
    cell = (cell % 251).astype(dtype)
    write(tmp_path, np.iinfo(dtype).max - cell, photometric="miniswhite")
    np.testing.assert_array_equal(packed(tmp_path), cell)


def test_miniswhite_of_floats_is_refused(tmp_path, cell) -> None:
    write(tmp_path, cell.astype("float32"), photometric="miniswhite")
    assert "float32 with 0 as white (MINISWHITE) found" in refusal(tmp_path)


def test_an_inverting_lookup_table_of_imagej_is_refused(tmp_path, cell) -> None:
    """ImageJ leaves the counts as they are when it shows an image inverted."""
    write(tmp_path, cell, photometric="miniswhite", description="ImageJ=1.54f\n", metadata=None)
    assert "Invert LUT" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["green", "inverted", "shuffled"])
def test_palette_images_are_refused(tmp_path, cell, kind) -> None:
    grey = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    green = grey * np.array([[0], [1], [0]], np.uint16)
    shuffled = np.random.default_rng(0).permuted(grey, axis=1)
    colours = {"green": green, "inverted": grey[:, ::-1], "shuffled": shuffled}[kind]
    write(tmp_path, (cell % 251).astype("uint8"), photometric="palette", colormap=colours)
    assert "PALETTE found, expected grey counts" in refusal(tmp_path)


@pytest.mark.parametrize("step", [256, 257])
def test_a_palette_that_is_a_scale_of_greys_is_taken(tmp_path, cell, step) -> None:
    """BBBC014's fields are of this kind."""
    cell = (cell % 251).astype("uint8")
    grey = np.tile(np.arange(256, dtype=np.uint16) * step, (3, 1))
    write(tmp_path, cell, photometric="palette", colormap=grey)
    np.testing.assert_array_equal(packed(tmp_path), cell)


def bits12(image: np.ndarray) -> bytes:
    """Pack two numbers of 12 bits into three bytes, the first bit first, as TIFF does."""
    first, second = image.reshape(-1, 2).astype(np.uint16).T
    three = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    return three.astype(np.uint8).tobytes()


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_12_bits_a_pixel(tmp_path, cell, photometric) -> None:
    cell = cell.clip(0, 4095)
    stored = cell if photometric == "minisblack" else 4095 - cell
    for image, channel in zip(stored, ("protein", "nucleus"), strict=True):
        path = tmp_path / f"c_{channel}.tif"
        strip = np.frombuffer(bits12(image), np.uint8).reshape(64, 96)
        tifffile.imwrite(path, strip, photometric=photometric, metadata=None)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages[0].tags["ImageWidth"].overwrite(64)
            file.pages[0].tags["BitsPerSample"].overwrite(12)
    np.testing.assert_array_equal(packed(tmp_path), cell)


def test_12_bit_counts_in_16_bits_are_taken_as_they_are(tmp_path, cell) -> None:
    write(tmp_path, cell.clip(0, 4095))
    np.testing.assert_array_equal(packed(tmp_path), cell.clip(0, 4095))


def test_signed_16_bits_of_imagej_lose_their_offset(tmp_path, cell) -> None:
    words = "ImageJ=1.54f\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n"
    write(tmp_path, cell + np.uint16(32768), description=words, metadata=None)
    np.testing.assert_array_equal(packed(tmp_path), cell)


def test_another_calibration_of_imagej_leaves_the_counts_alone(tmp_path, cell) -> None:
    words = "ImageJ=1.54f\ncf=0\nc0=-100.0\nc1=0.5\nvunit=OD\n"
    write(tmp_path, cell, description=words, metadata=None)
    np.testing.assert_array_equal(packed(tmp_path), cell)


def test_signed_numbers_are_taken_unless_negative(tmp_path, cell) -> None:
    write(tmp_path, cell.astype("int16"))
    np.testing.assert_array_equal(packed(tmp_path), cell)
    (tmp_path / "p.h5").unlink()
    write(tmp_path, (cell.astype("int32") - 32768).astype("int16"))
    assert "is negative" in refusal(tmp_path)


@pytest.mark.parametrize("channel", [0, 1])
def test_an_offset_of_32768_is_refused(tmp_path, cell, channel) -> None:
    cell[channel] += np.uint16(32768)
    write(tmp_path, cell)
    said = refusal(tmp_path)
    assert "expected a dark background; subtract 32,768" in said
    assert f"c_{('protein', 'nucleus')[channel]}.tif" in said


def test_bright_cells_with_a_dark_background_are_taken(tmp_path, cell) -> None:
    cell[:, 8:] += np.uint16(40000)
    write(tmp_path, cell)
    np.testing.assert_array_equal(packed(tmp_path), cell)


STACKS = {
    "2 channels found": {"imagej": True, "metadata": {"axes": "CYX"}},
    "2 channels found ": {"imagej": True, "truncate": True, "metadata": {"axes": "CYX"}},
    "2 channels found  ": {"ome": True, "metadata": {"axes": "CYX"}},
    "2 images found": {"photometric": "minisblack"},
    "2 images found ": {"photometric": "minisblack", "truncate": True},
    "2 images found  ": {"ome": True, "metadata": {"axes": "ZYX"}},
    "2 channels in each pixel": {"photometric": "minisblack", "planarconfig": "separate"},
}


@pytest.mark.parametrize("found", STACKS)
def test_stacks_of_channels_are_refused_with_their_number(tmp_path, cell, found) -> None:
    write(tmp_path, cell)
    tifffile.imwrite(tmp_path / "c_nucleus.tif", cell, **STACKS[found])
    said = refusal(tmp_path)
    assert f"c_nucleus.tif: {found.strip()}" in said
    assert "save each channel as a file of its own" in said


def test_a_stack_of_channels_and_depths(tmp_path, cell) -> None:
    write(tmp_path, cell)
    stack = np.stack([cell] * 3)
    tifffile.imwrite(tmp_path / "c_protein.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    assert "6 images (2 channels) found" in refusal(tmp_path)


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_one_image_of_imagej_or_ome_is_taken(tmp_path, cell, options) -> None:
    write(tmp_path, cell, **options)
    np.testing.assert_array_equal(packed(tmp_path), cell)


def test_a_smaller_copy_inside_the_file_is_passed_over(tmp_path, cell) -> None:
    for channel, image in zip(("protein", "nucleus"), cell, strict=True):
        with tifffile.TiffWriter(tmp_path / f"c_{channel}.tif") as file:
            file.write(image, subifds=1)
            file.write(image[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(packed(tmp_path), cell)


def test_another_image_in_a_sub_ifd_is_refused(tmp_path, cell) -> None:
    write(tmp_path, cell)
    with tifffile.TiffWriter(tmp_path / "c_protein.tif") as file:
        file.write(cell[0], subifds=1)
        file.write(cell[1])
    assert "2 images found" in refusal(tmp_path)


def test_an_ome_tiff_that_names_other_files_is_read_alone(tmp_path, cell) -> None:
    """One of two channels that were exported apart, each telling of the other."""
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
        'SizeX="64" SizeY="64" SizeC="2" SizeZ="1" SizeT="1"><TiffData FirstC="0"><UUID '
        'FileName="c_protein.tif">urn:uuid:1</UUID></TiffData><TiffData FirstC="1"><UUID '
        'FileName="c_nucleus.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    write(tmp_path, cell, description=xml, metadata=None)
    np.testing.assert_array_equal(packed(tmp_path), cell)


@pytest.mark.parametrize(
    "name",
    [
        "harmony_phenix/BR00121482",
        "imagexpress_faim/ImageXpress_exported/9987_Plate_3434",
        "metaxpress_md_embl",
        "bbbc014_tiff",
    ],
)
def test_crops_of_real_fields_keep_their_counts(tmp_path, shared_file, name) -> None:
    fields = sorted(
        path
        for path in shared_file(f"real/fields/{name}").rglob("*")
        if path.suffix.lower() in (".tif", ".tiff")
    )
    for channel, path in zip(("protein", "nucleus"), fields, strict=False):
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            field, colours = page.asarray(), page.colormap
        row, column = np.unravel_index(field[:-64, :-64].argmax(), field[:-64, :-64].shape)
        tifffile.imwrite(
            tmp_path / f"c_{channel}.tif",
            field[row : row + 64, column : column + 64],
            compression=page.compression,
            predictor=page.predictor,
            photometric=page.photometric,
            colormap=colours,
        )
    stored = [tifffile.imread(tmp_path / f"c_{name}.tif") for name in ("protein", "nucleus")]
    np.testing.assert_array_equal(packed(tmp_path), np.stack(stored))


def test_a_whole_real_field_says_that_a_cell_is_expected(tmp_path, shared_file) -> None:
    fields = sorted(shared_file("real/fields/harmony_phenix/BR00121482").rglob("*.tif*"))
    for channel, path in zip(("protein", "nucleus"), fields, strict=False):
        (tmp_path / f"c_{channel}.tif").write_bytes(path.read_bytes())
    assert "shape (1080, 1080) found, expected a square of 32 to 256 pixels: one cell" in refusal(
        tmp_path
    )
