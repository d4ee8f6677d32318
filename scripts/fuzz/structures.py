"""Hostile plates that HDF5's own library writes: each takes an open file, cells, dice, a trap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from fuzz import bombs
from fuzz.bombs import one
from fuzz.seeds import N_CELLS, columns
from fuzz.trap import SECRET, Trap

Build = Callable[[h5py.File, np.ndarray, np.random.Generator, Trap], None]

ID_NAMES = ("plateIDs", "wellIDs", "dateIDs", "microscopeIDs")

HOSTILE_TEXT = (
    "a\0b",
    "\x1b[2J\x1b[31mred",
    "two\nlines",
    "../../../etc/passwd",
    "/etc/passwd",
    "\u202eabc",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "=cmd|' /C calc'!A0",
    "x" * 256,
    "x" * 5000,
    "%s%n%x",
    "\u2028\x85\r",
    "",
    " ",
    "𝟘𝟙𝟚",
    "٠٠٢٠٠٣٠٠٠",
    "nan",
)
_LENGTHS = (0, 1, 7, 9, 1000, 2**31, 2**40)


def soft_links(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Lead to the cells over links: chains, circles, nowhere, through a door to another file."""
    file["cells"] = cells
    for number in range(int(rng.choice([1, 5, 40]))):
        file[f"link {number}"] = h5py.SoftLink(f"/link {number + 1}")
    file["door"] = h5py.ExternalLink(str(trap.plate), "/")
    targets = ["/cells", "/data", "/link 0", "cells/", "/door/data", "/.", "//cells", "../cells"]
    targets += ["/" + "a/" * 2000, "/\x1b[31m", "/labels"]
    file["data"] = h5py.SoftLink(one(rng, targets))
    name = one(rng, ["labels", *ID_NAMES])
    file[name] = h5py.SoftLink(one(rng, ["/door/plateIDs", f"/{name}", "/data", "/cells"]))


