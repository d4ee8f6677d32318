"""Checks of the names of plate files, which appear in messages, pages and names of folders.

Open this module to change which names are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from coos_mlflow.errors import DataError

_DIRECTION_CLASSES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Unicode's bidirectional classes that change the order in which the rest of a line is shown."""


def check_name(path: Path) -> None:
    """Refuse a name that holds control characters or cannot name a folder of results.

    Control characters would act on a terminal, and halves of characters cannot be written to a
    page.

    Raises
    ------
    DataError
    """
    odd = next((char for char in str(path) if _is_unseen(char)), None)
    if odd is not None:
        raise DataError(
            f"{str(path)!r}: is no file name to work with, it holds {odd!r}; rename the file."
        )
    if not path.stem.strip("."):
        raise DataError(
            f"{path}: is no file name to work with, its results would need a folder named "
            f"{path.stem!r}; rename the file."
        )


def check_names(plates: Sequence[Path]) -> None:
    """Refuse plates whose results would go to the same folder.

    Raises
    ------
    DataError
    """
    seen: dict[str, Path] = {}
    for plate in plates:
        first = seen.setdefault(plate.stem, plate)
        if first is not plate:
            raise DataError(
                f"{first} and {plate} would both be scored into {plate.stem}; "
                "rename one, or score them into different --out folders."
            )


def _is_unseen(char: str) -> bool:
    """Return whether a character is a control, line break, lone surrogate or direction change."""
    return (
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(char) in _DIRECTION_CLASSES
    )


def as_file_name(text: str) -> str:
    """Return text from a file, such as the name of a plate, as a name that stays in its folder."""
    return re.sub(r"^\.|[^\w .+-]", "_", text) or "_"
