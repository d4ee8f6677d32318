"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from coos_mlflow.errors import CoosError, OutputError


def check_folder(folder: Path, force: bool, known: Collection[str]) -> None:
    """Refuse a folder that holds results, unless they may go, or anything that is no result.

    One that cannot be made is refused as well, before anything is computed.

    Parameters
    ----------
    known : collection of str
        Names of the results.

    Raises
    ------
    OutputError
        Saying which of these it is.
    """
    if folder.name.startswith("."):
        # Such as `.plate.parts`, whose content goes when `plate` is scored.
        raise OutputError(
            f"{folder}: folders whose names begin with a dot are kept for unfinished results; "
            "rename the plate or choose another --out folder."
        )
    try:
        str(folder).encode()
        if folder.exists():
            _check_contents(folder, force, known)
        _check_place(folder)
    except CoosError:
        raise
    except UnicodeEncodeError as error:
        raise OutputError(
            f"{str(folder)!r}: holds bytes that are no UTF-8, which Parquet files and MLflow do "
            "not take in a name; choose another --out folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be looked into ({error.strerror}); choose another --out folder."
        ) from error


def _check_contents(folder: Path, force: bool, known: Collection[str]) -> None:
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; results need a folder of that name.")
    others = sorted(p.name for p in folder.iterdir() if p.name not in known)
    if others:
        raise OutputError(
            f"{folder}: holds {others[0]!r}, which is no result of this command; "
            "choose another --out folder."
        )
    if not force:
        raise OutputError(f"{folder}: results are there already; --force replaces them.")


def _check_place(folder: Path) -> None:
    """Refuse a folder that cannot be made where it is to be."""
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise OutputError(f"{folder}: {nearest} is a file; choose another --out folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(
            f"{folder}: nothing can be written in {nearest}; choose another --out folder."
        )


@contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` when the block ends by an exception, be it an error, Ctrl-C or SIGTERM."""
    with ExitStack() as stack:
        stack.callback(undo)
        yield
        stack.pop_all()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, also where several processes write it.

    Raises
    ------
    OSError
        The file that was there before stays then.
    """
    with whole_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the path of a new file beside `path`, which takes its place when all went well.

    Its content is on the disk before it takes the place.

    Raises
    ------
    OSError
        The file that was there before stays then.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)  # `mkstemp` keeps other users out; caches and results are shared
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, replace: bool = True) -> Iterator[Path]:
    """Give a new folder beside `folder`, which takes its place when all went well.

    Parameters
    ----------
    replace : bool
        Whether a folder that is there goes. Otherwise that is an OSError.

    Raises
    ------
    OSError
        A folder that was there before stays then.
    """
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)  # `mkdtemp` keeps other users out; caches and results are shared
        if replace:
            put_in_place(partial, folder)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path, force: bool, known: Collection[str]) -> Iterator[Path]:
    """Give a new folder to write into, which becomes `folder` only when all went well."""
    check_folder(folder, force, known)
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            yield partial
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error}).") from error
    finally:
        for parent in made:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()


def put_in_place(new: Path, folder: Path) -> None:
    """Put the folder `new` in the place of `folder`, which stays as it is should that fail."""
    old = new.with_name(f"{new.name}-old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)
