"""What the pages of a Parquet column say of themselves, read without unpacking any.

Arrow believes a page: one of 300 bytes that says it holds 10**9 values of one run takes 9 GB to
unpack, whatever the file's own header says. So the headers of all pages are read first. They are
structs of Thrift's compact protocol (apache/thrift, doc/specs/thrift-compact-protocol.md; fields:
apache/parquet-format, src/main/thrift/parquet.thrift, PageHeader).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_DICTIONARY = 2
"""The type of a page of a dictionary."""

_TYPE, _UNPACKED, _PACKED = 1, 2, 3
_HEADERS = {0: 5, _DICTIONARY: 7, 3: 8}
"""By the type of a page (data, dictionary, data of version 2), the field that says more of it."""
_VALUES = 1

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS = _, _INT32, _ = (4, 5, 6)
_LARGEST_INT16, _LARGEST_INT32 = 2**15 - 1, 2**31 - 1
_MOST_DEPTH = 8
_MOST_VARINT = 10


class _Int32(NamedTuple):
    value: int


class Page(NamedTuple):
    """The header of a page.

    Parameters
    ----------
    values : int
        That it says to hold.
    unpacked : int
        Bytes that it says to take.
    is_data : bool
        False for a dictionary.
    """

    values: int
    unpacked: int
    is_data: bool


def pages(body: bytes, start: int, stop: int) -> Iterator[Page]:
    """Yield the headers of the pages between two places of a file.

    Raises
    ------
    ValueError
        For what is no sequence of pages that ends at `stop`.
    """
    while start < stop:
        header, start = _struct(body, start, 0)
        kind, packed, unpacked = (_number(header, field) for field in (_TYPE, _PACKED, _UNPACKED))
        if kind not in _HEADERS:
            raise ValueError("a page of a type that holds no values")
        more = header.get(_HEADERS[kind])
        if not isinstance(more, dict):
            raise ValueError("a page without the header of its type")
        yield Page(_number(more, _VALUES), unpacked, kind != _DICTIONARY)
        start += packed
    if start != stop:
        raise ValueError("pages beyond their column")


def _number(fields: dict[int, Any], field: int) -> int:
    """Return a number of 32 bits that is not negative, of which Arrow's reader sees no other."""
    found = fields.get(field)
    if not isinstance(found, _Int32) or not 0 <= found.value <= _LARGEST_INT32:
        raise ValueError("a page without its sizes")
    return found.value


def _struct(body: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Return the integers and structs of a struct by field, and where it ends."""
    if depth > _MOST_DEPTH:
        raise ValueError("structs nested too deeply")
    found: dict[int, Any] = {}
    field = 0
    while (head := _byte(body, at)) != 0:
        at += 1
        kind, step = head & 0x0F, head >> 4
        before = field
        if step:
            field += step
        else:
            field, at = _integer(body, at)
        # Arrow's reader cuts an id to 16 bits, so that a later one could stand for an earlier.
        if not before < field <= _LARGEST_INT16:
            raise ValueError("fields that do not ascend")
        found[field], at = _value(body, at, kind, depth)
    return found, at + 1


def _value(body: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return None, at
    if kind in _INTEGERS:
        number, at = _integer(body, at)
        return (_Int32(number) if kind == _INT32 else None), at
    if kind == _STRUCT:
        return _struct(body, at, depth + 1)
    if kind == _BINARY:
        length, at = _varint(body, at)
        return None, at + length
    if kind in (_BYTE, _DOUBLE):
        return None, at + (1 if kind == _BYTE else 8)
    raise ValueError("a field that no page has")  # pages hold no lists and no maps


def _integer(body: bytes, at: int) -> tuple[int, int]:
    zigzag, at = _varint(body, at)
    return (zigzag >> 1) ^ -(zigzag & 1), at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place in range(_MOST_VARINT):
        byte = _byte(body, at + place)
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number that does not end")


def _byte(body: bytes, at: int) -> int:
    if not 0 <= at < len(body):
        raise ValueError("a page beyond the file")
    return body[at]
