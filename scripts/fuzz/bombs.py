"""Hostile plates whose cells claim, pack or share more than they hold: see `structures`."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from fuzz.seeds import CELL_SHAPE, N_CELLS
from fuzz.trap import Trap


def absurd_cells(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Declare up to 2^60 cells."""
    n = int(2 ** rng.integers(17, 61))
    chunk = (int(rng.choice([1, 64, 4096])), *CELL_SHAPE)
    dtype = one(rng, ["u1", "<u2", "<f8"])
    file.create_dataset("data", (n, *CELL_SHAPE), dtype, chunks=chunk, **packed_somehow(rng))
    if rng.random() < 0.5:
        file.create_dataset("labels", (n,), "u1", chunks=(1024,))


def absurd_axes(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Declare axes of zero, of 2^40, and up to thirty-two of them."""
    rank = int(rng.choice([0, 1, 2, 3, 4, 4, 4, 5, 32]))
    sides = [0, 1, 2, 64, 2**20, 2**40] if rank < 5 else [0, 1, 2, 3]
    shape = tuple(int(rng.choice(sides)) for _ in range(rank))
    if np.prod([float(side) for side in shape]) > 2.0**60:
        shape = tuple(min(side, 2**12) for side in shape)
    chunked = {"chunks": (1,) * rank, "maxshape": (None,) * rank} if rank else {}
    file.create_dataset("data", shape, "u2", **one(rng, [chunked, {}]))


def never_written(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Declare cells of which only the first were written, the others a fill value."""
    n = int(10 ** rng.uniform(1, 7))
    chunk = (int(rng.integers(1, min(n, 64) + 1)), *CELL_SHAPE)
    data = file.create_dataset("data", (n, *CELL_SHAPE), "u2", chunks=chunk, fillvalue=300)
    if rng.random() < 0.7:
        data[:N_CELLS] = cells


def bomb_of_zeros(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Pack up to 2 GiB of one value into a chunk of a few kilobytes."""
    n = int(2 ** rng.uniform(6, 17 if rng.random() < 0.1 else 14))
    packer = zlib.compressobj(9)
    cell = np.full(CELL_SHAPE, int(rng.choice([0, 300])), "<u2").tobytes()
    packed = b"".join([*(packer.compress(cell * 64) for _ in range(n // 64)), packer.flush()])
    n = n // 64 * 64
    shape = (n, *CELL_SHAPE)
    data = file.create_dataset("data", shape, "<u2", chunks=shape, compression="gzip")
    data.id.write_direct_chunk((0, 0, 0, 0), packed)


def bomb_in_bombs(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Pack a chunk twice, so that a few bytes become a million times as many."""
    n = int(2 ** rng.integers(6, 14))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((n, *CELL_SHAPE))
    properties.set_deflate(9)
    properties.set_deflate(9)
    space = h5py.h5s.create_simple((n, *CELL_SHAPE))
    data = h5py.h5d.create(file.id, b"data", h5py.h5t.STD_U16LE, space, properties)
    packed = zlib.compress(zlib.compress(bytes(n * 2**14), 9), 9)
    data.write_direct_chunk((0, 0, 0, 0), packed)


def bomb_of_cells(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Pack cells that pass every check but hold next to nothing, thousands to the kilobyte."""
    n = int(2 ** rng.integers(6, 12))
    data = np.zeros((64, *CELL_SHAPE), "<u2")
    data[..., :5] = 300
    packed = zlib.compress(data.tobytes(), 9)
    shape = (n, *CELL_SHAPE)
    found = file.create_dataset("data", shape, "<u2", chunks=data.shape, compression="gzip")
    for first in range(0, n, 64):
        found.id.write_direct_chunk((first, 0, 0, 0), packed)


def one_chunk_for_all(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Prepare chunks of which `share_one_chunk` makes one chunk used many times."""
    n = int(2 ** rng.integers(3, 13)) * N_CELLS
    chunks = (N_CELLS, *CELL_SHAPE)
    data = file.create_dataset("data", (n, *CELL_SHAPE), "<u2", chunks=chunks, compression="gzip")
    data.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(cells.tobytes(), 1))
    for first in range(N_CELLS, n, N_CELLS):
        data.id.write_direct_chunk((first, 0, 0, 0), b"!")


def share_one_chunk(path: Path) -> None:
    """Let every entry of an old B-tree of chunks name the first chunk and its size."""
    with h5py.File(path) as file:
        data = file["data"].id
        found = [data.get_chunk_info(i) for i in range(data.get_num_chunks())]
    content = bytearray(path.read_bytes())
    shared = max(found, key=lambda chunk: chunk.size)
    for chunk in found:
        key = (chunk.size).to_bytes(4, "little") + bytes(4)
        key += b"".join(int(at).to_bytes(8, "little") for at in (*chunk.chunk_offset, 0))
        at = content.find(key + chunk.byte_offset.to_bytes(8, "little"))
        if at >= 0:
            content[at : at + 4] = shared.size.to_bytes(4, "little")
            end = at + len(key)
            content[end : end + 8] = shared.byte_offset.to_bytes(8, "little")
    path.write_bytes(content)


def chunk_shapes(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Store cells in chunks of odd and enormous shapes behind every filter that is read."""
    shape = tuple(int(rng.choice([1, min(3, side), side])) for side in cells.shape)
    if rng.random() < 0.2:
        shape = (2 ** int(rng.integers(4, 19)), *CELL_SHAPE)
    room = (None, *CELL_SHAPE)
    options = {"chunks": shape, "maxshape": room}
    packed = one(rng, [packed_somehow(rng), {"fletcher32": True}])
    data = file.create_dataset("data", cells.shape, "<u2", **options, **packed)
    if np.prod(shape) < 2**22:
        data[:] = cells


def skipped_filters(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Store chunks whose filters are said to have been left out, or whose bytes fit none."""
    options = one(rng, [{"compression": "gzip"}, {"compression": "gzip"}, packed_somehow(rng)])
    chunk = (4, *CELL_SHAPE)
    data = file.create_dataset("data", cells.shape, "<u2", chunks=chunk, **options)
    for first in (0, 4):
        block = cells[first : first + 4].tobytes()
        short = block[: int(rng.integers(1, len(block)))]
        forms = [(block, 1), (zlib.compress(block), 0), (short, 1), (zlib.compress(short), 0)]
        forms += [(zlib.compress(block + block), 0), (b"!", 0), (rng.bytes(99), 0), (block, 2**31)]
        forms += [(_packed_zeros(), 0), (bytes([31]) * 9999, 0), (short, 3)]
        packed, mask = forms[int(rng.integers(len(forms)))]
        data.id.write_direct_chunk((first, 0, 0, 0), packed, filter_mask=mask)


@cache
def _packed_zeros() -> bytes:
    return zlib.compress(bytes(2**27))


def packed_somehow(rng: np.random.Generator) -> dict[str, Any]:
    return one(
        rng,
        [
            {},
            {"compression": "gzip"},
            {"compression": "lzf", "shuffle": True},
            {"scaleoffset": 4},
            {"scaleoffset": 16, "compression": "gzip"},
            {"scaleoffset": 0, "compression": "gzip", "shuffle": True},
            {"scaleoffset": 0, "compression": "lzf"},
            {"shuffle": True},
            {"compression": hdf5plugin.Blosc("zstd")},
            {"compression": hdf5plugin.Blosc2()},
            {"compression": hdf5plugin.Zstd()},
            {"compression": hdf5plugin.LZ4()},
            {"compression": hdf5plugin.Bitshuffle()},
        ],
    )


def one(rng: np.random.Generator, of: Any) -> Any:
    return of[int(rng.integers(len(of)))]
