"""Check of a representation's settings against the annotations of its ``__init__``."""

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
    """Limits of a number, as in ``bins: Annotated[int, Range(1, 256)]``.

    Parameters
    ----------
    least, most : float, optional
        Inclusive limits; None is no limit.
    above : float, optional
        Exclusive lower limit, instead of `least`.
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
"""Seeds up to the largest that NumPy, scikit-learn and torch all accept."""


class _Expected(NamedTuple):
    """The values that an annotation allows, in words and as a predicate."""

    words: str
    fits: Callable[[Any], bool]


def check_settings(key: str, cls: type, settings: Mapping[str, Any]) -> None:
    """Check settings against the annotations of a representation's ``__init__``.

    Checked annotations are int, float (which accepts an int), bool, str, `Literal`, a non-empty
    ``Sequence`` or ``list`` of these, ``X | None``, and numbers with a `Range`. A setting with
    another annotation, or none, may have any value.

    Parameters
    ----------
    key : str
        Name of the representation in the message.
    cls : type
        Class of the representation.
    settings : mapping
        Arguments for its ``__init__``.

    Raises
    ------
    DataError
        Naming the first setting that is unknown or does not fit, and the expected values.
    """
    known = inspect.signature(cls, eval_str=True).parameters
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
        options = [_expected(argument) for argument in arguments]
        return _Expected(
            " or ".join(option.words for option in options),
            lambda value: any(option.fits(value) for option in options),
        )
    if origin is Literal:
        # Types are compared too, since 1 == 1.0 == True.
        return _Expected(
            f"one of {', '.join(map(str, arguments))}",
            lambda value: any(type(value) is type(arg) and value == arg for arg in arguments),
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
            # None has no limits to keep.
            and all(value in limit for limit in limits if _is_number(value))
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