def external_links(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Lead to datasets of another file, by absolute or relative names, and to odd ones."""
    names = [str(trap.plate), f"../../{trap.folder.name}/{trap.plate.name}"] * 3
    names += ["\x1b]0;title\x07", "/dev/zero", "/dev/stdin", "plate.h5", "a" * 3000]
    outside = h5py.ExternalLink(one(rng, names), one(rng, ["/data", "/plateIDs", "/", "\n"]))
    if rng.random() < 0.5:
        file["data"] = outside
        return
    file["data"] = cells
    file[one(rng, ["labels", *ID_NAMES])] = outside


def external_storage(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Keep values in another file."""
    name = one(rng, [str(trap.raw), str(trap.raw), "/dev/zero", "/etc/passwd", "\x1b[31m"])
    if rng.random() < 0.5:
        place = [(name, 0, cells.nbytes)]
        file.create_dataset("data", cells.shape, cells.dtype, external=place)
        return
    file["data"] = cells
    file.create_dataset(one(rng, ID_NAMES), (N_CELLS,), "S10", external=[(name, 0, 10 * N_CELLS)])


def virtual_datasets(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Draw values from other files, or in a circle from the file itself."""
    name = "data" if rng.random() < 0.5 else "plateIDs"
    shape, dtype = (cells.shape, cells.dtype) if name == "data" else ((N_CELLS,), np.dtype("S17"))
    source = one(rng, [str(trap.plate), ".", "/dev/zero", "other.h5"])
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[:] = h5py.VirtualSource(source, name, shape=shape)
    if name != "data":
        file["data"] = cells
    file.create_virtual_dataset(name, layout)


def cyclic_groups(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Make groups hold themselves and stand where datasets should."""
    group = file.create_group("a")
    group["again"] = group
    group["root"] = file["/"]
    name = one(rng, ["data", "labels", *ID_NAMES])
    if name != "data":
        file["data"] = cells
    file[name] = one(rng, [group, file["/"]])


def references(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Put references to objects and regions where ids, labels or cells should stand."""
    held = file.create_dataset("held", data=cells)
    name = one(rng, ["data", "labels", *ID_NAMES])
    if name != "data":
        file["data"] = cells
    if rng.random() < 0.5:
        values, dtype = held.ref, h5py.ref_dtype
    else:
        values, dtype = held.regionref[:2], h5py.regionref_dtype
    file.create_dataset(name, (N_CELLS,), dtype)[:] = values


def odd_types(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Give a column or the cells a type that is neither number nor text, or an odd number."""
    dtype = one(rng, _odd_dtypes())
    name = one(rng, ["data", "labels", *ID_NAMES])
    shape = (N_CELLS,) if name != "data" else one(rng, [cells.shape, (N_CELLS,)])
    if name != "data":
        file["data"] = cells
    if isinstance(dtype, h5py.h5t.TypeID):
        h5py.h5d.create(file.id, name.encode(), dtype, h5py.h5s.create_simple(shape))
        return
    chunks = one(rng, [None, tuple(min(2, length) for length in shape)])
    column = file.create_dataset(name, shape, dtype, chunks=chunks)
    if column.dtype.kind in "uifSV":
        column[...] = np.zeros(column.shape, column.dtype)


def number_formats(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Store cells and labels as numbers of every width, sign and byte order."""
    formats = ["u1", "i1", ">u2", "<i4", ">i8", "u8", "<f2", ">f4", "f8", "g", "?", "c8"]
    dtype = np.dtype(one(rng, formats))
    file["data"] = (cells % 100).astype(dtype) if rng.random() < 0.7 else cells
    values = one(rng, [[0] * N_CELLS, [6.0] * N_CELLS, [1e30] * N_CELLS, [-1] * N_CELLS])
    with np.errstate(all="ignore"):
        file["labels"] = np.array(values).astype(one(rng, formats))


def odd_pixels(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Put a value into a pixel, or into all of them, that no camera counts."""
    values = [np.nan, np.inf, -np.inf, -1, 65536, 3e38, 1e-45, 0.5, -0.0]
    data = cells.astype(one(rng, ["f4", "f8"]))
    cell = int(rng.integers(N_CELLS))
    data[cell, int(rng.integers(2)), 3, 5] = one(rng, values)
    if rng.random() < 0.3:
        data[cell] = one(rng, values)
    file.create_dataset("data", data=data, chunks=one(rng, [None, True]))


def hostile_ids(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Write control characters, escapes, markup and paths into ids."""
    file["data"] = cells
    for name in ID_NAMES:
        text = [HOSTILE_TEXT[i] for i in rng.integers(len(HOSTILE_TEXT), size=N_CELLS)]
        raw = [value.encode() for value in text]
        if rng.random() < 0.3:
            raw[0] = b"\xff\xfe\x1b" + rng.bytes(5)
        if rng.random() < 0.5:
            file[name] = np.array(raw, dtype="S")
        else:
            kept = np.array([value.replace(b"\0", b"") for value in raw], dtype=object)
            file.create_dataset(name, data=kept, dtype=h5py.string_dtype())


def hostile_names(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Give datasets beside the cells, or in their place, names that a terminal would obey."""
    for number in rng.integers(len(HOSTILE_TEXT), size=4):
        name = HOSTILE_TEXT[number].replace("\0", "").replace("/", "|") or "."
        if name not in file:
            file[name] = h5py.SoftLink("/nowhere") if rng.random() < 0.5 else 5
    if rng.random() < 0.3:
        file["data"] = cells


def attributes(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Attach attributes of every type, size and number."""
    file["data"] = cells
    file.attrs["simulated"] = one(rng, [True, "true", b"true", 2, [1, 1], np.nan, "\x1b[31m"])
    file.attrs["\x1b[31m name\n"] = np.bytes_(b"\x1b[31m")
    file.attrs["empty"] = h5py.Empty("f4")
    file.attrs["reference"] = file["data"].ref
    file.attrs["compound"] = np.zeros(2, [("a", "u1"), ("b", "S3")])
    file.attrs.create("many", [b"x"] * 3, dtype=h5py.string_dtype())
    file["data"].attrs["of the cells"] = SECRET[:3]
    for number in range(int(rng.choice([0, 20, 2000]))):
        file.attrs[f"attribute {number}"] = number
    if rng.random() < 0.4:
        file.attrs["giant"] = np.bytes_(b"x" * int(rng.integers(1000, 64_000)))


def giant_attributes(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Attach an attribute of megabytes, which the newest format allows."""
    file["data"] = cells
    shape = tuple(one(rng, [(2**20,), (2**10, 2**10), (1, 2**21), (16,)]))
    file.attrs["giant"] = np.zeros(shape, "u1")
    file.attrs["giant text"] = np.array([b"x" * int(rng.integers(1, 2**20))] * 2)


def column_lengths(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Give columns no entries, too many, one for all, none at all, or two axes."""
    file["data"] = cells
    for name in ("labels", *ID_NAMES):
        form = int(rng.integers(5))
        if form == 0:
            length = int(one(rng, _LENGTHS))
            file.create_dataset(name, (length,), "u1", chunks=(64,), maxshape=(None,))
        elif form == 1:
            file[name] = h5py.Empty("S4")
        elif form == 2:
            file[name] = np.zeros((N_CELLS, 1), "u1")
        elif form == 3:
            file[name] = 5
        else:
            file[name] = columns()[name]


def committed_types(
    file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap
) -> None:
    """Name a type in the file and use it, or let the type stand where a dataset should."""
    file["type"] = cells.dtype
    if rng.random() < 0.5:
        file["data"] = file["type"]
        return
    file.create_dataset("data", data=cells, dtype=file["type"])
    file["labels"] = file["type"]


def same_dataset(file: h5py.File, cells: np.ndarray, rng: np.random.Generator, trap: Trap) -> None:
    """Let several names stand for one dataset."""
    file["data"] = cells
    ids = file.create_dataset("ids", data=np.arange(N_CELLS))
    for name in ID_NAMES:
        file[name] = one(rng, [file["data"], ids])


OLD_FORMAT: tuple[Build, ...] = (
    bombs.absurd_cells,
    bombs.absurd_axes,
    bombs.never_written,
    bombs.bomb_of_zeros,
    bombs.bomb_in_bombs,
    bombs.bomb_of_cells,
    bombs.one_chunk_for_all,
    soft_links,
    external_links,
    external_storage,
    virtual_datasets,
    cyclic_groups,
    references,
    odd_types,
    number_formats,
    odd_pixels,
    hostile_ids,
    hostile_names,
    attributes,
    column_lengths,
    bombs.chunk_shapes,
    bombs.skipped_filters,
    committed_types,
    same_dataset,
)
NEW_FORMAT: tuple[Build, ...] = (
    giant_attributes,
    attributes,
    bombs.chunk_shapes,
    bombs.absurd_cells,
)
"""Those that differ in the newest format."""


def _odd_dtypes() -> list[Any]:
    unusual = h5py.h5t.create(h5py.h5t.COMPOUND, 8)
    unusual.insert(b"\x1b[31m", 0, h5py.h5t.STD_I32LE)
    opaque = h5py.h5t.create(h5py.h5t.OPAQUE, 3)
    opaque.set_tag(b"\x1b[31mtag")
    wide = h5py.h5t.IEEE_F64LE.copy()
    wide.set_size(16)
    return [
        np.dtype([("a", "<u2"), ("b", "<f4")]),
        np.dtype([(f"field {i}", "u1") for i in range(300)]),
        np.dtype("V5"),
        np.dtype(("u1", (3,))),
        h5py.vlen_dtype(np.dtype("u2")),
        h5py.vlen_dtype(h5py.string_dtype()),
        h5py.enum_dtype({"ER": 0, "\x1b[31m": 1}, basetype="i"),
        h5py.string_dtype(),
        h5py.string_dtype(length=70_000),
        np.dtype("S1"),
        np.dtype("c16"),
        np.dtype("?"),
        h5py.h5t.UNIX_D32LE,
        h5py.h5t.STD_B8LE,
        unusual,
        opaque,
        wide,
    ]
