"""Filters of HDF5: which are read, in which order, and what is said of the others."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from coos_mlflow.errors import DataError
from coos_mlflow.plates.hdf5._filter_names import copy_without, name_of
from coos_mlflow.plates.hdf5._packing import unpacked
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.summary import inspect

Step = Callable[[h5p.PropDCID], None]

SCALED: Step = lambda layout: layout.set_scaleoffset(h5py.h5z.SO_INT, 0)  # noqa: E731
ALL_BITS: Step = lambda layout: layout.set_scaleoffset(h5py.h5z.SO_INT, 16)  # noqa: E731
SHUFFLE: Step = h5p.PropDCID.set_shuffle
FLETCHER32: Step = h5p.PropDCID.set_fletcher32
GZIP: Step = lambda layout: layout.set_deflate(1)  # noqa: E731
LZF: Step = lambda layout: layout.set_filter(h5py.h5z.FILTER_LZF, 1)  # noqa: E731


def written(path: Path, cells: np.ndarray, *steps: Step, empty: bool = False) -> Path:
    """A plate whose cells went through these filters, whatever h5py itself would allow."""
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_chunk((2, 2, 64, 64))
    for step in steps:
        step(layout)
    with h5py.File(path, "w") as file:
        kind, space = h5t.py_create(cells.dtype), h5s.create_simple(cells.shape)
        data = h5py.Dataset(h5d.create(file.id, b"data", kind, space, layout))
        if not empty:
            data[...] = cells
    return path


def read(path: Path) -> np.ndarray:
    with open_plate(path) as plate:
        return np.concatenate([batch.images for batch in plate.batches(3)])


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        inspect(path)
    return str(caught.value)


@pytest.fixture
def full_range() -> np.ndarray:
    """Cells of which each chunk needs all 16 bits."""
    return np.random.default_rng(0).integers(0, 2**16, (4, 2, 64, 64)).astype(np.uint16)


@pytest.mark.parametrize("bits", [0, 16])
@pytest.mark.parametrize(
    "others",
    [
        {},
        {"compression": "gzip"},
        {"compression": "lzf"},
        {"shuffle": True, "compression": "gzip"},
        {"shuffle": True, "compression": "lzf"},
        {"shuffle": True},
    ],
)
def test_scaleoffset_with_16_bits_and_with_gzip_or_lzf_is_read(
    tmp_path, random_cells, full_range, bits: int, others: dict[str, object]
) -> None:
    for cells in (random_cells(4), full_range):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file.create_dataset(
                "data", data=cells, chunks=(2, 2, 64, 64), scaleoffset=bits, **others
            )
        np.testing.assert_array_equal(read(tmp_path / "p.h5"), cells)


@pytest.mark.parametrize("first", [SCALED, ALL_BITS], ids=["scaled", "all bits"])
def test_filters_after_scaleoffset_are_read_in_any_order(
    tmp_path, random_cells, first: Step
) -> None:
    cells = random_cells(4)
    for packing in (GZIP, LZF):
        for length in range(4):
            for rest in itertools.permutations((SHUFFLE, FLETCHER32, packing), length):
                path = written(tmp_path / "p.h5", cells, first, *rest)
                np.testing.assert_array_equal(read(path), cells)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", ">u2", "i4", "u1"])
def test_scaleoffset_of_floats_and_other_numbers_is_read(tmp_path, random_cells, dtype) -> None:
    cells = (random_cells(4) / 7).clip(0, 255).astype(dtype)
    for others in ({}, {"compression": "gzip", "shuffle": True}):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file.create_dataset("data", data=cells, chunks=(3, 2, 64, 64), scaleoffset=0, **others)
            stored = file["data"][:]
        found = read(tmp_path / "p.h5")
        np.testing.assert_array_equal(found, stored.astype(found.dtype))
        assert np.abs(stored.astype("f8") - cells).max() <= 0.5, "HDF5 rounds floats"


def test_shuffle_before_scaleoffset_is_read(tmp_path, random_cells) -> None:
    cells = random_cells(4)
    for rest in ([], [GZIP], [LZF, FLETCHER32]):
        path = written(tmp_path / "p.h5", cells, SHUFFLE, SCALED, *rest)
        np.testing.assert_array_equal(read(path), cells)


@pytest.mark.parametrize("order", [(SHUFFLE, ALL_BITS, GZIP), (SHUFFLE, ALL_BITS, FLETCHER32)])
def test_an_order_of_filters_that_hdf5_misreads_is_refused(tmp_path, random_cells, order) -> None:
    cells = random_cells(4)
    path = written(tmp_path / "p.h5", cells, *order)
    with h5py.File(path) as file:
        assert (file["data"][:] != cells).any(), "HDF5 has mended this: it could be read"
    assert "in an order that HDF5 does not always unpack; expected scaleoffset once" in refusal(
        path
    )


@pytest.mark.parametrize("order", [(GZIP, SCALED), (FLETCHER32, SCALED), (SCALED, SCALED)])
def test_scaleoffset_after_what_changes_lengths_is_refused(tmp_path, random_cells, order) -> None:
    # HDF5 would read beyond what gzip leaves of a chunk while it writes one.
    path = written(tmp_path / "p.h5", random_cells(4), *order, empty=True)
    assert "in an order that HDF5 does not always unpack" in refusal(path)


@pytest.mark.parametrize("order", [(GZIP, GZIP), (GZIP, LZF), (SCALED, LZF, GZIP)])
def test_packing_by_gzip_or_lzf_more_than_once_is_refused(tmp_path, random_cells, order) -> None:
    path = written(tmp_path / "p.h5", random_cells(4), *order)
    assert re.search(
        r"more than one filter: .*gzip \(HDF5 filter 1\).*; expected one of gzip, lzf, .*, once",
        refusal(path),
    )


@pytest.mark.parametrize(
    "order",
    [
        (ALL_BITS,),
        (ALL_BITS, GZIP),
        (ALL_BITS, LZF),
        (SCALED, GZIP),
        (SCALED, SHUFFLE, GZIP),
        (SCALED, SHUFFLE, LZF),
        (SCALED, FLETCHER32),
        (GZIP, SHUFFLE),
    ],
)
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.0001])
def test_a_chunk_cut_short_behind_any_filters_is_refused(
    tmp_path, random_cells, order, kept: float
) -> None:
    path = written(tmp_path / "p.h5", random_cells(4), *order)
    with h5py.File(path, "r+") as file:
        data = file["data"].id
        _, whole = data.read_direct_chunk((2, 0, 0, 0))
        data.write_direct_chunk((2, 0, 0, 0), whole[: int(len(whole) * kept) + 1])
    assert "/data, cells 2 to 3, cannot be read, the file is damaged: a chunk" in refusal(path)


def test_scaled_values_cut_short_before_they_were_packed_are_refused(
    tmp_path, random_cells
) -> None:
    """The packed chunk is whole, what comes out of it is not."""
    path = written(tmp_path / "p.h5", random_cells(4), SCALED)
    with h5py.File(path) as file:
        _, scaled = file["data"].id.read_direct_chunk((2, 0, 0, 0))
    written(path, random_cells(4), SCALED, GZIP)
    for content, refused in [(scaled, False), (scaled[:-9], True), (scaled[:3], True)]:
        with h5py.File(path, "r+") as file:
            file["data"].id.write_direct_chunk((2, 0, 0, 0), zlib.compress(content))
        if refused:
            assert "/data, cells 2 to 3, cannot be read" in refusal(path)
        else:
            np.testing.assert_array_equal(read(path), random_cells(4))


# What LZF has packed


@pytest.mark.parametrize("kind", ["noise", "repeats", "zeros"])
def test_lzf_is_undone_as_h5py_undoes_it(tmp_path, kind: str) -> None:
    rng = np.random.default_rng(0)
    for length in (20, 1000, 70_001):
        content = {
            "noise": rng.bytes(length // 2) + bytes(length - length // 2),
            "repeats": b"".join(rng.bytes(3) * int(rng.integers(1, 400)) for _ in range(999)),
            "zeros": bytes(length),
        }[kind][:length]
        with h5py.File(tmp_path / "p.h5", "w") as file:
            values = np.frombuffer(content, np.uint8)
            data = file.create_dataset("x", data=values, chunks=(length,), compression="lzf").id
            mask, packed = data.read_direct_chunk((0,))
        assert mask == 0 and len(packed) < length
        assert unpacked(packed, [(32000, ())], length) == content


@pytest.mark.parametrize(
    "packing",
    [
        {"compression": "lzf"},
        {"compression": "lzf", "shuffle": True},
        {"compression": "gzip", "shuffle": True},
    ],
)
def test_packed_text_of_variable_length_is_read(tmp_path, random_cells, packing) -> None:
    ids = [f"well{'x' * i}" for i in range(8)]
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(8)
        kind = h5py.string_dtype()
        file.create_dataset("wellIDs", data=ids, dtype=kind, chunks=(3,), **packing)
    with open_plate(tmp_path / "p.h5") as plate:
        assert plate.wells is not None and plate.wells.tolist() == ids


def test_no_memory_is_taken_for_text_that_is_only_claimed_in_lzf(tmp_path, random_cells) -> None:
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file["data"] = random_cells(2)
        options = {"dtype": h5py.string_dtype(), "chunks": (2,), "compression": "lzf"}
        ids = file.create_dataset("plateIDs", data=["12345678"] * 2, **options).id
        mask, packed = ids.read_direct_chunk((0,))
        raw = packed if mask else unpacked(packed, [(32000, ())], 32)
        assert raw[:4] == (8).to_bytes(4, "little") and len(raw) == 32
        ids.write_direct_chunk((0,), b"\x1f" + b"\xff" * 4 + raw[4:])  # a run of 32 bytes
    assert "/plateIDs: text of 4,294,967,295 bytes found" in refusal(path)


def test_text_of_variable_length_behind_scaleoffset_is_refused(tmp_path, random_cells) -> None:
    """Its references to heaps cannot be looked at before HDF5 follows them."""
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_chunk((4,))
    layout.set_filter(h5py.h5z.FILTER_SCALEOFFSET, h5py.h5z.FLAG_OPTIONAL, (2, 0, 8, 0, 8))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(4)
        kind = h5t.py_create(h5py.string_dtype(), logical=True)
        ids = h5d.create(file.id, b"plateIDs", kind, h5s.create_simple((4,)), layout)
        h5py.Dataset(ids)[...] = "59"
    assert "packed by scaleoffset found, which is for numbers" in refusal(tmp_path / "p.h5")


@pytest.mark.parametrize(("bits", "size"), [(16, 2), (2**31, 2**28), (16, 2**29 + 2)])
def test_only_a_number_of_bits_that_hdf5_obeys_leaves_a_chunk_as_it_is(
    tmp_path, random_cells, bits: int, size: int
) -> None:
    """HDF5 takes the second for -2^31 bits, and would unpack what is not packed."""
    path = written(tmp_path / "p.h5", random_cells(4), ALL_BITS)
    content = bytearray(path.read_bytes())
    parameters = np.array([2, 16, 2 * 2 * 64 * 64, 0, 2], "<u4").tobytes()
    at = content.index(parameters)
    content[at + 4 : at + 8] = bits.to_bytes(4, "little")
    content[at + 16 : at + 20] = size.to_bytes(4, "little")
    path.write_bytes(content)
    if size == 2:
        np.testing.assert_array_equal(read(path), random_cells(4))
    else:
        assert "does not unpack to" in refusal(path)


# Filters that are not read


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (4, "szip"),
        (5, "nbit"),
        (307, "bzip2"),
        (32013, "zfp"),
        (32017, "sz"),
        (32024, "sz3"),
        (32028, "sperr"),
        (32019, "jpeg"),
    ],
)
def test_a_filter_that_is_not_read_is_named(tmp_path, random_cells, code: int, name: str) -> None:
    path = written(tmp_path / "p.h5", random_cells(4), LZF)
    content = path.read_bytes()
    at = content.index(b"lzf\0") - 8
    path.write_bytes(content[:at] + code.to_bytes(2, "little") + content[at + 2 :])
    said = refusal(path)
    assert f"/data: packed by {name} (HDF5 filter {code}), expected " in said
    assert "h5repack -f GZIP=1 IN OUT` makes such a copy" in said
    assert ("pip install hdf5plugin" in said) is (name in HDF5PLUGIN)


HDF5PLUGIN = {"bzip2", "zfp", "sz", "sz3", "sperr"}


def test_a_filter_that_nobody_registered_has_the_name_that_the_file_gives_it() -> None:
    assert name_of(40_000, b"our own\x1b[31m") == "our own\\x1b[31m (HDF5 filter 40000)"
    assert name_of(40_000) == "HDF5 filter 40000"
    assert "its plugin in the folder HDF5_PLUGIN_PATH" in copy_without(40_000)


def test_h5repack_makes_a_copy_without_nbit_as_the_sentence_says(tmp_path, random_cells) -> None:
    if not shutil.which("h5repack"):
        pytest.skip("h5repack is not installed; apt-get install hdf5-tools")
    cells = random_cells(4)
    path = written(tmp_path / "p.h5", cells, lambda layout: layout.set_filter(5, 1))
    (command,) = re.findall("`(.*?)`", refusal(path))
    places = {"IN": str(path), "OUT": str(tmp_path / "copy.h5")}
    subprocess.run([places.get(word, word) for word in command.split()], check=True)
    np.testing.assert_array_equal(read(tmp_path / "copy.h5"), cells)
