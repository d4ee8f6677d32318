"""Class labels of a plate file: whole numbers, or names of classes, turned into 0, 1, ...

Open this module to accept another spelling of a class or of a missing label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import clean_ids, shown
from coos_mlflow.plates.schema import UNLABELLED

if TYPE_CHECKING:
    from coos_mlflow.plates.dataset import Dataset

_MAX_LABEL = 2**31 - 1
_UNKNOWN = -2


class Labels(NamedTuple):
    """Labels of cells.

    Parameters
    ----------
    values : ndarray of int64, shape (n,)
        Predicted labels of the data set where it is known. Else the file's own numbers, or places
        in `names`. `UNLABELLED` for a cell without a label.
    names : tuple of str, or None
        Name of each label 0, 1, ...; None where neither the file nor a data set gives any.
    """

    values: np.ndarray
    names: tuple[str, ...] | None


def read_labels(raw: np.ndarray, where: str, dataset: Dataset | None = None) -> Labels:
    """Return the labels of cells; -1, NaN and empty text stand for a missing one.

    Parameters
    ----------
    raw : ndarray, shape (n,)
        Whole numbers, or text.
    where : str
        Name of the source for the message, such as ``"plate.h5:/labels"``.
    dataset : Dataset, optional
        Numbers must be labels of its classes, and text their names or abbreviations.

    Raises
    ------
    DataError
        For values that are neither whole numbers nor text, and for labels that are not in the data
        set.
    """
    if raw.dtype.kind in "OSU":
        return _from_text(clean_ids(raw.tolist(), where), where, dataset)
    check_label_dtype(raw.dtype, where)
    numbers = _whole_numbers(raw, where, dataset)
    if dataset is None:
        return Labels(numbers, None)
    places = {one.label: place for place, one in enumerate(dataset.classes)}
    places[UNLABELLED] = UNLABELLED
    return Labels(_placed(numbers.tolist(), places, where, dataset), dataset.class_names)


def check_label_dtype(dtype: np.dtype, where: str) -> None:
    """Refuse a dtype that cannot hold class labels.

    Raises
    ------
    DataError
    """
    if dtype.kind not in "uifOSU":
        raise DataError(
            f"{where}: dtype {shown(dtype)} found, expected whole numbers or names of classes."
        )


def _whole_numbers(raw: np.ndarray, where: str, dataset: Dataset | None) -> np.ndarray:
    missing = np.isnan(raw) if raw.dtype.kind == "f" else np.zeros(len(raw), bool)
    with np.errstate(invalid="ignore"):
        bad = ~((raw >= UNLABELLED) & (raw <= _MAX_LABEL) & (raw == np.floor(raw))) & ~missing
    if bad.any():
        first = int(np.argmax(bad))
        raise _not_a_class(f"{raw[first]:g}", first, int(bad.sum()), len(raw), where, dataset)
    numbers = np.full(len(raw), UNLABELLED, np.int64)
    numbers[~missing] = raw[~missing].astype(np.int64)
    return numbers


def _from_text(texts: np.ndarray, where: str, dataset: Dataset | None) -> Labels:
    if dataset is None:
        names = sorted(set(texts.tolist()) - {"", str(UNLABELLED)})
        places = {name: place for place, name in enumerate(names)}
        found = [places.get(text, UNLABELLED) for text in texts.tolist()]
        return Labels(np.array(found, np.int64), tuple(names))
    known: dict[str, int] = {}
    for key in ("label", "short", "name"):  # where they collide, the name counts
        known |= {str(getattr(one, key)).casefold(): n for n, one in enumerate(dataset.classes)}
    known |= {"": UNLABELLED, str(UNLABELLED): UNLABELLED}
    folded = [text.casefold() for text in texts.tolist()]
    return Labels(_placed(folded, known, where, dataset, texts.tolist()), dataset.class_names)


def _placed(
    values: list, places: dict, where: str, dataset: Dataset, spelled: Iterable | None = None
) -> np.ndarray:
    """Return the place of each value; `spelled` are the values as the file has them."""
    placed = np.array([places.get(value, _UNKNOWN) for value in values], np.int64)
    bad = placed == _UNKNOWN
    if bad.any():
        first = int(np.argmax(bad))
        value = [*(values if spelled is None else spelled)][first]
        raise _not_a_class(shown(repr(value), 60), first, int(bad.sum()), len(bad), where, dataset)
    return placed


def _not_a_class(
    label: str, cell: int, n_bad: int, n_cells: int, where: str, dataset: Dataset | None
) -> DataError:
    expected = "a whole number from 0"
    if dataset is not None:
        words = ", ".join(f"{one.label} {one.name}" for one in dataset.classes[:8])
        more = f" and {dataset.n_classes - 8} more" if dataset.n_classes > 8 else ""
        expected = f"a class of {dataset.name} ({words}{more})"
    return DataError(
        f"{where}: label {label} of cell {cell} found, expected {expected} ({n_bad:,} of "
        f"{n_cells:,} cells have such a label); a cell whose class is not known has the label -1."
    )
