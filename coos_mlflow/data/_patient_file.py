"""What keeps HDF5 from seeing a write that fails: it corrupts its own memory when one does."""

from __future__ import annotations

import io
from typing import Any


class PatientFile(io.FileIO):
    """A file that remembers its first failed write and drops all that come after it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        try:
            while self.error is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0
