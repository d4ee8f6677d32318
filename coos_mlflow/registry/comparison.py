"""Compare model versions: errors, intervals of differences, and settings that differ.

Open this to change the content of `coos models compare`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from coos_mlflow.errors import DataError
from coos_mlflow.metrics import difference
from coos_mlflow.registry.inspect import Details, details_of

_DIGEST_SHOWN = 12
"""Characters of a digest that are shown; enough to distinguish data sets."""

_TAGS = (
    "dataset",
    "simulated",
    "training_classes",
    "training_cells",
    "representation",
    "layer",
    "classifier",
    "preset",
    "package_version",
)
"""Tags that describe how a version was trained, in the order of the table."""


@dataclass(frozen=True)
class Comparison:
    """Two or more versions; the others are compared with the first.

    Parameters
    ----------
    members : dict of Details
        By letter; A is the first.
    """

    members: dict[str, Details]

    @property
    def warnings(self) -> list[str]:
        """Sentences on differences that make the errors of two versions incomparable."""
        a = self.members["A"]
        said = []
        for letter, other in list(self.members.items())[1:]:
            if _digest(other) != _digest(a):
                said.append(
                    f"A and {letter} were trained and tested on different data (digests "
                    f"{_digest(a)} and {_digest(other)}): other cells make other errors."
                )
            if other.version.model.simulated != a.version.model.simulated:
                which = letter if other.version.model.simulated else "A"
                said.append(f"{which} is of simulated cells, the other one of A and {letter} not.")
            if other.version.classes != a.version.classes:
                said.append(
                    f"A knows {a.version.classes} classes, {letter} {other.version.classes}: "
                    "fewer classes are easier to tell apart."
                )
        return said + [
            f"{letter}: {sentence}"
            for letter, member in self.members.items()
            for sentence in member.missing
        ]

    @property
    def differing(self) -> dict[str, list[str]]:
        """Settings in which the versions differ, each with its value in every version."""
        members = [_settings(member) for member in self.members.values()]
        names = dict.fromkeys(name for settings in members for name in settings)
        table = {name: [settings.get(name, "-") for settings in members] for name in names}
        return {name: values for name, values in table.items() if len(set(values)) > 1}

    def difference(self, split: str, letter: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a version's balanced error on a split minus that of A, in %.

        Return None if the two have not predicted the same cells, or if a run was deleted.
        """
        if _digest(self.members[letter]) != _digest(self.members["A"]):
            return None
        a, other = (self.members[m].evaluations.get(split) for m in ("A", letter))
        return difference(other, a) if a and other else None


def compare(asked: Sequence[str], *, read: Callable[[str], Details] = details_of) -> Comparison:
    """Read the versions that `asked` names.

    Raises
    ------
    DataError
        For fewer than 2 or more than 26 versions.
    RegistryError
        For a version that does not exist.
    """
    if not 2 <= len(asked) <= len(ascii_uppercase):
        raise DataError(
            f"{len(asked)} models found, expected 2 to {len(ascii_uppercase)} to compare, such as "
            "texture-lr texture-rf."
        )
    return Comparison(dict(zip(ascii_uppercase, map(read, asked), strict=False)))


def _digest(member: Details) -> str:
    return member.version.model.tags.get("dataset_digest", "unknown")[:_DIGEST_SHOWN]


def _settings(member: Details) -> dict[str, str]:
    tags = member.version.model.tags
    known = {tag: tags[tag] for tag in _TAGS if tag in tags}
    return known | {"dataset_digest": _digest(member)} | member.params
