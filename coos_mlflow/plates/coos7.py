"""Download COOS-7 from Zenodo: list the record's files, fetch them with resume, verify them.

The data set is Lu et al. 2019, record 3386336, licence CC-BY-NC 4.0. Names, sizes and checksums
come from Zenodo's API at the time of the download. They are not stored in this module.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests

from coos_mlflow.errors import DownloadError, OutputError
from coos_mlflow.plates.download import (
    TIMEOUT_SECONDS,
    ResumingDownloader,
    alone_in,
    bytes_in,
    reason_of,
)

RECORD_URL = "https://zenodo.org/api/records/3386336"
RECORD_VARIABLE = "COOS7_RECORD_URL"
"""Environment variable with the address of a mirror that has the same API."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of the record: its name, size in bytes, MD5 and address."""

    name: str
    size: int
    md5: str
    url: str


@dataclass(frozen=True)
class DownloadPlan:
    """Files to download into a folder.

    Parameters
    ----------
    folder : Path
    present : list of RemoteFile
        Files that are in the folder already, with the right MD5.
    wanted : list of RemoteFile
        Files to download.
    bytes_wanted : int
        Bytes still to download; bytes kept from an interrupted download are subtracted.
    bytes_free : int
        Free bytes on the disk of `folder`.
    """

    folder: Path
    present: list[RemoteFile]
    wanted: list[RemoteFile]
    bytes_wanted: int
    bytes_free: int


def list_files(record_url: str | None = None) -> list[RemoteFile]:
    """List the files of the record.

    Parameters
    ----------
    record_url : str or None
        By default ``$COOS7_RECORD_URL``, else Zenodo's record of COOS-7.

    Raises
    ------
    DownloadError
        When the server does not answer, or its answer is not a record.
    """
    url = record_url or os.environ.get(RECORD_VARIABLE) or RECORD_URL
    try:
        answer = requests.get(url, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise DownloadError(f"{url}: no answer ({reason_of(error)}).") from error
    if answer.status_code != requests.codes.ok:
        raise DownloadError(f"{url}: status {answer.status_code} {answer.reason}, expected 200.")
    try:
        entries = answer.json()["files"]
        files = [_remote_file(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{url}: the answer is no record of files as Zenodo's API gives it "
            f"({type(error).__name__}: {error}); it starts with {answer.text[:60]!r}."
        ) from error
    if not files:
        raise DownloadError(f"{url}: the record lists no files.")
    for file in files:
        _check_entry(file, url)
    return files


def plan_download(
    folder: str | Path,
    record_url: str | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> DownloadPlan:
    """Compare a folder with the record; files with the right MD5 need no download.

    Raises
    ------
    DownloadError
        As `list_files`.
    """
    folder = Path(folder)
    present, wanted, bytes_wanted = [], [], 0
    for file in list_files(record_url):
        if _is_complete(folder / file.name, file, on_progress):
            present.append(file)
        else:
            wanted.append(file)
            part = _part_path(folder, file)
            bytes_wanted += file.size - min(file.size, bytes_in(part))
    return DownloadPlan(folder, present, wanted, bytes_wanted, _bytes_free(folder))


def fetch(plan: DownloadPlan, on_progress: Callable[[int], None] | None = None) -> list[Path]:
    """Download the files of a plan.

    Each file gets its final name only when it is complete and verified.

    Parameters
    ----------
    plan : DownloadPlan
    on_progress : callable or None
        Called with the bytes received since its last call; negative when a server starts over.

    Returns
    -------
    list of Path
        The downloaded files.

    Raises
    ------
    DownloadError
        For a wrong checksum, a lost connection, or a server that refuses. Except after a wrong
        checksum, the bytes received so far are kept, and the next call resumes from them.
    OutputError
        When the folder cannot be written or the disk is too small.
    """
    check_space(plan)
    pooch.get_logger().setLevel(logging.WARNING)
    with alone_in(plan.folder):
        return [_fetch_file(plan.folder, file, on_progress) for file in plan.wanted]


def check_space(plan: DownloadPlan) -> None:
    """Refuse a plan that the disk is too small for (OutputError)."""
    if plan.bytes_wanted > plan.bytes_free:
        raise OutputError(
            f"{plan.folder}: {plan.bytes_free / 1e9:.3g} GB free, {plan.bytes_wanted / 1e9:.3g} GB "
            "needed; free some, or choose another disk with --to or $COOS7_HOME."
        )


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    return RemoteFile(
        name=str(entry["key"]),
        size=int(entry["size"]),
        md5=str(entry["checksum"]).removeprefix("md5:").lower(),
        url=str(entry["links"]["self"]),
    )


def _check_entry(file: RemoteFile, url: str) -> None:
    if not _SAFE_NAME.fullmatch(file.name):
        raise DownloadError(f"{url}: file name {file.name!r:.100} refused, expected a plain name.")
    if not re.fullmatch(r"[0-9a-f]{32}", file.md5) or file.size < 0:
        raise DownloadError(
            f"{url}: {file.name} has checksum {file.md5!r:.100} and size {file.size}, "
            "expected md5 of 32 hexadecimal digits and a number of bytes."
        )
    schemes = ("https://",) if url.startswith("https://") else ("https://", "http://")
    if not file.url.startswith(schemes):
        raise DownloadError(f"{url}: address {file.url!r:.100} refused, expected {schemes[0]}...")


def _is_complete(path: Path, file: RemoteFile, on_progress: Callable[[int], None] | None) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    complete = pooch.file_hash(str(path), alg="md5") == file.md5
    if on_progress:
        on_progress(file.size)
    return bool(complete)


def _fetch_file(folder: Path, file: RemoteFile, on_progress: Callable[[int], None] | None) -> Path:
    downloader = ResumingDownloader(file.size, _part_path(folder, file), on_progress)
    try:
        pooch.retrieve(
            file.url, f"md5:{file.md5}", fname=file.name, path=folder, downloader=downloader
        )
    except ValueError as error:  # pooch raises this for a wrong checksum
        raise DownloadError(
            f"{file.url}: the file arrived damaged, its MD5 is not {file.md5} as the record says; "
            "what came was deleted, run the command again."
        ) from error
    return folder / file.name


def _part_path(folder: Path, file: RemoteFile) -> Path:
    return folder / f".{file.name}.{file.md5[:8]}.part"


def _bytes_free(folder: Path) -> int:
    existing = next(
        parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()
    )
    return shutil.disk_usage(existing).free
