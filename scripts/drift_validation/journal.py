"""The result of each plate, kept in a file so that a stopped run continues where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import coos_mlflow


@dataclass(frozen=True)
class Circumstances:
    """Conditions under which plates of one kind and seed have comparable records.

    Parameters
    ----------
    model, version : str
        Name and version in the registry.
    model_id : str or None
        MLflow's id: another registry can have other models with the same name and version.
    wells_per_class, cells_per_well : int
        Size of the simulated plates.
    package : str
        Version of coos_mlflow and digest of its sources, `package_digest`.
    """

    model: str
    version: str
    model_id: str | None
    wells_per_class: int
    cells_per_well: int
    package: str


def package_digest() -> str:
    """Return the version of the package and eight hexadecimal digits of its sources' SHA-256."""
    folder = Path(coos_mlflow.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return f"{coos_mlflow.__version__}+{digest.hexdigest()[:8]}"


Key = tuple[Circumstances, str, int]
"""Circumstances, kind and seed."""


@dataclass(frozen=True)
class Record:
    """The result of one plate with one model.

    Errors are in %. Recalls are fractions, one for each class. Estimates are None where there is
    none; a true recall is None where the plate does not have the class.
    """

    under: Circumstances
    kind: str
    like: str
    layout: str
    shift: float
    seed: int
    verdict: str
    p: float | None
    t_p: float | None
    stands_out_in: str | None
    truth: float
    estimate: float | None
    low: float | None
    high: float | None
    true_recalls: list[float | None]
    recalls: list[float | None]
    recall_lows: list[float | None]
    recall_highs: list[float | None]
    estimators: dict[str, float | None]
    test1: float
    seconds: float

    @property
    def key(self) -> Key:
        """The identity of this record."""
        return self.under, self.kind, self.seed


class Journal:
    """The records of the wanted plates, written to disk as soon as they are added.

    Parameters
    ----------
    path : Path
        JSON lines; created when the first record is added.
    wanted : iterable of Key
        Other records in the file stay there and are not used.

    Attributes
    ----------
    records : dict of Key to Record
    ignored : int
        Lines of the file that are not wanted or incomplete.
    """

    def __init__(self, path: Path, wanted: Iterable[Key]) -> None:
        self._path = path
        self.records: dict[Key, Record] = {}
        self.ignored = 0
        wanted = set(wanted)
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            record = _parsed(line)
            if record is not None and record.key in wanted:
                self.records[record.key] = record
            else:
                self.ignored += 1

    def add(self, record: Record) -> None:
        """Append a record, on a new line even if a kill left the last one incomplete."""
        cut = self._path.exists() and self._path.read_bytes()[-1:] not in (b"", b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + json.dumps(asdict(record)) + "\n")
        self.records[record.key] = record


def _parsed(line: str) -> Record | None:
    try:
        fields = json.loads(line)
        return Record(**fields | {"under": Circumstances(**fields["under"])})
    except (ValueError, TypeError, KeyError):
        return None
