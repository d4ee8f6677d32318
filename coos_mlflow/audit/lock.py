"""The lock on the labels of a folder of results: one page or command at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from coos_mlflow.errors import OutputError


@contextmanager
def locked(folder: Path, *, make: bool = True) -> Iterator[None]:
    """Hold the lock on the labels of a folder of results.

    Parameters
    ----------
    folder : Path
    make : bool
        Whether to make the file of the lock, a hidden one beside the folder. Without it a folder
        whose cells were never labelled is not locked.

    Raises
    ------
    OutputError
        When another process holds the lock, or its file cannot be made.
    """
    whole = folder.resolve()
    # A singleton: what holds the lock may take it again in the same thread.
    lock = FileLock(whole.parent / f".{whole.name}.audit.lock", is_singleton=True)
    if not make and not Path(lock.lock_file).exists():
        yield
        return
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise OutputError(
            f"{folder}: its cells are being labelled on a page, or another command works on their "
            "labels; end that first."
        ) from None
    except OSError as error:
        raise OutputError(f"{lock.lock_file}: cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        lock.release()
