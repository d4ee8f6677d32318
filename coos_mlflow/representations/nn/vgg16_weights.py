"""Published weights of networks: download or take a local copy, verify, read.

Only tensors are read from a file; code in it is never run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coos_mlflow.errors import DataError, DownloadError, OutputError

if TYPE_CHECKING:
    import torch

# torch and the download modules are imported where they are used: a served model carries its
# weights and needs neither.


@dataclass(frozen=True)
class Published:
    """A file of weights on a public server: a state dict saved by torch.

    Parameters
    ----------
    key, title : str
        Name for `coos weights`, and name in messages.
    url : str
    sha256 : str
        First hexadecimal digits of the file's SHA-256.
    megabytes : int
        Approximate size, for messages.
    licence, citation : str
    shapes : mapping of str to tuple of int
        The tensors to read; the file may hold others, which are ignored.
    """

    key: str
    title: str
    url: str
    sha256: str
    megabytes: int
    licence: str
    citation: str
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]


def obtain(
    published: Published,
    folder: Path,
    file: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Return the tensors of published weights.

    Parameters
    ----------
    published : Published
    folder : Path
        Folder of the download while it is read. It stays empty afterwards, except after a lost
        connection: the next call then resumes the download.
    file : Path, optional
        A local copy of the published file, read instead of downloading.
    on_progress : callable, optional
        Called with the bytes received since the last call; negative where a server starts over.

    Returns
    -------
    dict of str to Tensor of float32
        The tensors of `published.shapes`.

    Raises
    ------
    DataError
        Where the file is missing, is another file, or lacks the tensors.
    DownloadError
        Where the network or the server fails, or the download is damaged.
    OutputError
        Where the folder cannot be written or the disk is too small.
    """
    if file is not None:
        _check_hash(published, file)
        return _read(published, file)
    from coos_mlflow.plates.download import alone_in

    fetched = folder / published.file_name
    with alone_in(folder):
        try:
            _fetch(published, fetched, on_progress)
            return _read(published, fetched)
        finally:
            fetched.unlink(missing_ok=True)


def _check_hash(published: Published, file: Path) -> None:
    import pooch

    if not file.is_file():
        raise DataError(f"{file}: no such file, expected a copy of {published.url}.")
    try:
        digest = pooch.file_hash(str(file), alg="sha256")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error
    if not digest.startswith(published.sha256):
        raise DataError(
            f"{file}: SHA-256 {digest[: len(published.sha256)]}... of {file.stat().st_size:,} "
            f"bytes found, expected {published.sha256}...: it is cut, damaged or not "
            f"{published.url}."
        )


def _fetch(published: Published, target: Path, on_progress: Callable[[int], None] | None) -> None:
    """Download and verify the file, resuming an interrupted download."""
    from coos_mlflow.plates.download import ResumingDownloader, bytes_in

    size = _remote_size(published)
    part = target.with_name(f".{target.name}.{published.sha256}.part")
    _check_space(target.parent, size - min(size, bytes_in(part)))
    ResumingDownloader(size, part, on_progress)(published.url, str(target))
    try:
        _check_hash(published, target)
    except DataError as error:
        raise DownloadError(
            f"{published.url}: the file arrived damaged, its SHA-256 does not begin with "
            f"{published.sha256}; the download was deleted, run the command again."
        ) from error


def _remote_size(published: Published) -> int:
    """Return the size of the file on the server, in bytes."""
    import requests

    from coos_mlflow.plates.download import TIMEOUT_SECONDS, reason_of

    by_hand = f"`coos weights {published.key} --from FILE` takes a copy instead"
    try:
        response = requests.head(
            published.url,
            headers={"Accept-Encoding": "identity"},
            allow_redirects=True,
            timeout=TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        reason = reason_of(error)
        raise DownloadError(f"{published.url}: no answer ({reason}); {by_hand}.") from error
    if response.status_code != requests.codes.ok:
        raise DownloadError(
            f"{published.url}: status {response.status_code} {response.reason}, expected 200; "
            f"{by_hand}."
        )
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise DownloadError(
            f"{published.url}: Content-Length {length!r:.100} found, expected a number of bytes; "
            f"{by_hand}."
        )
    return int(length)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: {free / 1e9:.3g} GB free, {needed / 1e9:.3g} GB needed; free some space, "
            "or set COOS_CACHE to a folder on another disk."
        )


def _read(published: Published, file: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not document its exceptions for a foreign file
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise DataError(
            f"{file}: cannot be read, expected a state dict of tensors ({reason})."
        ) from error
    if not isinstance(state, Mapping):
        raise DataError(f"{file}: {type(state).__name__} found, expected a state dict of tensors.")
    tensors = {}
    for key, shape in published.shapes.items():
        tensor = state.get(key)
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            actual = "missing" if tensor is None else _describe(tensor)
            raise DataError(f"{file}: {key} is {actual}, expected a tensor of shape {shape}.")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise DataError(f"{file}: {key} holds values that are not finite floats.")
        tensors[key] = tensor.float().clone()
    return tensors


def _describe(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
