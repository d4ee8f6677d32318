"""Published weights of networks: fetched or given as a file, verified, and read.

Only tensors are read from a file: code in it is never run.
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

# What downloads and what reads tensors is imported where it is needed: a served model that
# carries its weights with it needs neither.


@dataclass(frozen=True)
class Published:
    """A file of weights on the network: a state dict as torch saves it.

    Parameters
    ----------
    key, title : str
        What `coos weights` calls it, and what messages call it.
    url : str
    sha256 : str
        Hexadecimal digits with which the file's SHA-256 begins.
    megabytes : int
        About its size, for people.
    licence, citation : str
    shapes : mapping of str to tuple of int
        The tensors that are taken from it; whatever else it holds is left out.
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
        """The last part of its address."""
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
        Where the download goes until it is read. Only a connection that stays cut leaves
        something there, from which the next call goes on.
    file : Path, optional
        A copy of the published file, to be read instead of the network.
    on_progress : callable, optional
        Told the bytes that came since its last call; negative where a server starts over.

    Returns
    -------
    dict of str to Tensor of float32
        As many as `published.shapes`, of these shapes.

    Raises
    ------
    DataError
        For a file that is missing, that is another one, or that does not hold the tensors.
    DownloadError
        Where the network, the server or a damaged download is at fault.
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
        found = pooch.file_hash(str(file), alg="sha256")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error
    if not found.startswith(published.sha256):
        raise DataError(
            f"{file}: SHA-256 {found[: len(published.sha256)]}... of {file.stat().st_size:,} bytes "
            f"found, expected {published.sha256}...: it is cut, damaged or not {published.url}."
        )


def _fetch(published: Published, target: Path, on_progress: Callable[[int], None] | None) -> None:
    """Download and verify the file, going on where a cut download ended."""
    from coos_mlflow.plates.download import ResumingDownloader, bytes_in

    size = _ask_size(published)
    part = target.with_name(f".{target.name}.{published.sha256}.part")
    _check_space(target.parent, size - min(size, bytes_in(part)))
    ResumingDownloader(size, part, on_progress)(published.url, str(target))
    try:
        _check_hash(published, target)
    except DataError as error:
        raise DownloadError(
            f"{published.url}: the file arrived damaged, its SHA-256 does not begin with "
            f"{published.sha256}; what came was deleted, run the command again."
        ) from error


def _ask_size(published: Published) -> int:
    """Return how many bytes the server will send."""
    import requests

    from coos_mlflow.plates.download import TIMEOUT_SECONDS, reason_of

    by_hand = f"`coos weights {published.key} --from FILE` takes a copy instead"
    try:
        answer = requests.head(
            published.url,
            headers={"Accept-Encoding": "identity"},
            allow_redirects=True,
            timeout=TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        reason = reason_of(error)
        raise DownloadError(f"{published.url}: no answer ({reason}); {by_hand}.") from error
    if answer.status_code != requests.codes.ok:
        raise DownloadError(
            f"{published.url}: status {answer.status_code} {answer.reason}, expected 200; "
            f"{by_hand}."
        )
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise DownloadError(
            f"{published.url}: Content-Length {length!r:.100} found, expected the file's bytes; "
            f"{by_hand}."
        )
    return int(length)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: {free / 1e9:.3g} GB free, {needed / 1e9:.3g} GB needed; free some, "
            "or set COOS_CACHE to a folder on another disk."
        )


def _read(published: Published, file: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # which ones torch raises for a foreign file is nowhere promised
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise DataError(
            f"{file}: cannot be read, expected a state dict of tensors ({reason})."
        ) from error
    if not isinstance(state, Mapping):
        raise DataError(f"{file}: {type(state).__name__} found, expected a state dict of tensors.")
    found = {}
    for key, shape in published.shapes.items():
        tensor = state.get(key)
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            there = "missing" if tensor is None else _describe(tensor)
            raise DataError(f"{file}: {key} is {there}, expected a tensor of shape {shape}.")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise DataError(f"{file}: {key} holds values that are no finite fractions.")
        found[key] = tensor.float().clone()
    return found


def _describe(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
