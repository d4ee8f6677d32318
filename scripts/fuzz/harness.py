"""One mutated plate at a time through `coos check` and `coos-score`, and what came of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fuzz.judge import findings, findings_of_results
from fuzz.trap import Trap
from fuzz.worker import Ended, Limits

PLATE, OUT = "plate.h5", "out"


class Run(Protocol):
    """A way to run a command: in a forked child, or as a process of its own."""

    def __call__(self, name: str, argv: list[str], folder: Path, limits: Limits) -> Ended:
        """Run the command `name` with arguments in a folder."""


@dataclass
class Verdict:
    """What came of one plate.

    Parameters
    ----------
    outcome : str
        "accepted" or "refused".
    findings : list of str
        What should not have been, with the command before it.
    ended : dict of str to Ended
    """

    outcome: str = "refused"
    findings: list[str] = field(default_factory=list)
    ended: dict[str, Ended] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The slower command's time."""
        return max(ended.seconds for ended in self.ended.values())

    @property
    def megabytes(self) -> float:
        """The hungrier command's memory."""
        return max(ended.megabytes for ended in self.ended.values())


class Harness:
    """Judges plates.

    Parameters
    ----------
    folder : Path
        Where plates are tried, each in a folder of its own.
    trap : Trap
    run : Run
    watched : list of Path
        Folders in which no command may leave anything: home, temporary files, cache.
    limits : Limits
    """

    def __init__(
        self, folder: Path, trap: Trap, run: Run, watched: list[Path], limits: Limits
    ) -> None:
        self._folder, self._trap, self._run = folder, trap, run
        self._watched, self._limits = watched, limits

    def judge(self, make: Callable[[Path], Any], score: bool = True) -> Verdict:
        """Make a plate and put it through the commands.

        Parameters
        ----------
        make : callable
            Writes the plate to the path that it is given.
        score : bool
            Whether the slower command gets it too.
        """
        place = self._folder / "try" / "plate"
        place.mkdir(parents=True)
        try:
            make(place / PLATE)
            self._trap.sprung()
            verdict = Verdict()
            self._try("check", [PLATE], place, verdict)
            if score:
                argv = [PLATE, "--model", "texture-lr", "--out", OUT]
                self._try("score", argv, place, verdict)
            codes = {ended.code for ended in verdict.ended.values()}
            if 0 in codes:
                verdict.outcome = "accepted"
            if len(codes) > 1 and not verdict.findings:
                verdict.findings.append("check and score disagree")
            return verdict
        finally:
            shutil.rmtree(place.parent)

    def _try(self, name: str, argv: list[str], place: Path, verdict: Verdict) -> None:
        watched = [place, *self._watched]
        before = [_listed(folder) for folder in watched]
        ended = self._run(name, argv, place, self._limits)
        verdict.ended[name] = ended
        said = [*findings(ended, self._limits)]
        if self._trap.sprung():
            said.append("leak: opened a file outside")
        results = place / OUT / Path(PLATE).stem
        if name == "score" and ended.code == 0 and results.is_dir():
            said += findings_of_results(results)
            shutil.rmtree(results)
            if not any(results.parent.iterdir()):
                results.parent.rmdir()
        for folder, there in zip(watched, before, strict=True):
            if left := _listed(folder) ^ there:
                said.append(f"left behind: {min(left)[0]}")
        verdict.findings += [f"{name}: {finding}" for finding in said]


def _listed(folder: Path) -> set[tuple[str, int, int]]:
    """Return the names, sizes and times of all files below a folder."""
    return set(_files(folder, folder))


def _files(folder: Path, root: Path) -> Iterator[tuple[str, int, int]]:
    for entry in os.scandir(folder):
        found = entry.stat(follow_symlinks=False)
        name = str(Path(entry.path).relative_to(root))
        if entry.is_dir(follow_symlinks=False):
            yield name, 0, 0
            yield from _files(Path(entry.path), root)
        else:
            yield name, found.st_size, found.st_mtime_ns


def without_numbers(text: str) -> str:
    """Return a finding as a class of findings."""
    return re.sub(r"\d+", "N", text)
