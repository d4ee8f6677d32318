"""Plates packed by filters of hdf5plugin: read without it, refused where they are damaged."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.hdf5._packing import Filter, unpacked
from coos_mlflow.plates.reader import open_plate

PACKINGS = {
    "blosc": hdf5plugin.Blosc(),
    "blosc, zstd of bits": hdf5plugin.Blosc("zstd", 5, hdf5plugin.Blosc.BITSHUFFLE),
    "blosc, zlib": hdf5plugin.Blosc("zlib", 5, hdf5plugin.Blosc.SHUFFLE),
    "blosc, blosclz": hdf5plugin.Blosc("blosclz", 9, hdf5plugin.Blosc.SHUFFLE),
    "blosc2": hdf5plugin.Blosc2(),
    "blosc2, zstd of bits": hdf5plugin.Blosc2("zstd", 5, hdf5plugin.Blosc2.BITSHUFFLE),
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "lz4, small blocks": hdf5plugin.LZ4(nbytes=3000),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle, lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle, zstd": hdf5plugin.Bitshuffle(cname="zstd"),
}
CHUNKS = [(4, 2, 64, 64), (3, 2, 33, 47), (8, 1, 16, 20)]

packings = pytest.mark.parametrize("packing", PACKINGS.values(), ids=PACKINGS)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Counts that pack well, one chunk of them zero."""
    rng = np.random.default_rng(0)
    cells = rng.poisson(rng.uniform(200, 3000, (10, 2, 1, 1)), (10, 2, 64, 64)).astype(np.uint16)
    cells[:, :, 60:] = 0
    return cells


def written(path: Path, cells: np.ndarray, packing: object, **options: object) -> Path:
    with h5py.File(path, "w") as file:
        options = {"chunks": CHUNKS[0], "compression": packing} | options
        file.create_dataset("data", data=cells, **options)
        # So few numbers are packed by none; each filter is asked all the same.
        for name, values in (("labels", np.arange(10) % 7), ("wellIDs", np.array([b"B03"] * 10))):
            file.create_dataset(name, data=values, chunks=(4,), compression=packing)
    return path


def read(path: Path, size: int = 3) -> np.ndarray:
    with open_plate(path) as plate:
        return np.concatenate([batch.images for batch in plate.batches(size)])


@packings
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "u1", "<f4", ">f8"])
def test_the_same_cells_are_read(tmp_path, cells, packing, chunks, dtype) -> None:
    stored = (cells % 251 if dtype == "u1" else cells).astype(dtype)
    options = {"chunks": chunks, "maxshape": (None, 2, 64, 64)}
    path = written(tmp_path / "p.h5", stored, packing, **options)
    np.testing.assert_array_equal(read(path), stored)
    with open_plate(path) as plate:
        assert plate.labels is not None and plate.labels.tolist() == [i % 7 for i in range(10)]
        assert plate.wells is not None and set(plate.wells) == {"B03"}


@packings
def test_filters_go_with_shuffle_and_checksums(tmp_path, cells, packing) -> None:
    path = written(tmp_path / "p.h5", cells, packing, shuffle=True, fletcher32=True)
    np.testing.assert_array_equal(read(path), cells)


@pytest.mark.parametrize("chunks", [(64, 2, 64, 64), (50, 2, 64, 64), (70, 2, 33, 64)], ids=str)
def test_chunks_that_blosc2_cuts_into_blocks_are_put_together(tmp_path, chunks) -> None:
    stored = np.random.default_rng(0).normal(900, 50, (130, 2, 64, 64)).astype(np.float32)
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        options = {"chunks": chunks, "compression": hdf5plugin.Blosc2()}
        file.create_dataset("data", data=stored, **options)
    np.testing.assert_array_equal(read(path, 47), stored)


