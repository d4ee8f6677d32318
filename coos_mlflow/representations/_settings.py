"""Settings of a representation, checked against the annotations of its ``__init__``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from coos_mlflow.errors import DataError


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be, as in ``bins: Annotated[int, Range(1, 256)]``.

    Parameters
    ----------
    least, most : float, optional
        Both are allowed themselves. Without one there is no limit on its side.
    above : float, optional
        Instead of `least`; not allowed itself.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """Return the limits in words, such as "from 1 to 256"."""
        if self.above is not None:
            return f"above {self.above:,}" + (
                f" and up to {self.most:,}" if self.most is not None else ""
            )
        if self.least is None:
            return f"up to {self.most:,}"
        return f"from {self.least:,} " + ("up" if self.most is None else f"to {self.most:,}")


Seed = Annotated[int, Range(0, 2**32 - 1)]
"""Up to the largest that NumPy, scikit-learn and torch all take."""


class _Expected(NamedTuple):
    """What an annotation allows, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def check_settings(key: str, made: type, settings: Mapping[str, Any]) -> None:
    """Refuse settings that a representation does not take.

    The annotations that are checked: int, float (which takes an int too), bool, str, `Literal`,
    ``Sequence`` or ``list`` of one of these (with one item or more), ``X | None``, and a number
    within a `Range`. A setting with another annotation, or none, may be anything.

    Parameters
    ----------
    key : str
        What the sentence calls the representation.
    made : type
        Its class.
    settings : mapping
        What its ``__init__`` is about to be called with.

    Raises
    ------
    DataError
        Names the first setting that is unknown or does not fit, and says what was expected.
    """
    known = inspect.signature(made, eval_str=True).parameters
    for name, value in settings.items():
        if name not in known:
            raise DataError(f"{key} has no parameter {name!r}; it takes {', '.join(known)}.")
        expected = _expected(known[name].annotation)
        if not expected.fits(value):
            raise DataError(f"{key} {name}={value!r} found, expected {expected.words}.")


def _expected(annotation: Any) -> _Expected:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [extra for extra in annotation.__metadata__ if isinstance(extra, Range)]
        return _within(_expected(arguments[0]), limits)
    if origin in (Union, UnionType):
        some = [_expected(argument) for argument in arguments]
        return _Expected(
            " or ".join(one.words for one in some),
            lambda value: any(one.fits(value) for one in some),
        )
    if origin is Literal:
        # 1, 1.0 and True are equal, and not the same.
        return _Expected(
            f"one of {', '.join(map(str, arguments))}",
            lambda value: any(type(value) is type(one) and value == one for one in arguments),
        )
    if origin in (Sequence, list):
        item = _expected(arguments[0])
        return _Expected(
            f"a list of one or more, each {item.words}",
            lambda value: (
                isinstance(value, (list, tuple)) and len(value) > 0 and all(map(item.fits, value))
            ),
        )
    return _PLAIN.get(annotation, _Expected("anything", lambda value: True))


def _within(expected: _Expected, limits: Sequence[Range]) -> _Expected:
    return _Expected(
        " ".join((expected.words, *map(str, limits))),
        lambda value: (
            expected.fits(value)
            and all(value in limit for limit in limits if _is_number(value))  # or it is null
        ),
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_PLAIN = {
    int: _Expected("a whole number", _is_whole),
    float: _Expected("a number", _is_number),
    bool: _Expected("true or false", lambda value: isinstance(value, bool)),
    str: _Expected("a text", lambda value: isinstance(value, str)),
    NoneType: _Expected("null", lambda value: value is None),
}
