"""Patterns of file names: read them, and guess them from names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.wells import MAX_COLUMNS, MAX_ROWS, Well, parse_well

_TEXT, _NUMBER = r"[^/]+?", r"\d{1,9}"
WORDS = {
    "plate": _TEXT,
    "well": r"(?:[A-Z]|A[A-F])-?\d{1,2}",
    "row": r"[A-Z]|A[A-F]|\d{1,3}",
    "column": r"\d{1,3}",
    "field": _NUMBER,
    "channel": _TEXT,
    "z": _NUMBER,
    "time": _NUMBER,
}
"""What each word of a pattern stands for, as a regular expression."""

_PART = re.compile(r"\{([^{}]*)\}|(\*)")
_SEPARATOR = re.compile(r"([_\-.\s/]+)")
_WELL = re.compile(r"(?:[A-P]|A[A-F])\d{1,2}", re.IGNORECASE)
_PAIRS = re.compile(r"(?:[A-Za-z]+\d+)+")
_PAIR = re.compile(r"([A-Za-z]+)(\d+)")

_MEANINGS = {
    "field": ("s", "f", "fld", "field", "fov", "site", "xy", "pos", "point", "seq"),
    "channel": ("w", "c", "ch", "channel", "wv", "wave"),
    "z": ("z", "zstep", "slice", "plane", "p"),
    "time": ("t", "tp", "time", "timepoint", "sk"),
    "plate": ("plate",),
}
_WORD_OF = {spelled: word for word, spellings in _MEANINGS.items() for spelled in spellings}

EXAMPLE = "'{plate}/{well}_s{field}_w{channel}.tif'"


class Name(NamedTuple):
    """What the name of a file says; ``""`` and 1 where it says nothing."""

    plate: str
    well: str
    field: int
    channel: str
    z: int
    time: int


class Pattern:
    """A pattern such as ``"{well}_s{field}_w{channel}.tif"``.

    Parameters
    ----------
    text : str
        Words in braces are those of `WORDS`. ``*`` stands for any text. With a ``/`` it stands for
        the path from the folder, without one for the name of the file.

    Raises
    ------
    DataError
        For other words, a word that stands twice, and a pattern without a well.
    """

    def __init__(self, text: str) -> None:
        self.text = text.replace("\\", "/").strip("/")
        words = re.findall(r"\{([^{}]*)\}", text)
        if wrong := [word for word in words if word not in WORDS]:
            raise DataError(
                f"--pattern '{shown(text)}' has {{{shown(wrong[0], 40)}}}, expected words of "
                f"{', '.join(WORDS)}."
            )
        if twice := [word for word, count in Counter(words).items() if count > 1]:
            raise DataError(f"--pattern '{shown(text)}' has {{{twice[0]}}} twice, expected once.")
        self.words = frozenset(words)
        if "well" not in words and not {"row", "column"} <= self.words:
            raise DataError(
                f"--pattern '{shown(text)}' has no {{well}} and no {{row}} with {{column}}, "
                f"expected one such as {EXAMPLE}."
            )
        self._regex = re.compile(self._expression(), re.IGNORECASE)

    def _expression(self) -> str:
        stem = re.sub(r"\.tiff?$", "", self.text, flags=re.IGNORECASE)
        parts, end = [], 0
        for part in _PART.finditer(stem):
            parts.append(re.escape(stem[end : part.start()]))
            parts.append(r"[^/]*?" if part[2] else f"(?P<{part[1]}>{WORDS[part[1]]})")
            end = part.end()
        return "".join(parts) + re.escape(stem[end:]) + r"\.tiff?"

    def read(self, path: str) -> Name | None:
        """Return what a path says, None where it does not fit or names no well."""
        match = self._regex.fullmatch(path if "/" in self.text else path.rpartition("/")[2])
        said = match.groupdict() if match else {}
        well = _well(said)
        if well is None:
            return None
        return Name(
            plate=said.get("plate", ""),
            well=well,
            field=int(said.get("field", 1)),
            channel=said.get("channel", ""),
            z=int(said.get("z", 1)),
            time=int(said.get("time", 1)),
        )


def _well(said: dict[str, str]) -> str | None:
    if "well" in said:
        well = parse_well(said["well"])
        return well.name if well else None
    if "row" not in said:
        return None
    row, column = said["row"], int(said["column"])
    number = int(row) if row.isdigit() else _row_number(row.upper())
    on_plate = 1 <= number <= MAX_ROWS and 1 <= column <= MAX_COLUMNS
    return Well(number, column).name if on_plate else None


def _row_number(letters: str) -> int:
    return 26 * (len(letters) - 1) + ord(letters[-1]) - ord("A") + 1


def guess(paths: Sequence[str], folder: str) -> Pattern:
    """Guess the pattern of files from their paths.

    Parts of a path are taken apart at ``_ - . /`` and spaces. A part such as ``B03``, ``s2`` or
    ``Channel 1`` is known by its word. Other parts that differ between files are the plate where
    they stand before the well, and channel or field where they stand behind it. Before the well,
    numbers are the plate only where they are a folder.

    Raises
    ------
    DataError
        Where no name holds a well.
    """
    parts = [_SEPARATOR.split(re.sub(r"\.tiff?$", "", path, flags=re.I)) for path in paths]
    shapes = Counter((len(one), *one[1::2]) for one in parts)
    shape = max(shapes, key=lambda one: shapes[one])
    alike = [one for one in parts if (len(one), *one[1::2]) == shape]
    known: set[str] = set()
    columns = [list(column) for column in zip(*alike, strict=True)]
    wells = [place for place, values in enumerate(columns) if _are_wells(values)]
    # "f1" and "p1" could be wells too, but are spelled less like one than "B03".
    well = max(wells, key=lambda place: _likeness(columns[place]), default=None)
    if well is not None:
        known.add("well")
        columns[well] = ["{well}"]
    template = [_known(columns, place, known) for place in range(len(columns))]
    if "well" not in known and not {"row", "column"} <= known:
        template = _letter_and_number(columns, template, known)
    if "well" not in known and not {"row", "column"} <= known:
        raise DataError(
            f"{folder}: no well found in names such as '{shown(paths[0])}', expected for example "
            f"B03; say how files are named, as in --pattern {EXAMPLE}."
        )
    return Pattern("".join(_rest(columns, template, known)) + ".tif")


def _known(columns: list[list[str]], place: int, known: set[str]) -> str | None:
    """Return what a part stands for by its word, None where that is not known."""
    values = columns[place]
    first = values[0]
    if place % 2 or first in ("", "{well}"):
        return first
    before = columns[place - 2][0].lower() if place else ""
    word = _WORD_OF.get(before)
    if word and word not in known and all(value.isdigit() for value in values):
        known.add(word)
        return f"{{{word}}}"
    if all(_PAIRS.fullmatch(value) for value in values):
        return _pairs(values, known)
    return None


def _are_wells(values: list[str]) -> bool:
    return all(_WELL.fullmatch(value) for value in values)


def _likeness(values: list[str]) -> tuple[bool, bool]:
    """Return whether all have two digits, and whether all have capital letters."""
    return all(value[-2].isdigit() for value in values), all(value.isupper() for value in values)


def _pairs(values: list[str], known: set[str]) -> str | None:
    """Return letters and numbers such as ``T0001F001`` as a pattern, None where they differ."""
    split = [_PAIR.findall(value) for value in values]
    letters = [letter for letter, _ in split[0]]
    if any([letter for letter, _ in one] != letters for one in split):
        return None
    of_well = {"r": "row", "c": "column"} if letters[:2] in (["r", "c"], ["R", "C"]) else {}
    if letters in (["p"], ["P"]):
        return None  # more often of "plate" than of "plane"
    text = ""
    for place, letter in enumerate(letters):
        word = of_well.get(letter.lower()) if place < 2 else None
        word = word or _WORD_OF.get(letter.lower())
        numbers = {one[place][1] for one in split}
        if word and word not in known:
            known.add(word)
            text += f"{letter}{{{word}}}"
        else:
            text += letter + (numbers.pop() if len(numbers) == 1 else "*")
    return text if "{" in text else None


def _letter_and_number(
    columns: list[list[str]], template: list[str | None], known: set[str]
) -> list[str | None]:
    """Take a letter and the number behind it for row and column."""
    for place in range(0, len(columns) - 2, 2):
        letters, numbers = columns[place], columns[place + 2]
        is_row = template[place] is None and all(re.fullmatch(r"[A-Pa-p]", one) for one in letters)
        if is_row and all(re.fullmatch(r"\d{1,2}", one) for one in numbers):
            known |= {"row", "column"}
            return [
                *template[:place],
                "{row}",
                template[place + 1],
                "{column}",
                *template[place + 3 :],
            ]
    return template


def _rest(columns: list[list[str]], template: list[str | None], known: set[str]) -> list[str]:
    """Return the template with a word, ``*`` or the text itself for each part that is open."""
    well = max(place for place, text in enumerate(template) if text and _OF_WELL.search(text))
    rest = [
        text if text is not None else _open(columns[place], place < well, known)
        for place, text in enumerate(template)
    ]
    return rest if "plate" in known else _with_plate_folder(columns, rest, well)


def _with_plate_folder(columns: list[list[str]], rest: list[str], well: int) -> list[str]:
    """Take the folder nearest to the well that differs for the plate, such as a barcode."""
    ends = [place for place in range(1, well, 2) if "/" in columns[place][0]]
    for start, end in reversed(list(zip([-1, *ends], ends, strict=False))):
        inside = range(start + 1, end)
        is_open = not any("{" in rest[place] for place in inside)
        if is_open and any(len(set(columns[place])) > 1 for place in inside):
            return [*rest[: start + 1], "{plate}", *rest[end:]]
    return rest


_OF_WELL = re.compile(r"\{(?:well|row|column)\}")


def _open(values: list[str], before_well: bool, known: set[str]) -> str:
    if len(set(values)) == 1:
        return values[0].replace("{", "*").replace("}", "*")
    are_numbers = all(value.isdigit() for value in values)
    if before_well:
        word = "" if are_numbers else "plate"
    else:
        word = "field" if are_numbers else "channel"
    if not word or word in known:
        return "*"
    known.add(word)
    return f"{{{word}}}"
