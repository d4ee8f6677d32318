"""Undo HDF5's filter scaleoffset, which stores the difference of each number to the smallest one.

The differences of a chunk all have the same, smallest sufficient number of bits. A chunk begins
with 21 bytes: the number of bits, the size of the smallest number in bytes, and the smallest number
(H5Zscaleoffset.c of HDF5).
"""

from __future__ import annotations

import numpy as np

_FLOATS = 0  # H5Z_SO_FLOAT_DSCALE, the type of scaling for floats
_HEAD = 21
_FILL = 8  # index of the first parameter with the fill value
_BLOCK = 2**16


def keeps_all_bits(parameters: tuple[int, ...]) -> bool:
    """Return whether the parameters keep all bits, so that scaleoffset leaves a chunk unchanged."""
    scaling, bits, _, _, size = parameters[:5] if len(parameters) >= 5 else (0,) * 5
    # HDF5 reads a larger number of bits as negative, and then it does unpack.
    return scaling != _FLOATS and bits == 8 * size and bits in (8, 16, 32, 64)


def without_scale_offset(
    packed: bytes | bytearray, parameters: tuple[int, ...], limit: int
) -> bytes | bytearray:
    """Unpack the numbers of a chunk, in the byte order of the file.

    Raises
    ------
    ValueError
        For parameters that HDF5 does not write, and for missing bits.
    """
    if keeps_all_bits(parameters):
        return packed
    if len(parameters) < _FILL:
        raise ValueError(f"{len(parameters)} parameters")
    scaling, factor, count, _, size, _, order, has_fill = parameters[:_FILL]
    if size not in (1, 2, 4, 8) or (scaling == _FLOATS and size < 4) or count * size > limit:
        raise ValueError(f"{count:,} numbers of {size} bytes")
    bits = int.from_bytes(packed[:4], "little")
    needed = count * size if bits == 8 * size else count * bits // 8 + 1
    if bits > 8 * size or len(packed) < _HEAD + needed:
        raise ValueError(f"bits are missing of {count:,} numbers of {bits} bits")
    content = np.frombuffer(packed, np.uint8, needed, _HEAD)
    if bits == 8 * size:
        numbers = content.view(f"<u{size}")
    else:
        numbers = _of_bits(content, count, bits, size)
        smallest = np.frombuffer(packed[5:13], f"<u{size}")[:1]
        fill = np.array(parameters[_FILL:], "<u4").view(f"<u{size}")[:1] if has_fill else None
        numbers = _shifted(numbers, bits, smallest, fill, factor if scaling == _FLOATS else None)
    return numbers.astype(f"{'>' if order else '<'}u{size}", copy=False).tobytes()


def _of_bits(content: np.ndarray, count: int, bits: int, size: int) -> np.ndarray:
    """Read consecutive numbers of `bits` bits each, highest bit first."""
    numbers = np.empty((count, size), np.uint8)
    for first in range(0, count, _BLOCK):  # in blocks, because each bit takes a byte here
        length = min(_BLOCK, count - first)
        wide = np.zeros((length, 8 * size), np.uint8)
        part = np.unpackbits(content[first * bits // 8 :], count=length * bits)
        wide[:, 8 * size - bits :] = part.reshape(length, bits)
        numbers[first : first + length] = np.packbits(wide, axis=1)
    return numbers.view(f">u{size}")[:, 0].astype(f"<u{size}")


def _shifted(
    numbers: np.ndarray,
    bits: int,
    smallest: np.ndarray,
    fill: np.ndarray | None,
    decimals: int | None,
) -> np.ndarray:
    """Add the smallest number to each difference.

    A difference with all bits set stands for the fill value, if there is one. Floats were
    multiplied by a power of ten and rounded, so their differences are divided by it first.
    """
    if decimals is None:
        shifted = numbers + smallest
    else:
        kind = np.dtype(f"f{numbers.itemsize}").type
        with np.errstate(all="ignore"):
            power = kind(np.float64(10) ** np.int32(np.uint32(decimals).view(np.int32)))
            floats = numbers.astype(kind) / power + smallest.view(kind)
        shifted = floats.view(numbers.dtype)
    if fill is not None:
        shifted[numbers == 2**bits - 1] = fill
    return shifted
