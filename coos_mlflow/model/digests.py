"""Write the SHA-256 of all files of a folder beside them, and check it before they are loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from coos_mlflow.errors import RegistryError

DIGESTS = "digests.json"
"""File with the SHA-256 of every other file of the folder, by its path in the folder."""


def write_digests(folder: Path) -> str:
    """Write the digests of all files in a folder, and return the digest of that list.

    Returns
    -------
    str
        SHA-256. Kept elsewhere, it proves that the folder is unchanged.
    """
    text = json.dumps(_digests(folder), indent=1, sort_keys=True).encode()
    (folder / DIGESTS).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def check_digests(folder: Path, expected: str | None = None) -> None:
    """Refuse a folder that has changed since it was written.

    Call this before anything in the folder is loaded.

    Parameters
    ----------
    expected : str, optional
        The return value of `write_digests`. An empty text means that the registry lacks it, which
        is an error.

    Raises
    ------
    RegistryError
        Naming the file that was changed, added, or removed.
    """
    try:
        text = (folder / DIGESTS).read_bytes()
        digests = json.loads(text)
        actual = _digests(folder)
    except (OSError, ValueError, RecursionError) as error:
        raise RegistryError(
            f"{folder}: {DIGESTS} cannot be read; the model was damaged, or registered by a "
            "version without it: train it again."
        ) from error
    if expected == "":
        raise RegistryError(
            f"{folder}: the registry has no digest of this version; an older coos-mlflow, or other "
            "software, registered it. Train it again."
        )
    if expected is not None and hashlib.sha256(text).hexdigest() != expected:
        raise RegistryError(
            f"{folder}: {DIGESTS} is not the one that was registered; the model's files were "
            "replaced or damaged. Restore them, or train it again."
        )
    if actual != digests:
        wrong = _first_difference(digests, actual)
        raise RegistryError(
            f"{folder}: {wrong}; the model was damaged or tampered with. Restore its files, or "
            "train it again."
        )


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in files
        if path != folder / DIGESTS
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_difference(digests: object, actual: dict[str, str]) -> str:
    if not isinstance(digests, dict):
        return f"{DIGESTS} is no list of digests"
    for name in sorted({*digests, *actual}):
        if name not in actual:
            return f"{name} is missing"
        if name not in digests:
            return f"{name} was added"
        if digests[name] != actual[name]:
            return f"{name} is not the file that was registered"
    return "nothing differs"
