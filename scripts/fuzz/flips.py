"""Mutations of the bytes of a sound plate: each takes a seed and a generator, returns new bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from fuzz.seeds import Seed

SIGNATURES = {
    "b-tree": (b"TREE", b"SNOD", b"BTHD", b"BTIN", b"BTLF"),
    "heap": (b"HEAP", b"GCOL", b"FRHP", b"FHDB", b"FHIB", b"FSHD", b"FSSE"),
    "chunk index": (b"FAHD", b"FADB", b"EAHD", b"EAIB", b"EASB", b"EADB", b"TREE", b"BTLF"),
    "object header": (b"OHDR", b"OCHK"),
}
"""What structures begin with (HDF5 File Format Specification 3.0)."""

_STRUCTURE_BYTES = 160
_HEADER_BYTES = 272
_SUPERBLOCK_BYTES = 96
_EXTREMES = (0, 1, 2**7, 2**15, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)

Mutation = Callable[[Seed, np.random.Generator], bytes]


def length(seed: Seed, rng: np.random.Generator) -> bytes:
    """Cut the file off somewhere, often in its first 4 kB, or append what does not belong to it."""
    if rng.random() < 0.1:
        return seed.content + rng.bytes(int(rng.integers(1, 5000)))
    end = 4096 if rng.random() < 0.3 else len(seed.content)
    return seed.content[: int(rng.integers(1, end))]


def flipped_bits(seed: Seed, rng: np.random.Generator) -> bytes:
    """Flip one to thirty bits anywhere."""
    content = bytearray(seed.content)
    for _ in range(int(rng.integers(1, 31))):
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def random_bytes(seed: Seed, rng: np.random.Generator) -> bytes:
    """Replace a few bytes of what is no pixel."""
    return _scribble(seed, rng, _structural(seed))


def superblock(seed: Seed, rng: np.random.Generator) -> bytes:
    """Damage the superblock."""
    start = 512 if seed.name == "user_block" else 0
    return _scribble(seed, rng, [(start + 8, start + _SUPERBLOCK_BYTES)])


def object_headers(seed: Seed, rng: np.random.Generator) -> bytes:
    """Damage the header of the root or of a dataset."""
    starts = [*seed.headers, *_found(seed, "object header")]
    return _scribble(seed, rng, [(start, start + _HEADER_BYTES) for start in starts])


def b_trees(seed: Seed, rng: np.random.Generator) -> bytes:
    """Damage a B-tree or a node of symbols."""
    return _damage_one(seed, rng, "b-tree")


def heaps(seed: Seed, rng: np.random.Generator) -> bytes:
    """Damage a heap of names, text or attributes."""
    return _damage_one(seed, rng, "heap")


def chunk_index(seed: Seed, rng: np.random.Generator) -> bytes:
    """Damage what says where chunks are."""
    return _damage_one(seed, rng, "chunk index")


def extreme_numbers(seed: Seed, rng: np.random.Generator) -> bytes:
    """Put a number that overflows something where another number stands."""
    content = bytearray(seed.content)
    for _ in range(int(rng.integers(1, 4))):
        size = int(rng.choice([1, 2, 4, 8]))
        start, end = _one_of(_structural(seed), rng)
        at = int(rng.integers(start, max(start + 1, end - size)))
        number = (
            _EXTREMES[int(rng.integers(len(_EXTREMES)))] if rng.random() < 0.8 else len(content)
        )
        content[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(content[: len(seed.content)])


def redirected(seed: Seed, rng: np.random.Generator) -> bytes:
    """Let addresses point to another structure: circles, and one block used twice."""
    content = bytearray(seed.content)
    base = 512 if seed.name == "user_block" else 0
    places = [*seed.headers, *(start for kind in SIGNATURES for start in _found(seed, kind))]
    places += [start for start, _ in seed.pixels]
    for _ in range(int(rng.integers(1, 4))):
        old, new = (places[int(rng.integers(len(places)))] - base for _ in range(2))
        at = [m.start() for m in re.finditer(re.escape(old.to_bytes(8, "little")), seed.content)]
        if at:
            where = at[int(rng.integers(len(at)))]
            content[where : where + 8] = new.to_bytes(8, "little")
    return bytes(content)


def swapped(seed: Seed, rng: np.random.Generator) -> bytes:
    """Exchange two blocks."""
    size = int(2 ** rng.integers(3, 12))
    content = bytearray(seed.content)
    a, b = (int(at) for at in rng.integers(0, len(content) - size, 2))
    content[a : a + size], content[b : b + size] = (
        content[b : b + size],
        content[a : a + size],
    )
    return bytes(content[: len(seed.content)])


def doubled(seed: Seed, rng: np.random.Generator) -> bytes:
    """Repeat a range, so that all behind it lies elsewhere."""
    a = int(rng.integers(0, len(seed.content)))
    size = int(2 ** rng.integers(0, 12))
    return seed.content[: a + size] + seed.content[a:]


def zeroed(seed: Seed, rng: np.random.Generator) -> bytes:
    """Overwrite a range of what is no pixel with zeros or ones."""
    start, end = _one_of(_structural(seed), rng)
    at = int(rng.integers(start, end))
    size = int(2 ** rng.integers(2, 10))
    filler = b"\0" if rng.random() < 0.6 else b"\xff"
    content = seed.content[:at] + filler * size + seed.content[at + size :]
    return content[: len(seed.content)]


def resealed(seed: Seed, rng: np.random.Generator) -> bytes:
    """Damage an object header of the newest format and put its checksum right again."""
    starts = [at for at in _found(seed, "object header") if seed.content[at : at + 4] == b"OHDR"]
    if not starts:
        return random_bytes(seed, rng)
    content = bytearray(seed.content)
    start = starts[int(rng.integers(len(starts)))]
    end = _end_of_header(seed.content, start)
    for _ in range(int(rng.integers(1, 4))):
        content[int(rng.integers(start + 6, end))] = int(rng.integers(256))
    content[end : end + 4] = lookup3(bytes(content[start:end])).to_bytes(4, "little")
    return bytes(content)


MUTATIONS: tuple[Mutation, ...] = (
    length,
    flipped_bits,
    random_bytes,
    superblock,
    object_headers,
    b_trees,
    heaps,
    chunk_index,
    extreme_numbers,
    redirected,
    swapped,
    doubled,
    zeroed,
    resealed,
)


def lookup3(data: bytes) -> int:
    """Return Jenkins' hash of HDF5's metadata (format specification 3.0, section IX.B)."""
    a = b = c = (0xDEADBEEF + len(data)) & _32
    position = 0
    while len(data) - position > 12:
        a, b, c = _mixed(*_added(a, b, c, data[position : position + 12]))
        position += 12
    rest = data[position:]
    if not rest:
        return c
    return _finished(*_added(a, b, c, rest.ljust(12, b"\0")))


_32 = 0xFFFFFFFF


def _added(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    words = np.frombuffer(block, "<u4").tolist()
    return (a + words[0]) & _32, (b + words[1]) & _32, (c + words[2]) & _32


def _rotated(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _32


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _32) ^ _rotated(c, by)
        c = (c + b) & _32
        a, b, c = b, c, a
    return a, b, c


def _finished(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, by)) & _32
        a, b, c = b, c, a
    return b


def _end_of_header(content: bytes, start: int) -> int:
    """Return where the checksum of a header of the newest format stands."""
    flags = content[start + 5]
    at = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    return at + width + int.from_bytes(content[at : at + width], "little")


def _structural(seed: Seed) -> list[tuple[int, int]]:
    """Return the ranges that hold no pixels."""
    ends = [0, *(end for _, end in seed.pixels)]
    starts = [*(start for start, _ in seed.pixels), len(seed.content)]
    return [(a, b) for a, b in zip(ends, starts, strict=True) if b - a > 8]


def _found(seed: Seed, kind: str) -> list[int]:
    pattern = b"|".join(map(re.escape, SIGNATURES[kind]))
    return [match.start() for match in re.finditer(pattern, seed.content)]


def _damage_one(seed: Seed, rng: np.random.Generator, kind: str) -> bytes:
    starts = _found(seed, kind)
    if not starts:
        return random_bytes(seed, rng)
    start = starts[int(rng.integers(len(starts)))]
    return _scribble(seed, rng, [(start + 4, start + _STRUCTURE_BYTES)])


def _scribble(seed: Seed, rng: np.random.Generator, ranges: Sequence[tuple[int, int]]) -> bytes:
    content = bytearray(seed.content)
    for _ in range(int(rng.integers(1, 5))):
        start, end = _one_of(ranges, rng)
        at = int(rng.integers(start, min(end, len(content))))
        content[at] = int(rng.integers(256))
    return bytes(content)


def _one_of(ranges: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[int, int]:
    return ranges[int(rng.integers(len(ranges)))]
