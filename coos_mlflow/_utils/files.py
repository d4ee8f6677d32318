"""Write files and folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from coos_mlflow.errors import CoosError, OutputError


def check_folder(folder: Path, force: bool, known: Collection[str]) -> None:
    """Refuse a folder into which results cannot be written, before anything is computed.

    It must be possible to create it. It must hold no other files than results, and results only if
    `force` allows to replace them.

    Parameters
    ----------
    known : collection of str
        Names of the results.

    Raises
    ------
    OutputError
        Naming the reason.
    """
    if folder.name.startswith("."):
        # Such as `.plate.parts`, whose content is removed when `plate` is scored.
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
    """Refuse a folder that cannot be created in its place."""
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise OutputError(f"{folder}: {nearest} is a file; choose another --out folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(
            f"{folder}: nothing can be written in {nearest}; choose another --out folder."
        )


@contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if the block ends with an exception: an error, Ctrl-C or SIGTERM."""
    with ExitStack() as stack:
        stack.callback(undo)
        yield
        stack.pop_all()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all, even if several processes write it.

    Raises
    ------
    OSError
        When it cannot be written. An earlier file is kept.
    """
    with whole_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which replaces `path` after success.

    Its content is flushed to the disk before it replaces `path`.

    Raises
    ------
    OSError
        When it cannot be written. An earlier file is kept.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)  # `mkstemp` excludes other users, but caches and results are shared
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which replaces `folder` after success.

    Parameters
    ----------
    replace : bool
        Whether to replace an existing folder. Otherwise an existing folder is an OSError.

    Raises
    ------
    OSError
        When it cannot be written. An earlier folder is kept.
    """
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)  # `mkdtemp` excludes other users, but caches and results are shared
        if replace:
            put_in_place(partial, folder)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path, force: bool, known: Collection[str]) -> Iterator[Path]:
    """Yield a new folder to write into, which becomes `folder` only after success."""
    check_folder(folder, force, known)
    created = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            yield partial
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error}).") from error
    finally:
        for parent in created:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()


def put_in_place(new: Path, folder: Path) -> None:
    """Replace `folder` by the folder `new`; if that fails, `folder` stays as it is."""
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
