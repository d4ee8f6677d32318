"""SHA-256 of all files of a folder, written beside them and checked before they are loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from coos_mlflow.errors import RegistryError

DIGESTS = "digests.json"
"""SHA-256 of every other file of the folder, by its path in it."""


def write_digests(folder: Path) -> str:
    """Write the digests of all files in a folder, and return that of the list itself.

    Returns
    -------
    str
        SHA-256. Kept elsewhere, it tells this folder from any other.
    """
    text = json.dumps(_digests(folder), indent=1, sort_keys=True).encode()
    (folder / DIGESTS).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def check_digests(folder: Path, expected: str | None = None) -> None:
    """Refuse a folder that is not as it was written, before anything of it is loaded.

    Parameters
    ----------
    expected : str, optional
        What `write_digests` returned; empty where the registry should have it and does not.

    Raises
    ------
    RegistryError
        Naming the file that was changed, added, or taken away.
    """
    try:
        text = (folder / DIGESTS).read_bytes()
        digests = json.loads(text)
        found = _digests(folder)
    except (OSError, ValueError, RecursionError) as error:
        raise RegistryError(
            f"{folder}: {DIGESTS} cannot be read; the model was damaged, or registered by a "
            "version without it: train it again."
        ) from error
    if expected == "":
        raise RegistryError(
            f"{folder}: the registry has no digest of this version, which an older coos-mlflow "
            "registered or somebody else; train it again."
        )
    if expected is not None and hashlib.sha256(text).hexdigest() != expected:
        raise RegistryError(
            f"{folder}: {DIGESTS} is not the one that was registered; the model's files were "
            "replaced or damaged. Restore them, or train it again."
        )
    if found != digests:
        wrong = _first_difference(digests, found)
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


def _first_difference(digests: object, found: dict[str, str]) -> str:
    if not isinstance(digests, dict):
        return f"{DIGESTS} is no list of digests"
    for name in sorted({*digests, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in digests:
            return f"{name} was added"
        if digests[name] != found[name]:
            return f"{name} is not the file that was registered"
    return "nothing differs"
