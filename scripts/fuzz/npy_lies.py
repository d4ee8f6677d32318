"""Bodies in NumPy's `.npy` format whose headers lie: about lengths, shapes, dtypes, or themselves.

Headers are written as text here, since NumPy writes none of these.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable

import numpy as np

from fuzz.seeds import cells

SHAPE = "(1, 2, 64, 64)"


def header(text: str, version: int = 1, length: int | None = None) -> bytes:
    """Return the magic, the length (that of the text by default) and the text of a header."""
    raw = text.encode("latin-1")
    said = struct.pack("<H" if version == 1 else "<I", len(raw) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + said + raw


def npy(
    descr: str = "'<u2'", shape: str = SHAPE, order: str = "False", data: bytes | None = None
) -> bytes:
    """Return a body of which each part of the header may be anything; one cell follows it."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"
    return header(text) + (cells(1).tobytes() if data is None else data)


def pickled() -> bytes:
    """Return an array of objects as NumPy writes it: a header before a pickle."""
    sink = io.BytesIO()
    np.save(sink, cells(1).astype(object), allow_pickle=True)
    return sink.getvalue()


def zipped() -> bytes:
    """Return an `.npz` file, which is a zip file of arrays."""
    sink = io.BytesIO()
    np.savez_compressed(sink, cells(1))
    return sink.getvalue()


LIES: dict[str, Callable[[], bytes]] = {
    "2**60 cells": lambda: npy(shape=f"({2**60}, 2, 64, 64)"),
    "a number of cells of 180 digits": lambda: npy(shape=f"({'9' * 180}, 2, 64, 64)"),
    "more cells than a request may have": lambda: npy(shape="(2049, 2, 64, 64)"),
    "more cells than there are": lambda: npy(shape="(2, 2, 64, 64)"),
    "fewer cells than there are": lambda: npy(shape="(1, 2, 64, 64)", data=bytes(20_000)),
    "a negative number of cells": lambda: npy(shape="(-1, 2, 64, 64)"),
    "axes whose product overflows to that of a cell": lambda: npy(shape=f"({2**64 + 1}, 8192)"),
    "two negative axes": lambda: npy(shape="(1, 2, -64, -64)"),
    "no cells": lambda: npy(shape="(0, 2, 64, 64)", data=b""),
    "no axes": lambda: npy(shape="()"),
    "sixty axes": lambda: npy(shape=f"({'1,' * 60})"),
    "a shape of truth values": lambda: npy(shape="(False, 2, 64, 64)"),
    "a shape of fractions": lambda: npy(shape="(1.0, 2, 64, 64)"),
    "a list for a shape": lambda: npy(shape="[1, 2, 64, 64]"),
    "channels last": lambda: npy(shape="(1, 64, 64, 2)"),
    "an order that is neither": lambda: npy(order="2"),
    "objects": lambda: npy("'|O'"),
    "a pickle": pickled,
    "a pickle alone": lambda: pickle.dumps(cells(1)),
    "text": lambda: npy("'<U2'"),
    "times": lambda: npy("'<M8[ns]'"),
    "complex numbers": lambda: npy("'<c8'"),
    "truth values": lambda: npy("'|b1'"),
    "a structure": lambda: npy("[('a\\x1b[31m', '<u2')]"),
    "an array in each place": lambda: npy("('<u2', (2000000000,))"),
    "a structure in structures": lambda: npy("[('a'," * 20 + "'<u2'" + ")]" * 20),
    "a dtype of no bytes": lambda: npy("'|V0'", data=b""),
    "a dtype of 2 GiB": lambda: npy("'|S2147483647'"),
    "wider integers than there are": lambda: npy("'<u16'"),
    "a dtype that is a number": lambda: npy("7"),
    "an empty dtype": lambda: npy("''"),
    "no header": lambda: header(""),
    "a list": lambda: header("[1, 2]"),
    "no keys": lambda: header("{}"),
    "keys of several kinds": lambda: header("{1: 2, 'a': 3}"),
    "code": lambda: header("__import__('os').getpid()"),
    "brackets in brackets": lambda: header("(" * 250),
    "signs before signs": lambda: header("-" * 250 + "1"),
    "a text that does not end": lambda: header("{'descr': '''<u2"),
    "an odd indent": lambda: header("{'a': 1L\n\t \n  x\n y}"),
    "a zero byte": lambda: header("{'descr'\0: 1}"),
    "a header of 60 kB": lambda: header(" " * 60_000),
    "a header of 16 MiB": lambda: header(" " * 2**24, version=2),
    "a header that is cut off": lambda: header("{'descr'", length=200),
    "a header of 4 GiB": lambda: header("{}", version=2, length=2**32 - 1),
    "version 3": lambda: header("{}", version=2).replace(b"Y\2", b"Y\3"),
    "version 255": lambda: header("{}", version=2).replace(b"Y\2", b"Y\xff"),
    "the magic alone": lambda: b"\x93NUMPY",
    "half of the magic": lambda: b"\x93NU",
    "a zip file": zipped,
}
"""By what is wrong with them; each is refused by its header, in no time and no memory."""
