"""Make stdout and stderr safe, so that a failed print does not end a command before its work."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO, cast

_PLAIN = {"–": "-", "…": ".", "±": "+-"}
"""ASCII substitutes for the other characters that the commands and rich's tables print."""


def make_safe() -> None:
    """Replace stdout and stderr by streams that never raise, and a closed stdin by an empty one.

    A stream that was replaced before, such as by a test, is left alone.
    """
    codecs.register_error(__name__, _spelled)
    _open_closed_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for good
    if sys.stdout is sys.__stdout__:
        sys.stdout = cast(TextIO, _Safe(sys.stdout))
    if sys.stderr is sys.__stderr__:
        sys.stderr = cast(TextIO, _Safe(sys.stderr))


def lost_output() -> str | None:
    """Return the reason why output to stdout was lost, or None if it was not.

    A reader that closes its pipe early, as `head` does, is no loss.
    """
    sys.stdout.flush()
    error: OSError | None = getattr(sys.stdout, "error", None)
    if error is None or error.errno == errno.EPIPE:
        return None
    return "it is closed" if error.errno == errno.EBADF else str(error.strerror)


class _Safe(io.TextIOBase):
    """A text stream that remembers its first error, and then silently drops all output.

    It has no `buffer`, since typer would write UTF-8 into that even if the encoding is ASCII.

    Parameters
    ----------
    stream : TextIO or None
        The stream that Python opened. None stands for a closed stream: all writes fail.
    """

    def __init__(self, stream: TextIO | None) -> None:
        if stream is None:
            stream = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: PTH123, SIM115
        self._stream = cast(io.TextIOWrapper, stream)
        self._stream.reconfigure(errors=__name__)
        self.error: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Name of the encoding; rich draws tables in ASCII if it is not UTF-8."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write text, or drop it if an earlier write has failed."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of its file."""
        return self._stream.fileno()

    def _try(self, step: Callable[[], object]) -> None:
        if self.error is None:
            try:
                step()
            except OSError as error:
                self.error = error


def _open_closed_descriptors() -> None:
    """Open each closed file descriptor of 0 to 2 on the null device.

    Otherwise the next opened file would get that number, and a library would print into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by ASCII substitutes or Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (char.encode("ascii", "backslashreplace").decode() for char in lacking)
    plain = (_PLAIN.get(char, other) for char, other in zip(lacking, escaped, strict=True))
    return "".join(plain), error.end
