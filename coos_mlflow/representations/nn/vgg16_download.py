"""Download a published file of VGG16's weights, and verify it by its SHA-256."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coos_mlflow.errors import DataError, DownloadError, OutputError

# The download modules are imported where they are used: a served model carries its weights and
# needs none of them.

_BY_HAND = "`coos weights vgg16 --from FILE` takes a file that is here instead"


@dataclass(frozen=True)
class PublishedFile:
    """A file on a public server.

    Parameters
    ----------
    title : str
        Name in messages and in the source of weights.
    licence : str
        Of the file as a whole; empty where it is that of the weights.
    url : str
    sha256 : str
        First hexadecimal digits of the file's SHA-256.
    megabytes : int
        Approximate size, for messages.
    """

    title: str
    licence: str
    url: str
    sha256: str
    megabytes: int


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits.

    Raises
    ------
    DataError
        Where the file cannot be read.
    """
    import pooch

    try:
        return str(pooch.file_hash(str(file), alg="sha256"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error


@contextmanager
def fetched(
    published: PublishedFile, folder: Path, on_progress: Callable[[int], None] | None = None
) -> Iterator[Path]:
    """Download a file, and delete it at the end.

    Parameters
    ----------
    published : PublishedFile
    folder : Path
        Folder of the download. It stays empty afterwards, except after a lost connection: the
        next call then resumes the download.
    on_progress : callable, optional
        Called with the bytes received since the last call; negative where a server starts over.

    Yields
    ------
    Path
        The verified file.

    Raises
    ------
    DownloadError
        Where the network or the server fails, or the download is damaged.
    OutputError
        Where the folder cannot be written or the disk is too small.
    """
    from coos_mlflow.plates.download import alone_in

    target = folder / published.url.rpartition("/")[2]
    with alone_in(folder):
        try:
            _fetch(published, target, on_progress)
            yield target
        finally:
            target.unlink(missing_ok=True)


def _fetch(
    published: PublishedFile, target: Path, on_progress: Callable[[int], None] | None
) -> None:
    """Download and verify the file, resuming an interrupted download."""
    from coos_mlflow.plates.download import ResumingDownloader, bytes_in

    size = _remote_size(published.url)
    part = target.with_name(f".{target.name}.{published.sha256[:8]}.part")
    _check_space(target.parent, size - min(size, bytes_in(part)))
    ResumingDownloader(size, part, on_progress)(published.url, str(target))
    if not sha256_of(target).startswith(published.sha256):
        raise DownloadError(
            f"{published.url}: the file arrived damaged, its SHA-256 does not begin with "
            f"{published.sha256}; the download was deleted, run the command again."
        )


def _remote_size(url: str) -> int:
    """Return the size of the file on the server, in bytes."""
    import requests

    from coos_mlflow.plates.download import TIMEOUT_SECONDS, reason_of

    try:
        response = requests.head(
            url,
            headers={"Accept-Encoding": "identity"},
            allow_redirects=True,
            timeout=TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        raise DownloadError(f"{url}: no answer ({reason_of(error)}); {_BY_HAND}.") from error
    if response.status_code != requests.codes.ok:
        raise DownloadError(
            f"{url}: status {response.status_code} {response.reason}, expected 200; {_BY_HAND}."
        )
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise DownloadError(
            f"{url}: Content-Length {length!r:.100} found, expected a number of bytes; {_BY_HAND}."
        )
    return int(length)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: {free / 1e9:.3g} GB free, {needed / 1e9:.3g} GB needed; free some space, "
            "or set COOS_CACHE to a folder on another disk."
        )
