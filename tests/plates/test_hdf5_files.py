"""HDF5 files as instruments and stopped programs leave them: read, or told what they are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.hdf5._packing import unpacked
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.summary import inspect

WRITER = """
import sys, time
import h5py, numpy as np
file = h5py.File(sys.argv[1], "w", libver="earliest" if "old" in sys.argv else "latest")
cells = np.random.default_rng(0).integers(100, 4000, (8, 2, 64, 64)).astype("u2")
if "empty" not in sys.argv:
    file.create_dataset("data", data=cells, chunks=(4, 2, 64, 64), maxshape=(None, 2, 64, 64))
if "flush" in sys.argv:
    file.flush()
if "swmr" in sys.argv:
    file.swmr_mode = True
print("ready", flush=True)
time.sleep(600)
"""


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        inspect(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# Filters


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("scale", [0, 12, 16])
@pytest.mark.parametrize("brightest", [900, 65535])
def test_scale_offset_is_read_alone_and_under_gzip(
    tmp_path, random_cells, shuffle, compression, scale, brightest
) -> None:
    """Of 16 bits, asked for or needed, HDF5 stores the counts as they are."""
    cells = np.minimum(random_cells(10), brightest).astype(np.uint16)
    cells[:, :, 0, 0] = brightest
    cells[:, :, 0, 1] = 0
    if scale == 12 and brightest > 4095:
        cells = cells % 4096
    options = {"scaleoffset": scale, "shuffle": shuffle, "compression": compression}
    with h5py.File(tmp_path / "plate.h5", "w") as file:
        file.create_dataset("data", data=cells, chunks=(3, 2, 64, 64), **options)
    with open_plate(tmp_path / "plate.h5") as plate:
        found = np.concatenate([batch.images for batch in plate.batches(4)])
    np.testing.assert_array_equal(found, cells)


def test_floats_under_scale_offset_and_gzip_are_read(tmp_path, random_cells) -> None:
    cells = random_cells(6).astype(np.float32) + 0.25
    options = {"scaleoffset": 2, "shuffle": True, "compression": "gzip"}
    with h5py.File(tmp_path / "plate.h5", "w") as file:
        file.create_dataset("data", data=cells, chunks=(3, 2, 64, 64), **options)
        stored = file["data"][:]
    with open_plate(tmp_path / "plate.h5") as plate:
        np.testing.assert_array_equal(next(plate.batches()).images, stored)


@pytest.mark.parametrize("kept", [4, 20, 1000])
def test_a_short_chunk_under_scale_offset_and_gzip_is_damaged(tmp_path, random_cells, kept) -> None:
    """HDF5 would read behind its end."""
    path = tmp_path / "plate.h5"
    options = {"scaleoffset": 0, "compression": "gzip"}
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=random_cells(4), chunks=(4, 2, 64, 64), **options)
        _, packed = data.id.read_direct_chunk((0, 0, 0, 0))
        whole = zlib.decompress(packed)
        data.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(whole[:kept]))
    assert "does not unpack to 65,536" in refusal(path)


@pytest.mark.parametrize(("dtype", "length"), [("u1", 1003), ("u2", 500), ("u4", 250)])
def test_bytes_that_hdf5_shuffled_are_put_back(tmp_path, dtype, length) -> None:
    content = np.random.default_rng(0).integers(0, 200, length).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=content, chunks=(length,), shuffle=True)
        _, shuffled = data.id.read_direct_chunk((0,))
    assert unpacked(shuffled, [(2, (content.itemsize,))], content.nbytes) == content.tobytes()


def test_a_last_value_that_is_cut_stays_behind_what_is_put_back() -> None:
    """As scaleoffset leaves it: HDF5 shuffles whole values alone."""
    assert unpacked(b"acbdX", [(2, (2,))], 5) == b"abcdX"


# Files that are open, or were not closed


@pytest.fixture
def writer(tmp_path) -> Iterator:
    """Factory of processes that write tmp_path/plate.h5 and keep it open."""
    started: list[subprocess.Popen] = []

    def start(*how: str) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "plate.h5"), *how]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert started[-1].stdout.readline() == b"ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_file_that_another_program_writes_to_is_not_called_damaged(tmp_path, writer) -> None:
    writer("flush")
    sentence = refusal(tmp_path / "plate.h5")
    assert "another program has the file open to write to it; close it there" in sentence
    assert "damaged" not in sentence


@pytest.mark.parametrize("how", ["flush", "swmr"])
def test_a_file_of_a_killed_program_was_not_closed_and_h5clear_opens_it(
    tmp_path, writer, how
) -> None:
    process = writer("flush", how)
    process.kill()
    process.wait()
    path = tmp_path / "plate.h5"
    sentence = refusal(path)
    command = f"h5clear -s {path}"
    assert "was not closed" in sentence and f"`{command}`" in sentence
    if shutil.which("h5clear") is None:
        pytest.skip("h5clear is not installed; apt-get install hdf5-tools")
    subprocess.run(command.split(), check=True)
    assert inspect(path).n_cells == 8


def test_a_file_that_another_program_reads_along_while_it_is_written_is_told(
    tmp_path, writer
) -> None:
    writer("swmr")
    assert "a program still writes to it" in refusal(tmp_path / "plate.h5")


def test_a_file_of_a_program_that_was_killed_before_it_wrote_is_truncated(tmp_path, writer) -> None:
    process = writer("old", "empty")
    process.kill()
    process.wait()
    sentence = refusal(tmp_path / "plate.h5")
    assert re.search(r"the file is truncated, it has \d+ bytes, expected [\d,]+ bytes", sentence)
    assert "write it again if the program that wrote it was stopped" in sentence


def test_a_file_of_a_program_that_was_killed_halfway_is_told_as_such(tmp_path, writer) -> None:
    process = writer("old")
    process.kill()
    process.wait()
    assert "damaged, or the program that wrote it was stopped" in refusal(tmp_path / "plate.h5")


def test_a_disk_that_locks_no_files_is_told(make_plate, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(
            "Unable to synchronously open file (unable to lock file, errno = 37, "
            "error message = 'No locks available')"
        )

    path = make_plate()
    monkeypatch.setattr(h5py, "File", refuse)
    assert "set HDF5_USE_FILE_LOCKING=FALSE" in refusal(path)


def test_a_disk_that_fails_is_not_a_damaged_file(make_plate, monkeypatch) -> None:
    path = make_plate()
    with h5py.File(path, "r+") as file:
        cells = file["data"][:]
        del file["data"]
        file["data"] = cells  # in one piece, which HDF5 reads through this method

    def fail(*args: object, **options: object) -> None:
        raise OSError(5, "Can't synchronously read data (file read failed: errno = 5)")

    monkeypatch.setattr(h5py.Dataset, "__getitem__", fail)
    assert "cannot be read from the disk (Input/output error)." in refusal(path)


# Types and text that HDF5 does not read where chunks are unpacked without it


def test_numbers_of_12_bits_under_gzip_are_read_as_hdf5_reads_them(tmp_path, random_cells) -> None:
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(2)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((3, 2, 64, 64))
    layout.set_deflate(1)
    cells = random_cells(4) % 4096
    with h5py.File(tmp_path / "p.h5", "w") as file:
        space = h5py.h5s.create_simple(cells.shape)
        h5py.Dataset(h5py.h5d.create(file.id, b"data", kind, space, layout))[...] = cells
    with open_plate(tmp_path / "p.h5") as plate:
        np.testing.assert_array_equal(next(plate.batches()).images, cells)


def test_text_padded_by_spaces_in_chunks_is_read(tmp_path, random_cells) -> None:
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(8)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((3,))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(4)
        ids = h5py.h5d.create(file.id, b"plateIDs", kind, h5py.h5s.create_simple((4,)), layout)
        h5py.Dataset(ids)[...] = [b"59", b"59", b"109", b"109"]
    with open_plate(tmp_path / "p.h5") as plate:
        assert plate.plates is not None and plate.plates.tolist() == ["59", "59", "109", "109"]


@pytest.mark.parametrize(("place", "value"), [(4, 2**40), (12, 99)], ids=["heap", "object"])
def test_a_reference_to_no_text_is_refused(tmp_path, random_cells, place, value) -> None:
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file["data"] = random_cells(4)
        file["plateIDs"] = ["59", "59", "109", "109"]
        at = file["plateIDs"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[at + place : at + place + (8 if place == 4 else 4)] = value.to_bytes(
        8 if place == 4 else 4, "little"
    )
    path.write_bytes(content)
    assert "the heap of variable-length text at byte" in refusal(path)


def test_heaps_that_lie_upon_each_other_are_refused(tmp_path, random_cells) -> None:
    """Each would be walked to its end, in a time that grows with the square of the file."""
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file["data"] = random_cells(4)
        file["plateIDs"] = ["x" * 250, "59", "109", "109"]
        at = file["plateIDs"].id.get_offset()
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    rest = len(content) - heap
    for number in range(4):
        start = heap + 32 + 40 * number  # inside the first text: a heap with an object to the end
        content[start : start + 8] = b"GCOL\x01\0\0\0"
        content[start + 8 : start + 16] = (heap + rest - start).to_bytes(8, "little")
        content[start + 16 : start + 32] = b"\1" + bytes(7) + (8).to_bytes(8, "little")
        content[start + 40 : start + 48] = bytes(8)
        reference = at + 16 * number
        content[reference + 4 : reference + 12] = start.to_bytes(8, "little")
        content[reference : reference + 4] = (2).to_bytes(4, "little")
        content[reference + 12 : reference + 16] = (1).to_bytes(4, "little")
    path.write_bytes(content)
    assert "the heap of variable-length text at byte" in refusal(path)
