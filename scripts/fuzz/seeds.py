"""Sound plates, each of another layout of HDF5, that mutations start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.reader import PlateWriter

CELL_SHAPE = coos7().cell_shape

N_CELLS = 8
"""Cells of a seed: few, so that most of its bytes that matter are no pixels."""


@dataclass(frozen=True)
class Seed:
    """A sound plate file.

    Parameters
    ----------
    name : str
    content : bytes
    pixels : list of (int, int)
        First and last byte + 1 of what holds cells alone.
    headers : list of int
        Where the object headers of the root and its datasets begin.
    """

    name: str
    content: bytes
    pixels: list[tuple[int, int]]
    headers: list[int]


def cells(n: int = N_CELLS, seed: int = 0) -> np.ndarray:
    """Return plausible raw counts, shape (n, 2, 64, 64), uint16."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(200, 3000, (n, 2, 1, 1))
    return rng.poisson(light, (n, *CELL_SHAPE)).clip(0, 65535).astype(np.uint16)


def columns(n: int = N_CELLS) -> dict[str, np.ndarray]:
    """Return labels and ids of n cells by their HDF5 names, text as bytes of fixed length."""
    cell = np.arange(n)
    return {
        "labels": cell % coos7().n_classes,
        "plateIDs": np.array([b"59", b"109"])[cell * 2 // n],
        "wellIDs": np.array([b"002003000", b"B04", b"mitochondria"])[cell % 3],
        "dateIDs": np.array([b"2017-03-01"])[cell * 0],
        "microscopeIDs": cell * 0 + 1,
    }


def make_seeds(folder: Path) -> list[Seed]:
    """Write one plate of each layout into a folder and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = []
    for layout in LAYOUTS:
        path = folder / f"{layout.__name__}.h5"
        layout(path)
        seeds.append(_looked_into(path))
    return seeds


def written(path: Path) -> None:
    """Lay out a plate as this package writes it."""
    known = {"labels": "labels", "plateIDs": "plates", "wellIDs": "wells"}
    with PlateWriter(path, N_CELLS, force=True, attrs={"simulated": True}) as writer:
        writer.append(cells(), **{known[k]: v for k, v in columns().items() if k in known})


def contiguous(path: Path) -> None:
    """Lay cells out in one piece, ids as text of variable length in a heap."""
    with h5py.File(path, "w") as file:
        file["data"] = cells()
        for name, values in columns().items():
            text = values.dtype.kind == "S"
            file[name] = [value.decode() for value in values] if text else values


def fixed_array(path: Path) -> None:
    """Use the newest format, whose fixed sets of chunks have an index of their own."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("data", data=cells(), chunks=(1, 2, 64, 64), compression="gzip")
        _add_columns(file, chunks=(3,))


def extensible_array(path: Path) -> None:
    """Use the newest format, growing along one axis, with checksums over chunks."""
    with h5py.File(path, "w", libver="latest") as file:
        options = {"maxshape": (None, *CELL_SHAPE), "chunks": (2, 2, 64, 64), "fletcher32": True}
        file.create_dataset("data", data=cells(), **options)
        _add_columns(file, chunks=(2,), maxshape=(None,))


def second_b_tree(path: Path) -> None:
    """Use the newest format, growing along two axes, with attributes in a fractal heap."""
    with h5py.File(path, "w", libver="latest") as file:
        shape = (None, None, 64, 64)
        file.create_dataset("data", data=cells(), maxshape=shape, chunks=(1, 1, 64, 64))
        _add_columns(file)
        for number in range(20):
            file.attrs[f"attribute {number}"] = np.bytes_(b"x" * 40)


def user_block(path: Path) -> None:
    """Begin behind 512 bytes of something else, with floats of the other byte order."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("data", data=cells().astype(">f4"), chunks=(3, 2, 32, 64))
        _add_columns(file, chunks=(3,), compression="gzip")


def chunked_text(path: Path) -> None:
    """Keep text of variable length in chunks, in the old format with its B-trees."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=cells(), chunks=(1, 2, 16, 64), shuffle=True)
        for name, values in columns().items():
            if values.dtype.kind == "S":
                text = values.astype(str).astype(object)
                packing = "gzip" if name == "wellIDs" else None
                kind = h5py.string_dtype()
                file.create_dataset(name, data=text, dtype=kind, chunks=(2,), compression=packing)
            else:
                file[name] = values


def scaled_and_packed(path: Path) -> None:
    """Pack counts by scaleoffset and gzip upon it, with shuffle between them."""
    with h5py.File(path, "w") as file:
        options = {"scaleoffset": 0, "shuffle": True, "compression": "gzip"}
        file.create_dataset("data", data=cells(), chunks=(2, 2, 64, 64), **options)
        _add_columns(file)


def scaled_to_all_bits(path: Path) -> None:
    """Ask scaleoffset for all 16 bits of a count, which leaves chunks as they are for lzf."""
    with h5py.File(path, "w") as file:
        options = {"scaleoffset": 16, "compression": "lzf"}
        file.create_dataset("data", data=cells(), chunks=(2, 2, 64, 64), **options)
        _add_columns(file, chunks=(3,), compression="lzf")


def blosc_and_lz4(path: Path) -> None:
    """Pack cells by blosc2 inside its frame, columns by lz4, with checksums over both."""
    with h5py.File(path, "w") as file:
        options = {"compression": hdf5plugin.Blosc2(), "chunks": (2, 2, 64, 64)}
        file.create_dataset("data", data=cells(), **options)
        _add_columns(file, chunks=(8,), compression=hdf5plugin.LZ4(), fletcher32=True)


def bitshuffled(path: Path) -> None:
    """Pack cells by bitshuffle and LZ4, columns by blosc and zstd in turns."""
    with h5py.File(path, "w", libver="latest") as file:
        options = {"compression": hdf5plugin.Bitshuffle(), "chunks": (2, 2, 64, 64)}
        file.create_dataset("data", data=cells(), **options)
        for number, (name, values) in enumerate(columns().items()):
            packing = hdf5plugin.Zstd() if number % 2 else hdf5plugin.Blosc()
            file.create_dataset(name, data=values, chunks=(8,), compression=packing)


LAYOUTS: tuple[Callable[[Path], None], ...] = (
    written,
    contiguous,
    fixed_array,
    extensible_array,
    second_b_tree,
    user_block,
    chunked_text,
    scaled_and_packed,
    scaled_to_all_bits,
    blosc_and_lz4,
    bitshuffled,
)


def _add_columns(file: h5py.File, **options: object) -> None:
    for name, values in columns().items():
        file.create_dataset(name, data=values, **options)


def _looked_into(path: Path) -> Seed:
    with h5py.File(path) as file:
        base = file.userblock_size
        headers = [h5py.h5o.get_info(file.id).addr + base]
        headers += [h5py.h5o.get_info(file[name].id).addr + base for name in file]
        data = file["data"].id
        if data.get_offset() is not None:
            spans = [(data.get_offset(), data.get_storage_size())]
        else:
            chunks = (data.get_chunk_info(i) for i in range(data.get_num_chunks()))
            spans = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    pixels = [(start, start + size) for start, size in sorted(spans)]
    return Seed(path.stem, path.read_bytes(), pixels, sorted(headers))
