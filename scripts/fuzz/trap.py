"""Files that no plate may make a command open, and a watch that notices when one does."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import h5py
import numpy as np

from fuzz.seeds import cells

SECRET = "CANARY-5d41c0ffee"
"""Stands in every file of the trap, and so must stand in no output."""

_IN_ACCESS, _IN_OPEN = 0x1, 0x20


class Trap:
    """A folder of readable files that links of hostile plates point to; a context manager.

    Parameters
    ----------
    folder : Path
        To be made.

    Attributes
    ----------
    plate, raw : Path
        A sound plate, and pixels alone.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.plate, self.raw = folder / "other.h5", folder / "raw.bin"
        with h5py.File(self.plate, "w") as file:
            file["data"] = cells()
            file["plateIDs"] = np.array([SECRET.encode()] * len(cells()))
        self.raw.write_bytes(SECRET.encode() * 10_000)

    def __enter__(self) -> Trap:
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in (self.plate, self.raw):
            added = libc.inotify_add_watch(self._watch, bytes(path), _IN_OPEN | _IN_ACCESS)
            if self._watch < 0 or added < 0:
                raise OSError(ctypes.get_errno(), "the trap cannot be watched")
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._watch)

    def sprung(self) -> bool:
        """Tell whether a file of the trap was opened since the last call, by any process."""
        try:
            return bool(os.read(self._watch, 2**16))
        except BlockingIOError:
            return False
