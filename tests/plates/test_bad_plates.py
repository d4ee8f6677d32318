"""Plates that must be refused, each in one sentence with file, place, found and expected."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.summary import inspect

Make = Callable[[h5py.File, np.ndarray], None]


def refusal(path: Path, described: Dataset | None = None) -> str:
    """The sentence that `inspect` refuses a file with, after checking its form."""
    with pytest.raises(DataError) as caught:
        inspect(path, dataset=described)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 700
    assert caught.value.exit_code == 2
    return message


def group_for_data(file: h5py.File, cells: np.ndarray) -> None:
    file["data/images"] = cells


def other_name(file: h5py.File, cells: np.ndarray) -> None:
    file["images"] = cells


def dataset(name: str, change: Callable[[np.ndarray], object]) -> Make:
    def make(file: h5py.File, cells: np.ndarray) -> None:
        if name != "data":
            file["data"] = cells
        file[name] = change(cells)

    return make


def changed(cell: int, channel: int, value: float) -> Make:
    def change(cells: np.ndarray) -> np.ndarray:
        cells = cells.astype(np.float32)
        cells[cell, channel, 10, 20] = value
        return cells

    return dataset("data", change)


def constant(cells: np.ndarray) -> np.ndarray:
    cells = cells.copy()
    cells[2, 1] = 77
    return cells


COMPOUND = np.zeros(6, dtype=[("a", "<u2"), ("b", "<f4")])
WRONG_CONTENT = {
    "missing data": (other_name, "no dataset /data .* only images"),
    "data is a group": (group_for_data, ":/data: is a group, expected a dataset"),
    "wrong rank": (dataset("data", lambda c: c[:, 0]), r"shape \(6, 64, 64\) has 3 axes"),
    "scalar": (dataset("data", lambda c: 5), r"shape \(\) has 0 axes"),
    "null": (dataset("data", lambda c: h5py.Empty("u2")), r"shape \(\) has 0 axes"),
    "channels last": (dataset("data", lambda c: c.transpose(0, 2, 3, 1)), "channels last"),
    "one channel": (dataset("data", lambda c: c[:, :1]), "one channel, expected"),
    "three channels": (
        dataset("data", lambda c: np.repeat(c, 2, axis=1)[:, :3]),
        r"shape \(6, 3, 64, 64\) has 3 channels, expected \(N, 2, crop, crop\).*`channels` of",
    ),
    "no square": (dataset("data", lambda c: c[..., :48]), r"\(6, 2, 64, 48\) found, expected"),
    "31 pixels": (
        dataset("data", lambda c: c[..., :31, :31]),
        r"shape \(6, 2, 31, 31\) found, expected .* a crop of 32 to 256 pixels",
    ),
    "257 pixels": (
        dataset("data", lambda c: np.tile(c, (1, 1, 5, 5))[..., :257, :257]),
        r"shape \(6, 2, 257, 257\) found, expected .* a crop of 32 to 256 pixels",
    ),
    "zero cells": (dataset("data", lambda c: c[:0]), "no cells found"),
    "text": (dataset("data", lambda c: c[:, 0, 0, 0].astype("S")), "dtype .S5 found, expected"),
    "booleans": (dataset("data", lambda c: c > 500), "dtype bool found, expected"),
    "complex": (dataset("data", lambda c: c.astype("c8")), "dtype complex64 found, expected"),
    "compound": (dataset("data", lambda c: COMPOUND), "dtype .* found, expected uint16"),
    "NaN": (changed(3, 0, np.nan), r"/data: cell 3, channel 0 \(protein\): nan is not a finite"),
    "infinite": (changed(4, 1, np.inf), r"/data: cell 4, channel 1 \(nucleus\): inf is not a"),
    "minus infinite": (changed(0, 1, -np.inf), "cell 0, channel 1 .*: -inf is not a finite"),
    "negative": (changed(5, 0, -3), "cell 5, channel 0 .*: -3 is negative; raw camera counts"),
    "above 16 bit": (changed(1, 0, 70000), "cell 1, channel 0 .*: 70000 is above 65535"),
    "enormous": (changed(1, 0, 3e38), "cell 1, channel 0 .*: 3e.38 is above 65535"),
    "scaled to [0, 1]": (
        dataset("data", lambda c: (c / np.float32(65535)).astype("f4")),
        r"scaled to \[0, 1\]; raw camera counts are needed .*coos pack --rescale 4095.*6 such",
    ),
    "constant once it is float32": (
        dataset("data", lambda cells: 300 + 1e-9 * cells),
        r"cell 0, channel 0 \(protein\): 300 stands in every",
    ),
    "constant": (dataset("data", constant), r"cell 2, channel 1 \(nucleus\): 77 stands in every"),
    "label -2": (dataset("labels", lambda c: [0, -2, 2, 3, 4, 6]), "/labels: label -2 of cell 1"),
    "label 1.5": (dataset("labels", lambda c: [0, 1.5, 2, 3, 4, 6]), "/labels: label 1.5 of cell"),
    "infinite label": (dataset("labels", lambda c: [0, 1, 2, 3, np.inf, 6]), "label inf of cell 4"),
    "enormous label": (dataset("labels", lambda c: [0, 2**31, 2, 3, 4, 6]), "label 2.*of cell 1"),
    "boolean labels": (dataset("labels", lambda c: [True] * 6), "/labels: dtype .* expected whole"),
    "labels too short": (
        dataset("labels", lambda c: [0, 1, 2]),
        r"/labels: shape \(3,\) found, expected \(6,\)",
    ),
    "labels in two columns": (dataset("labels", lambda c: [[0, 1]] * 6), r"shape \(6, 2\) found"),
    "wells too long": (dataset("wellIDs", lambda c: [b"B03"] * 7), r"/wellIDs: shape \(7,\)"),
    "fractional ids": (
        dataset("plateIDs", lambda c: [1.0, 1.5] * 3),
        "/plateIDs: the id of cell 1 is 1.5, expected text or a whole number",
    ),
    "infinite ids": (dataset("plateIDs", lambda c: [np.inf] * 6), "the id of cell 0 is inf"),
    "ids of 10 kB": (
        dataset("plateIDs", lambda c: ["a"] * 5 + ["x" * 10_000]),
        "/plateIDs: text of 10,000 bytes found, expected at most 1,024",
    ),
    "ids of 1 kB": (
        dataset("plateIDs", lambda c: ["a"] * 5 + ["x" * 1000]),
        r"/plateIDs: the id of cell 5 has 1,000 characters \('xxx.*expected at most 256",
    ),
    "ids of fixed 10 kB": (
        dataset("plateIDs", lambda c: np.array([b"x" * 10_000] * 6)),
        "/plateIDs: text of 10,000 bytes an entry found, expected at most",
    ),
    "compound ids": (dataset("dateIDs", lambda c: COMPOUND), "/dateIDs: dtype .* found, expected"),
    "array ids": (
        dataset("dateIDs", lambda c: np.zeros((6,), dtype=[("x", "u1", (3,))])),
        "/dateIDs: dtype",
    ),
}


@pytest.mark.parametrize("case", WRONG_CONTENT)
def test_wrong_content(tmp_path, random_cells, case: str) -> None:
    make, sentence = WRONG_CONTENT[case]
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        make(file, random_cells(6))
    assert re.search(sentence, refusal(path))


NO_COOS7 = {
    "label 7": (
        dataset("labels", lambda c: [0, 1, 2, -1, 7, 7]),
        r"/labels: label 7 of cell 4 found, expected a class of COOS-7 \(0 Endoplasmic .*2 of 6",
    ),
    "another class": (
        dataset("labels", lambda c: ["er", "IMM", "6", "", "Golgi", "Nucleolus"]),
        r"/labels: label 'Nucleolus' of cell 5 found, expected a class of COOS-7",
    ),
    "48 pixels": (
        dataset("data", lambda c: c[..., :48, :48]),
        r"has crops of 48 pixels, expected \(N, 2, 64, 64\).*cut crops of 64 x 64 pixels",
    ),
}


@pytest.mark.parametrize("case", NO_COOS7)
def test_what_does_not_fit_the_data_set(tmp_path, random_cells, case: str) -> None:
    make, sentence = NO_COOS7[case]
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        make(file, random_cells(6))
    assert inspect(path).n_cells == 6
    assert re.search(sentence, refusal(path, coos7()))


def test_a_single_faulty_cell_is_found_in_any_batch(tmp_path, random_cells) -> None:
    cells = random_cells(40)
    cells[33, 0] = 5
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = cells
    for size in (1, 7, 64):
        with open_plate(tmp_path / "p.h5") as plate, pytest.raises(DataError, match="cell 33,"):
            list(plate.batches(size))


# Files that read other files


def external_link(path: Path, cells: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink("other.h5", "/data")


def soft_link_out(path: Path, cells: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["door"] = h5py.ExternalLink("other.h5", "/")
        file["data"] = h5py.SoftLink("/door/data")


def external_storage(path: Path, cells: np.ndarray) -> None:
    (path.parent / "raw.bin").write_bytes(cells.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data", cells.shape, cells.dtype, external=[("raw.bin", 0, cells.nbytes)]
        )


def virtual_dataset(path: Path, cells: np.ndarray) -> None:
    layout = h5py.VirtualLayout(shape=cells.shape, dtype=cells.dtype)
    layout[:] = h5py.VirtualSource("other.h5", "data", shape=cells.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)


def external_labels(path: Path, cells: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = cells
        file["labels"] = h5py.ExternalLink("other.h5", "/data")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (external_link, "/data: is an external link to 'other.h5' .* refused"),
        (soft_link_out, "/data: is an external link to 'other.h5' .* refused"),
        (external_storage, "/data: keeps its values in 'raw.bin' .* refused"),
        (virtual_dataset, "/data: is a virtual dataset .* refused"),
        (external_labels, "/labels: is an external link to 'other.h5' .* refused"),
    ],
)
def test_other_files_are_never_read(
    tmp_path, random_cells, monkeypatch, make: Callable[[Path, np.ndarray], None], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = random_cells(4)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = cells
    make(tmp_path / "plate.h5", cells)
    with h5py.File(tmp_path / "plate.h5") as file:
        assert file["data"][:].shape == cells.shape, "the trap itself must work"
    for other in tmp_path.iterdir():
        if other.name != "plate.h5":
            other.unlink()  # whoever looks for it now has another complaint
    assert re.search(sentence, refusal(tmp_path / "plate.h5"))


def test_dangling_and_circular_links(tmp_path) -> None:
    for target, sentence in [("/nowhere", "link to /nowhere, which"), ("/data", "circle of links")]:
        with h5py.File(tmp_path / "plate.h5", "w") as file:
            file["data"] = h5py.SoftLink(target)
        assert sentence in refusal(tmp_path / "plate.h5")


# Files that are none


def test_missing_file(tmp_path) -> None:
    path = tmp_path / "plate.h5"
    assert refusal(path).startswith(f"{path}: no such file")


def test_folder(tmp_path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_empty_file(tmp_path) -> None:
    path = tmp_path / "plate.h5"
    path.touch()
    assert "empty (0 bytes)" in refusal(path)


def test_not_hdf5(tmp_path) -> None:
    path = tmp_path / "plate.h5"
    path.write_bytes(b"II*\0 an image")
    assert "not an HDF5 file, it starts with bytes 49 49 2a 00" in refusal(path)


def test_neither_a_pipe_nor_a_socket_is_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert "no regular file" in refusal(tmp_path / "socket")


def test_a_name_with_a_nul() -> None:
    with pytest.raises(DataError, match=r"no such file|is no file name"):
        open_plate("a\0b")


def test_no_permission(make_plate, monkeypatch) -> None:
    path = make_plate()
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(self: Path, *args: object, **kwargs: object) -> object:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be opened (Permission denied)" in refusal(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_truncated(make_plate, share: float) -> None:
    path = make_plate(n=80)
    whole = path.read_bytes()
    kept = int(len(whole) * share)
    path.write_bytes(whole[:kept])
    message = refusal(path)
    assert f"truncated, it has {kept:,} bytes, expected {len(whole):,} bytes" in message


@pytest.mark.parametrize("kept", [1, 8, 40, 95])
def test_truncated_inside_the_header(make_plate, kept: int) -> None:
    path = make_plate()
    path.write_bytes(path.read_bytes()[:kept])
    refusal(path)


def test_a_damaged_chunk_names_its_cells(make_plate) -> None:
    path = make_plate(n=200)
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 64] = b"\xff" * 64
    path.write_bytes(content)
    with open_plate(path) as plate:
        stream = plate.batches(64)
        next(stream)
        next(stream)
        with pytest.raises(DataError, match=r"plate\.h5:/data, cells 128 to 191, cannot be read"):
            next(stream)


def test_bytes_flipped_anywhere_never_give_a_traceback(make_plate) -> None:
    path = make_plate(n=4)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, 3000, 150):
        content = bytearray(whole)
        content[position] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            inspect(path)
        except DataError:
            refused += 1
    assert refused > 20


# Headers that claim more than there is


@pytest.mark.parametrize("cells", [2**40, 2**62 // 8192])
def test_absurd_number_of_cells_allocates_nothing(tmp_path, cells: int) -> None:
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        for name, shape in [("data", (cells, 2, 64, 64)), ("labels", (cells,))]:
            chunks = (1, *shape[1:]) if len(shape) > 1 else (1024,)
            file.create_dataset(name, shape, "u1", chunks=chunks)
    assert f"{cells:,} entries claimed" in refusal(path)


def test_cells_that_were_never_written(tmp_path, random_cells) -> None:
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (1_000_000, 2, 64, 64), "u2", chunks=(8, 2, 64, 64))
        data[:16] = random_cells(16)
    assert "needs 125,000 chunks, but the file holds 2" in refusal(path)


def test_contiguous_cells_that_were_never_written(tmp_path) -> None:
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (1000, 2, 64, 64), "u2")
    assert "needs 16,384,000 bytes, but the file holds 0" in refusal(path)


def test_a_chunk_larger_than_memory_should_hold(tmp_path) -> None:
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data", (200_000, 2, 64, 64), "u2", chunks=(200_000, 2, 64, 64), compression="gzip"
        )
    assert "h5repack -l data:CHUNK=64x2x64x64" in refusal(path)


def test_a_filter_that_is_not_installed(tmp_path, random_cells) -> None:
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=random_cells(4), chunks=True, compression="lzf")
        name = b"lzf\0"
    content = path.read_bytes()
    code = (32000).to_bytes(2, "little")
    at = content.index(name) - 8
    assert content[at : at + 2] == code
    path.write_bytes(content[:at] + (31999).to_bytes(2, "little") + content[at + 2 :])
    assert "packed by lzf (HDF5 filter 31999), expected gzip" in refusal(path)


@pytest.mark.timeout(120)
def test_a_damaged_heap_of_text_is_not_walked_for_ever(tmp_path, random_cells) -> None:
    path = tmp_path / "plate.h5"
    with h5py.File(path, "w") as file:
        file["data"] = random_cells(4)
        file["wellIDs"] = ["B03", "C04", "D05", "mitochondria"]
    with open_plate(path) as plate:
        assert plate.wells is not None and plate.wells[3] == "mitochondria"
    whole = path.read_bytes()
    heap = whole.index(b"GCOL")
    # The collection's size, and the size of its first object, as bytes of their numbers.
    for position in (heap + 8, heap + 15, heap + 24, heap + 31):
        content = bytearray(whole)
        content[position] = 0xFF
        path.write_bytes(content)
        assert f"the heap of variable-length text at byte {heap:,} is damaged" in refusal(path)
