"""The table of all mutations, and the plate that a seed and a number stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from fuzz import bombs, flips, structures
from fuzz.seeds import Seed, cells
from fuzz.trap import Trap

FLIPS_OF_TEN = 6
"""Of ten mutants, those whose bytes are damaged; the others are hostile by design."""


class Mutant(NamedTuple):
    """One plate to be tried."""

    number: int
    mutation: str
    make: Callable[[Path], None]


def names() -> list[str]:
    """Return the names of all mutations."""
    return [*_FLIPS, *_BUILDS]


def mutant(number: int, seed: int, plates: list[Seed], trap: Trap) -> Mutant:
    """Return the plate of a number: the same for the same seed, whatever came before it."""
    rng = np.random.default_rng([seed, number])
    turn, kind = divmod(number, 10)
    if kind < FLIPS_OF_TEN:
        position = turn * FLIPS_OF_TEN + kind
        name, flip = list(_FLIPS.items())[position % len(_FLIPS)]
        plate = plates[position // len(_FLIPS) % len(plates)]
        return Mutant(number, name, lambda path: _write(path, flip(plate, rng)))
    position = turn * (10 - FLIPS_OF_TEN) + kind - FLIPS_OF_TEN
    name, (build, libver) = list(_BUILDS.items())[position % len(_BUILDS)]
    return Mutant(number, name, lambda path: _build(path, build, libver, rng, trap))


_FLIPS = {flip.__name__: flip for flip in flips.MUTATIONS}
_BUILDS = {build.__name__: (build, "earliest") for build in structures.OLD_FORMAT} | {
    f"{build.__name__} (newest)": (build, "latest") for build in structures.NEW_FORMAT
}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _build(
    path: Path, build: structures.Build, libver: str, rng: np.random.Generator, trap: Trap
) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        build(file, cells(), rng, trap)
    if build is bombs.one_chunk_for_all:
        bombs.share_one_chunk(path)
