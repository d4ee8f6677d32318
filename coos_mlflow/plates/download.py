"""Download a file of known size, and resume after a lost connection.

Open this module to change retries and timeouts. `coos7` uses it to fetch the data set.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import requests

from coos_mlflow.errors import CoosError, DownloadError, OutputError

TIMEOUT_SECONDS = (10.0, 60.0)
"""Longest time to connect, and longest time between two blocks."""

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Waits after successive attempts without any bytes. An attempt with bytes restarts the list."""

BLOCK_BYTES = 2**16
"""Bytes read at once. A lost connection loses the block that was being read."""

_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)


class ResumingDownloader:
    """A pooch downloader that resumes after a lost connection.

    Parameters
    ----------
    size : int
        Size of the complete file in bytes.
    part : Path
        File for the bytes received so far. It is kept when the download fails. Its name should
        contain the checksum, so that a changed file never continues an old one.
    on_progress : callable or None
        Called with the bytes received since its last call; negative when a server starts over.
    """

    def __init__(self, size: int, part: Path, on_progress: Callable[[int], None] | None) -> None:
        self._size, self._part = size, part
        self._advance = on_progress or (lambda n: None)

    def __call__(self, url: str, output_file: str, pooch_object: object = None) -> None:
        """Download `url`, and rename the file to `output_file` once it is complete."""
        waits = iter(RETRY_SECONDS)
        with writing(self._part):
            self._part.touch()
            while (before := bytes_in(self._part)) != self._size:
                problem = self._attempt(url, before)
                came = bytes_in(self._part)
                if came > before:
                    waits = iter(RETRY_SECONDS)
                elif (wait := next(waits, None)) is None:
                    raise DownloadError(
                        f"{url}: {problem} after {came:,} of {self._size:,} bytes; "
                        "run the command again to go on from there."
                    )
                else:
                    time.sleep(wait)
            self._part.replace(output_file)

    def _attempt(self, url: str, have: int) -> str:
        """Append the bytes that the server sends, and return the reason why they ended."""
        if have > self._size:
            self._part.unlink()
            have = 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
                if answer.status_code in _PASSING_STATUS:
                    return f"the server answers {answer.status_code} {answer.reason}"
                self._append(answer, have)
        except requests.exceptions.ChunkedEncodingError:
            return "the connection was cut"
        except requests.RequestException as error:
            return reason_of(error)
        return "the connection was cut"

    def _append(self, answer: requests.Response, have: int) -> None:
        resumed = answer.status_code == requests.codes.partial_content
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise DownloadError(f"{answer.url}: another part of the file came than was asked for.")
        if not resumed and answer.status_code != requests.codes.ok:
            raise DownloadError(
                f"{answer.url}: status {answer.status_code} {answer.reason}, expected 200."
            )
        if not resumed:
            self._advance(-have)
            have = 0
        with self._part.open("ab" if resumed else "wb") as part:
            for block in answer.iter_content(BLOCK_BYTES):
                have += len(block)
                if have > self._size:
                    part.truncate(0)
                    raise DownloadError(
                        f"{answer.url}: more than {self._size:,} bytes came, "
                        "the size that was announced."
                    )
                part.write(block)
                self._advance(len(block))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while a path is written into an OutputError."""
    try:
        yield
    except (CoosError, filelock.Timeout):
        raise
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "no space left on the disk" if full else error.strerror or error
        raise OutputError(f"{path}: cannot be written ({reason}).") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder, and lock it against downloads by other processes."""
    lock = filelock.FileLock(folder / ".download.lock", timeout=0)
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except filelock.Timeout as error:
        raise DownloadError(f"{folder}: another download into it is running.") from error
    try:
        with writing(folder):
            yield
    finally:
        lock.release()


def bytes_in(path: Path) -> int:
    """Return the size of a file, or 0 if there is no such file."""
    return path.stat().st_size if path.is_file() else 0


def reason_of(error: Exception) -> str:
    """Return in a few words why a request failed."""
    if isinstance(error, requests.Timeout):
        return "it took too long"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached or hung up"
    return str(error).partition("\n")[0][:200] or type(error).__name__
