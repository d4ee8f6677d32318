"""Parquet files written byte by byte, which claim one thing here and another there.

Structs of Thrift's compact protocol, fields as in parquet.thrift of apache/parquet-format; what no
writer writes: a page that lies to its file, fields that come twice, row groups without columns.
"""

from __future__ import annotations

import struct

CELL = 8192
"""Values that a cell has, and that every bomb pretends to hold."""

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_DATA_PAGE, _DICTIONARY_PAGE = 5, 7
_RLE_DICTIONARY, _RLE = 8, 3
_MAGIC = b"PAR1"


class Fields:
    """A struct being written, field by field."""

    def __init__(self) -> None:
        self._bytes, self._last = b"", 0

    def add(self, field: int, kind: int, raw: bytes, *, long: bool = False) -> Fields:
        """Append a field; `long` spells its id out, which need not ascend then."""
        step = field - self._last
        short = 0 < step < 16 and not long
        self._bytes += (bytes([step << 4 | kind]) if short else bytes([kind]) + zigzag(field)) + raw
        self._last = field
        return self

    def number(self, field: int, value: int, kind: int = _I32) -> Fields:
        """Append an integer."""
        return self.add(field, kind, zigzag(value))

    def text(self, field: int, value: bytes) -> Fields:
        """Append bytes of a length."""
        return self.add(field, _BINARY, varint(len(value)) + value)

    def struct(self, field: int, fields: Fields, *, long: bool = False) -> Fields:
        """Append a struct."""
        return self.add(field, _STRUCT, fields.end(), long=long)

    def list(self, field: int, kind: int, items: list[bytes]) -> Fields:
        """Append a list of written values."""
        short = len(items) < 15
        head = bytes([(len(items) if short else 15) << 4 | kind])
        head += b"" if short else varint(len(items))
        return self.add(field, _LIST, head + b"".join(items))

    def end(self) -> bytes:
        """Return what was written, and its end."""
        return self._bytes + b"\0"


def varint(number: int) -> bytes:
    out = []
    while number >> 7:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> bytes:
    return varint(number << 1)


def file(pages: bytes, groups: list[bytes], rows: int = 1) -> bytes:
    """Return a file of one column of lists of 32-bit integers."""
    schema = [
        Fields().text(4, b"schema").number(5, 1).end(),
        Fields().number(3, 0).text(4, b"cell").number(5, 1).number(6, 3).end(),
        Fields().number(3, 2).text(4, b"list").number(5, 1).end(),
        Fields().number(1, 1).number(3, 0).text(4, b"element").end(),
    ]
    header = Fields().number(1, 1).list(2, _STRUCT, schema).number(3, rows, _I64)
    footer = header.list(4, _STRUCT, groups).text(6, b"x").end()
    return _MAGIC + pages + footer + struct.pack("<I", len(footer)) + _MAGIC


def group(values: int, size: int, at: int, dictionary: int | None = None) -> bytes:
    """Return a row group of one row, whose column takes `size` bytes from `at`."""
    names = [varint(len(name)) + name for name in (b"cell", b"list", b"element")]
    column = Fields().number(1, 1).list(2, _I32, [zigzag(0), zigzag(_RLE)])
    column = column.list(3, _BINARY, names).number(4, 0).number(5, values, _I64)
    column = column.number(6, size, _I64).number(7, size, _I64).number(9, at, _I64)
    if dictionary is not None:
        column = column.number(11, dictionary, _I64)
    chunk = Fields().number(2, 4, _I64).struct(3, column).end()
    return Fields().list(1, _STRUCT, [chunk]).number(2, size, _I64).number(3, 1, _I64).end()


def _values(n: int) -> Fields:
    coded = Fields().number(1, n).number(2, _RLE_DICTIONARY)
    return coded.number(3, _RLE).number(4, _RLE)


def run(values: int, header: str = "honest") -> bytes:
    """Return a file whose only page holds one run of `values` numbers 7, and its header `CELL`.

    Parameters
    ----------
    header : str
        "honest"; "twice": an id of 65541, which a reader of 16 bits takes for a second 5; "type":
        a type of 2**32, which a reader of 32 bits takes for 0, that of a page of data.
    """
    repetition = varint(1 << 1) + b"\0" + varint((values - 1) << 1) + b"\1"
    definition = varint(values << 1) + b"\1"
    levels = b"".join(struct.pack("<I", len(part)) + part for part in (repetition, definition))
    content = levels + b"\1" + varint(values << 1) + b"\0"
    sizes = Fields()
    sizes = sizes.add(1, _I32, varint(1 << 32)) if header == "type" else sizes.number(1, 0)
    sizes = sizes.number(2, len(content)).number(3, len(content))
    if header == "twice":
        sizes = sizes.struct(_DATA_PAGE, _values(CELL))
        sizes = sizes.struct(2**16 + _DATA_PAGE, _values(values), long=True)
    else:
        sizes = sizes.struct(_DATA_PAGE, _values(values))
    if header == "type":
        sizes = sizes.struct(0, _values(CELL), long=True)
    seven = struct.pack("<i", 7)
    first = Fields().number(1, 2).number(2, len(seven)).number(3, len(seven))
    first_page = first.struct(_DICTIONARY_PAGE, Fields().number(1, 1).number(2, 0)).end() + seven
    pages = first_page + sizes.end() + content
    return file(pages, [group(CELL, len(pages), 4 + len(first_page), dictionary=4)])


def empty_pages(pages: int, groups: int) -> bytes:
    """Return a file whose row groups all have the same bytes, pages of no values."""
    nothing = Fields().number(1, 0).number(2, 0).number(3, 0)
    nothing = nothing.struct(
        _DATA_PAGE, Fields().number(1, 0).number(2, 0).number(3, 3).number(4, 3)
    )
    body = nothing.end() * pages
    return file(body, [group(0, len(body), 4)] * groups)


def no_columns() -> bytes:
    """Return a file with a row group that has none."""
    nothing = Fields().list(1, _STRUCT, []).number(2, 0, _I64).number(3, 1, _I64).end()
    return file(b"", [nothing])


def many_columns(columns: int, groups: int) -> bytes:
    """Return a file whose header of three bytes a column takes hundreds each to read."""
    column = Fields().number(2, 0, _I64).end()
    wide = Fields().list(1, _STRUCT, [column] * columns).number(2, 0, _I64)
    return file(b"", [wide.number(3, 1, _I64).end()] * groups)


BOMBS = {
    "a run of 10**7 behind a header of 8192": lambda: run(10**7),
    "a field that comes twice": lambda: run(10**7, "twice"),
    "a type of 33 bits": lambda: run(10**7, "type"),
    "empty pages": lambda: empty_pages(20_000, 1),
    "row groups that share their pages": lambda: empty_pages(2_000, 100),
    "a row group without columns": no_columns,
    "a header of many columns": lambda: many_columns(65_000, 4),
}
"""By what is wrong with them; each is refused at once, or takes seconds or gigabytes."""