def test_hdf5plugin_is_not_needed_to_read(tmp_path, cells) -> None:
    paths = [
        str(written(tmp_path / f"{number}.h5", cells, packing))
        for number, packing in enumerate(PACKINGS.values())
    ]
    program = (
        "import sys; sys.modules['hdf5plugin'] = None\n"
        "from coos_mlflow.plates.summary import inspect\n"
        "print(sum(inspect(path).n_cells for path in sys.argv[1:]))"
    )
    environment = os.environ | {"HDF5_PLUGIN_PATH": str(tmp_path)}
    command = [sys.executable, "-c", program, *paths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{10 * len(PACKINGS)}\n"


# Damaged chunks


def chunk_of(path: Path) -> tuple[bytes, list[Filter]]:
    """The second chunk of a plate's cells as it is stored, and its filters."""
    with h5py.File(path) as file:
        data = file["data"].id
        mask, packed = data.read_direct_chunk((4, 0, 0, 0))
        properties = data.get_create_plist()
        filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    assert mask == 0
    return packed, [(code, parameters) for code, _, parameters, _ in filters]


@packings
@pytest.mark.parametrize("kept", [0, 1, 11, 200, -1])
def test_a_chunk_cut_short_is_refused(tmp_path, cells, packing, kept) -> None:
    path = written(tmp_path / "p.h5", cells, packing)
    packed, _ = chunk_of(path)
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((4, 0, 0, 0), packed[:kept] or b"\0")
    with pytest.raises(DataError, match="/data, cells 4 to 7, cannot be read, the file is damaged"):
        read(path)


@packings
def test_bytes_that_lie_about_sizes_take_no_memory_and_read_nothing_else(
    tmp_path, cells, packing
) -> None:
    """Sizes stand in the first bytes; where there is no checksum, other pixels may come out."""
    packed, filters = chunk_of(written(tmp_path / "p.h5", cells, packing))
    size = cells[:4].nbytes
    assert bytes(unpacked(packed, filters, size)) == cells[4:8].tobytes()
    lies = [value.to_bytes(1) for value in (0, 1, 127, 255)]
    for value in (0, size + 2**16, 2**31 - 1, 2**31, 2**32 - 1):
        lies += [value.to_bytes(4, "little"), value.to_bytes(4, "big")]
    refused = 0
    for byte, lie in itertools.product(range(48), lies):
        content = packed[:byte] + lie + packed[byte + len(lie) :]
        try:
            assert len(unpacked(content, filters, size)) == size
        except ValueError:
            refused += 1
    # Without compression, bitshuffle has no sizes that could lie.
    assert (refused > 0) is (len(packed) != size)


@packings
def test_a_chunk_of_another_size_is_refused(tmp_path, cells, packing) -> None:
    packed, filters = chunk_of(written(tmp_path / "p.h5", cells, packing))
    size = cells[:4].nbytes
    for other in (size - 16, size - 2**14, size + 16, 2 * size):
        with pytest.raises(ValueError, match=r"\S"):
            unpacked(packed, filters, other)


@packings
def test_a_flipped_byte_under_a_checksum_is_refused(tmp_path, cells, packing) -> None:
    path = written(tmp_path / "p.h5", cells, packing, fletcher32=True)
    packed, _ = chunk_of(path)
    for at in (0, 9, len(packed) // 2, len(packed) - 1):
        content = bytearray(packed)
        content[at] ^= 0x10
        with h5py.File(path, "r+") as file:
            file["data"].id.write_direct_chunk((4, 0, 0, 0), bytes(content))
        with pytest.raises(DataError, match="the checksum is that of other bytes"):
            read(path)


def test_parameters_that_no_filter_has_are_refused(tmp_path, cells) -> None:
    packed, [(code, parameters)] = chunk_of(
        written(tmp_path / "p.h5", cells, hdf5plugin.Bitshuffle())
    )
    for at, value in [(2, 0), (2, 2**31), (4, 9)]:
        wrong = (*parameters[:at], value, *parameters[at + 1 :])
        with pytest.raises(ValueError, match=r"bitshuffle \(HDF5 filter 32008\)"):
            unpacked(packed, [(code, wrong)], cells[:4].nbytes)


def test_codecs_that_blosc2_would_look_for_elsewhere_are_refused(tmp_path, cells) -> None:
    packed, filters = chunk_of(written(tmp_path / "p.h5", cells, hdf5plugin.Blosc2()))
    chunk = int.from_bytes(packed[11:15], "big")
    for at, value in [(chunk + 2, 0xC5), (chunk + 21, 200), (chunk + 31, 0x08), (chunk + 31, 0x40)]:
        content = bytearray(packed)
        content[at] = value
        with pytest.raises(ValueError, match=r"no part of c-blosc2|not stored"):
            unpacked(bytes(content), filters, cells[:4].nbytes)
