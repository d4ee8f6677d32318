"""What a data set is: its classes, channels, crop and splits, as `dataset.yaml` says it.

`Dataset` is the description that every model keeps. `dataset_file` reads it from a file, `splits`
finds the plate files that it names.
"""

from __future__ import annotations

import colorsys
import re
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import MISSING
from coos_mlflow.plates.schema import (
    CHANNELS,
    MAX_CROP,
    MIN_CROP,
    NUCLEUS,
    PROTEIN,
    UNLABELLED,
    UNLABELLED_WORD,
)

TRAINING = "training"
"""Key of the split with the role ``train``. Other splits have the folded form of their name."""

TRAIN, REFERENCE = "train", "reference"
"""Roles of splits: fitted on, and only compared with."""

MIN_CLASSES, MAX_CLASSES = 2, 100
"""Numbers of classes; predicted labels are stored in one byte."""

ONE_CLASS, MIXTURE, UNKNOWN = "one_class_per_well", "mixture", "unknown"
"""What a well holds."""

SHARED_WELLS, IDENTICAL_IMAGES = "shared-wells", "identical-images"
ONE_PLATE_CLASSES = "one-plate-classes"
"""Faults that a split may be allowed to have (`dataset_check`)."""

COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#d55e00"),
    *("#3c1e00", "#000087", "#783c4b", "#0000ff", "#c3d2b4", "#5a87ff", "#003cb4"),
    *("#4b004b", "#b4d2ff", "#964b00", "#a5b487", "#875a78", "#4b3c00"),
)
"""Twenty colours that colour-blind readers can tell apart. The first are those of Okabe & Ito
2008 ("Color universal design"). Each of the others is as far as possible from all before it and
from white, in Oklab, for the nearest of normal sight, protanopia and deuteranopia (Machado et al.
2009). No two are nearer than two of theirs are."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


def _without_controls(text: str) -> str:
    """Refuse characters that move the cursor of a terminal or turn the direction of text."""
    if any(unicodedata.category(char).startswith("C") for char in text):
        raise ValueError("expected one line without control characters")
    return unicodedata.normalize("NFC", text)  # as ids and labels in files are read


def _not_missing(text: str) -> str:
    """Refuse text that stands for a missing label in files."""
    if text.casefold() in {*MISSING - {""}, str(UNLABELLED), UNLABELLED_WORD}:
        raise ValueError("this text stands for a missing label in files; expected another one")
    return text


Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(_without_controls)]
Text = Annotated[Line, StringConstraints(min_length=1, strip_whitespace=True)]
Spelling = Annotated[Text, AfterValidator(_not_missing)]
Terms = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_without_controls)]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_class(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class CellClass(_Described):
    """A class of cells.

    Parameters
    ----------
    name : str
    short : str
        Abbreviation for axes and tables; by default the first letters of the name.
    colour : str
        ``#rrggbb``; by default one of `COLOURS`.
    label : int
        Number that stands for the class in plate files; by default its place, from 0.
    """

    name: Spelling
    short: Spelling = ""
    colour: Colour = ""
    label: Annotated[int, Field(ge=0, lt=2**31)] = UNLABELLED


class Split(_Described):
    """A part of a data set.

    Parameters
    ----------
    name : str
        Its title in tables and figures.
    role : {"train", "reference"}
    files : tuple of str
        Names or patterns of its plate files, below the folder of the data set.
    meaning : str
        What sets it apart, in a few words, for reports.
    allow : tuple of str
        Faults that were meant to be, such as ``"shared-wells"`` (`dataset_check`).
    """

    name: Text
    role: Literal["train", "reference"]
    files: Annotated[tuple[Text, ...], BeforeValidator(_as_list), Field(strict=False, min_length=1)]
    meaning: Line = ""
    allow: Annotated[
        tuple[Literal["shared-wells", "identical-images", "one-plate-classes"], ...],
        BeforeValidator(_as_list),
        Field(strict=False),
    ] = ()

    @property
    def key(self) -> str:
        """Name of the split in files and tags."""
        return TRAINING if self.role == TRAIN else fold(self.name)


class Dataset(_Described):
    """What a data set says of itself.

    Parameters
    ----------
    name : str
        Letters, digits, ``-`` and ``_``: it becomes a part of the names of registered models.
    classes : tuple of CellClass
        In the order of their predicted labels 0, 1, ...
    channels : tuple of str
        Channels of the plate files in their order. One is named ``protein``, one ``nucleus``; the
        others are not read.
    crop : int
        Height and width of a crop in pixels.
    pixel_size : float or None
        Micrometres; None where it is not known.
    splits : tuple of Split
        One with the role ``train``, and the references from near to far.
    wells : str
        `ONE_CLASS`, `MIXTURE` or `UNKNOWN`.
    licence, citation : str
        Terms of use, and what to cite.
    """

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    classes: Annotated[
        tuple[Annotated[CellClass, BeforeValidator(_as_class)], ...],
        Field(strict=False, min_length=MIN_CLASSES, max_length=MAX_CLASSES),
    ]
    channels: Annotated[tuple[Text, ...], Field(strict=False)] = CHANNELS
    crop: Annotated[int, Field(ge=MIN_CROP, le=MAX_CROP)]
    pixel_size: Annotated[float, Field(gt=0, lt=100)] | None = None
    wells: Literal["one_class_per_well", "mixture", "unknown"] = "unknown"
    splits: Annotated[tuple[Split, ...], Field(strict=False, min_length=1)]
    licence: Terms = ""
    citation: Terms = ""

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Any) -> Any:
        """Fill in abbreviations, colours and labels that are not given."""
        if not isinstance(values, dict) or not isinstance(values.get("classes"), list | tuple):
            return values
        classes = [_as_class(one) for one in values["classes"]]
        if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in classes):
            return values
        shorts = short_names([one["name"] for one in classes])
        filled = [
            {"short": short, "colour": colour, "label": place} | one
            for place, (one, short, colour) in enumerate(
                zip(classes, shorts, colours(len(classes)), strict=True)
            )
        ]
        return values | {"classes": filled}

    @model_validator(mode="after")
    def _consistent(self) -> Dataset:
        if self.name.casefold() in RESERVED and self.name != COOS7_NAME:
            raise ValueError(f"name {self.name!r} found, which names an experiment of this package")
        for what, values in (
            ("classes have the name", [one.name.casefold() for one in self.classes]),
            ("classes have the abbreviation", [one.short.casefold() for one in self.classes]),
            ("classes have the label", [one.label for one in self.classes]),
            ("splits have the name", [split.key for split in self.splits]),
            ("channels have the name", [*self.channels]),
        ):
            value, count = Counter(values).most_common(1)[0]
            if count > 1:
                raise ValueError(f"{count} {what} {value!r}, expected one")
        if lacking := [name for name in CHANNELS if name not in self.channels]:
            raise ValueError(
                f"channels {[*self.channels]} found, expected one of them to be named "
                f"{lacking[0]!r}"
            )
        train = [split for split in self.splits if split.role == TRAIN]
        if len(train) != 1:
            raise ValueError(
                f"{len(train)} splits with the role train found, expected one (it may have several "
                "files)"
            )
        if any(split.role == REFERENCE and split.key in (TRAINING, "") for split in self.splits):
            raise ValueError("a reference split needs a name of its own, other than 'training'")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by predicted label."""
        return tuple(one.name for one in self.classes)

    @property
    def short_names(self) -> tuple[str, ...]:
        """Abbreviations of the classes by predicted label."""
        return tuple(one.short for one in self.classes)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """Shape of a cell in memory: protein and nucleus, height, width."""
        return (len(CHANNELS), self.crop, self.crop)

    @property
    def read_channels(self) -> tuple[int, int]:
        """Positions of the protein and the nucleus channel in plate files."""
        return self.channels.index(PROTEIN), self.channels.index(NUCLEUS)

    @property
    def by_split(self) -> dict[str, Split]:
        """Splits by key: `TRAINING`, then the references from near to far."""
        ordered = sorted(self.splits, key=lambda split: split.role == REFERENCE)
        return {split.key: split for split in ordered}

    @property
    def split_keys(self) -> tuple[str, ...]:
        """Keys of the splits: `TRAINING`, then the references from near to far."""
        return tuple(self.by_split)

    @property
    def references(self) -> tuple[str, ...]:
        """Keys of the reference splits from near to far."""
        return self.split_keys[1:]

    def title(self, split: str) -> str:
        """Return the title of a split."""
        return self.by_split[split].name

    @property
    def model_prefix(self) -> str:
        """First part of the names of its registered models; COOS-7's have plain names."""
        return "" if self.name == COOS7_NAME else f"{self.name}."

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values, which `from_dict` takes."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Dataset:
        """Check values, such as those of a YAML file.

        Parameters
        ----------
        values : object
        where : str
            Name of the source for the message.

        Raises
        ------
        DataError
            For the first value that is missing, unknown or wrong.
        """
        if not isinstance(values, dict):
            raise DataError(
                f"{where}: no description of a data set found, expected the keys name, classes, "
                "crop and splits; `coos dataset init FOLDER` writes one."
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise DataError(f"{where}: {_first_problem(error, values)}.") from error


COOS7_NAME = "COOS-7"

RESERVED = ("coos-7", "coos-score", "simulated")
"""Names in lower case that would mix a data set with others in MLflow."""


@cache
def coos7() -> Dataset:
    """Return the description of COOS-7, which also describes simulated cells."""
    file = Path(__file__).with_name("coos7.yaml")
    return Dataset.from_dict(yaml.safe_load(file.read_text(encoding="utf-8")), file.name)


def fold(name: str) -> str:
    """Return a name in lower case, with ``-`` for everything but letters, digits and ``_``."""
    return re.sub(r"\W+", "-", name.casefold()).strip("-")


_SHORT = 8
"""Names of so many characters need no abbreviation."""


def short_names(names: list[str]) -> list[str]:
    """Return an abbreviation for each name: itself, its initials, or its first letters."""
    shorts: list[str] = []
    taken = {name.casefold() for name in names if len(name) <= _SHORT} | MISSING
    for name in names:
        words = re.findall(r"\w+", name) or [name]
        initials = "".join(word[0].upper() for word in words)
        if len(name) <= _SHORT:
            shorts.append(name)
            continue
        choices = [initials] if len(words) > 1 else []
        choices += [name[:size] for size in range(6, len(name) + 1) if name[size - 1] != " "]
        shorts.append(next((one for one in choices if one.casefold() not in taken), name))
        taken.add(shorts[-1].casefold())
    return shorts


def colours(n: int) -> list[str]:
    """Return `n` colours, those of `COLOURS` first.

    Beyond twenty no colours can be told apart by all readers; evenly spaced hues follow then.
    """
    more = max(0, n - len(COLOURS))
    hues = [colorsys.hls_to_rgb(place / more, 0.4, 0.6) for place in range(more)]
    further = ["#" + "".join(f"{round(255 * part):02x}" for part in hue) for hue in hues]
    return [*COLOURS, *further][:n]


def _first_problem(error: ValidationError, values: dict[str, Any]) -> str:
    """Return the first problem as the part of a sentence that names place, value and rule."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = [part for part in problem["loc"] if isinstance(part, str | int)]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{_place(place)} is missing"
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(place[:-1]))
        return f"{_place(place)} is not known, expected some of {known}"
    if problem["type"] == "too_short":
        number, least = problem["ctx"]["actual_length"], problem["ctx"]["min_length"]
        return f"{_place(place)}: {number} found, expected at least {least}"
    if problem["type"] == "model_type":
        message = "expected a name, or keys such as name"
    if not place:
        return message
    found: Any = values
    for part in place:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            return f"{_place(place)}: {_lower_first(message)}"
    return f"{_place(place)}: {str(found)[:80]!r} found; {_lower_first(message)}"


def _known_keys(place: list[str | int]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"classes": CellClass, "splits": Split}
    model = models.get(str(place[0]), Dataset) if place else Dataset
    return [*model.model_fields]


def _place(place: list[str | int]) -> str:
    """Return a place such as ``classes[2].colour``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
