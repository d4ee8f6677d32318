"""Looks: what one model says of one plate or file, kept in a journal as soon as it is said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.drift import CANNOT_TELL
from coos_mlflow.drift.assessment import Assessor
from coos_mlflow.model.cell_model import CellModel
from drift_validation import plates
from drift_validation.bank import Bank
from drift_validation.plates import File, Plate, Scored
from drift_validation.registries import Judging


@dataclass(frozen=True)
class Look:
    """What a model says of a plate or a file.

    Parameters
    ----------
    model, group : str
        `Judging.name` and its group.
    plate, kind, base : str
        As `Plate` and `File` have them.
    digest : str
        Of the sources (`digests.of_looks`).
    verdict : str
    answer : str
        Of the error.
    truth : float
        The true balanced error in %.
    estimate, low, high : float or None
        In %.
    is_told : bool
        Whether the report says that it knows nothing of the class that something is wrong with,
        lists most of its wells as odd, or gives no estimate; False where nothing is wrong with one
        class or well.
    odd_of_concerned, odd_of_others : float or None
        Shares of the cells of that class or well, and of all others, in wells that the report
        lists as odd.
    promised : float or None
        The share of plates like Test3 that the report says it would find.
    """

    model: str
    group: str
    plate: str
    kind: str
    base: str
    digest: str
    verdict: str
    answer: str
    truth: float
    estimate: float | None
    low: float | None
    high: float | None
    is_told: bool
    odd_of_concerned: float | None
    odd_of_others: float | None
    promised: float | None


class Journal:
    """Looks in a file of JSON lines.

    Parameters
    ----------
    path : Path
        Created when the first looks are added.
    digest : str
        Looks under another digest stay in the file and are not used.

    Attributes
    ----------
    digest : str
    looks : dict of (model, plate) to Look
    ignored : int
        Lines of other digests, or cut short.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path, self.digest = path, digest
        self.looks: dict[tuple[str, str], Look] = {}
        self.ignored = 0
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            look = _parsed(line)
            if look is None or look.digest != digest:
                self.ignored += 1
            else:
                self.looks[look.model, look.plate] = look

    def add(self, looks: Iterable[Look]) -> None:
        """Append looks, on a new line even if a kill left the last one incomplete."""
        looks = list(looks)
        cut = self._path.exists() and self._path.read_bytes()[-1:] not in (b"", b"\n")
        lines = "".join(json.dumps(asdict(look)) + "\n" for look in looks)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut + lines)
        self.looks |= {(look.model, look.plate): look for look in looks}


def _parsed(line: str) -> Look | None:
    try:
        return Look(**json.loads(line))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Task:
    """Plates and files that one model judges in one go, under the digest of a journal."""

    judging: Judging
    items: tuple[Plate | File, ...]
    digest: str


def tasks(
    judges: Sequence[Judging],
    wanted: dict[str, list[Plate | File]],
    journal: Journal,
    n_items: int = 200,
) -> list[Task]:
    """Return what is still to be judged, at most `n_items` plates or files at a time.

    Parameters
    ----------
    judges : sequence of Judging
    wanted : dict of list
        By name of the model.
    journal : Journal
    n_items : int
    """
    found = []
    for judging in judges:
        missing = [
            item for item in wanted[judging.name] if (judging.name, item.name) not in journal.looks
        ]
        found += [
            Task(judging, tuple(missing[i : i + n_items]), journal.digest)
            for i in range(0, len(missing), n_items)
        ]
    return found


def look(task: Task, bank: Bank) -> list[Look]:
    """Let the model of a task judge its plates and files."""
    return list(_looks(task, bank))


@lru_cache(maxsize=1)
def _loaded(judging: Judging) -> tuple[CellModel, Assessor]:
    model = judging.load()
    return model, Assessor(model.reference)


def _looks(task: Task, bank: Bank) -> Iterator[Look]:
    model, assessor = _loaded(task.judging)
    of_bank = [item for item in task.items if isinstance(item, Plate)]
    # By entry, so that each is scored once.
    for entry, group in groupby(
        sorted(of_bank, key=lambda plate: plate.entry.name), lambda plate: plate.entry
    ):
        cells = plates.score(model, bank.load(entry))
        for plate in group:
            yield _look(task, assessor, plate, plate.base, {plate.name: plate.of(cells)})
    for file in (item for item in task.items if isinstance(item, File)):
        by_plate = {one.name: plates.score(model, bank.load(one)) for one in file.entries}
        yield _look(task, assessor, file, file.name, by_plate)


def _look(
    task: Task,
    assessor: Assessor,
    item: Plate | File,
    base: str,
    cells: dict[str, Scored],
) -> Look:
    """Return what is said of the cells of one plate, or of the plates of a file."""
    said = assessor.assess(
        plates.collected(cells), has_plate_ids=True, has_well_ids=True, effects=False
    )
    one, error = next(iter(cells.values())), said["error"]
    odd = np.isin(one.wells, said["plates"][0]["odd_wells"])
    odd_of_concerned = _mean(odd[one.concerned])
    return Look(
        model=task.judging.name,
        group=task.judging.group,
        plate=item.name,
        kind=item.kind,
        base=base,
        digest=task.digest,
        verdict=said["verdict"],
        answer=error["answer"],
        truth=float(np.mean([plate.true_error for plate in cells.values()])),
        estimate=error["balanced_error"],
        low=error["low"],
        high=error["high"],
        is_told=_is_told(error, one, odd_of_concerned),
        odd_of_concerned=odd_of_concerned,
        odd_of_others=_mean(odd[~one.concerned]),
        promised=said["reference"]["sensitivity"]["found"].get("test3"),
    )


def _mean(hits: np.ndarray) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _is_told(error: dict[str, Any], cells: Scored, odd: float | None) -> bool:
    """Return whether a report tells of the class or well that something is wrong with."""
    if odd is None:
        return False
    unknown = [*error["missing"], *error["untold"]]
    concerned = cells.labels[cells.concerned][0]
    return odd > 0.5 or concerned in unknown or error["answer"] == CANNOT_TELL
