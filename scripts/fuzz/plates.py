"""Mutated plates through `coos check` and `coos-score`: `python -m fuzz.plates` in `scripts`.

Needs a registered texture-lr (`coos train texture --classifiers lr`), named by --tracking-uri or
MLFLOW_TRACKING_URI. Ends with 1 where a command crashed, hung, took more memory than it may,
opened a file that is not the plate, left something behind or did not say in one sentence why it
refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.harness import Harness, Run, Verdict, without_numbers
from fuzz.worker import Ended, Limits, run_forked


@dataclass
class Tally:
    """What came of all plates.

    Parameters
    ----------
    outcomes : dict of str to Counter
        By mutation.
    findings : dict of str to list of int
        Numbers of plates by what was found.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    findings: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    slowest: tuple[float, int] = (0.0, 0)
    largest: tuple[float, int] = (0.0, 0)

    def add(self, number: int, mutation: str, verdict: Verdict) -> None:
        """Count one plate."""
        self.outcomes[mutation]["finding" if verdict.findings else verdict.outcome] += 1
        for finding in verdict.findings:
            self.findings[without_numbers(finding)].append(number)
        self.slowest = max(self.slowest, (verdict.seconds, number))
        self.largest = max(self.largest, (verdict.megabytes, number))

    def lines(self) -> list[str]:
        """Return the table of mutations and outcomes, and what was found."""
        heads = ("accepted", "refused", "finding")
        rows = [["mutation", *heads]]
        rows += [[m, *(str(c[h]) for h in heads)] for m, c in sorted(self.outcomes.items())]
        rows += [["all", *(str(sum(c[h] for c in self.outcomes.values())) for h in heads)]]
        lines = [f"{row[0]:28}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
        lines += [f"slowest: {self.slowest[0]:.1f} s, plate {self.slowest[1]}"]
        lines += [f"highest memory: {self.largest[0]:.0f} MB, plate {self.largest[1]}"]
        for finding, numbers in sorted(self.findings.items()):
            lines.append(f"{len(numbers)} x {finding}: plates {numbers[:8]}")
        return lines


def main(argv: list[str] | None = None) -> None:
    """Try plates and print what came of them."""
    parser = argparse.ArgumentParser(
        prog="fuzz.plates", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=300, help="plates to try (300)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first plate (0)")
    parser.add_argument("--keep", type=Path, help="folder for plates with findings")
    parser.add_argument("--real", type=int, default=200, help="one in so many also as a process")
    parser.add_argument("--tracking-uri", help="of the registry with texture-lr")
    options = parser.parse_args(argv)
    if options.tracking_uri:
        os.environ["MLFLOW_TRACKING_URI"] = options.tracking_uri
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        tally = try_plates(options, Path(name))
    print(*tally.lines(), f"{time.monotonic() - began:.0f} s in all", sep="\n")
    sys.exit(bool(tally.findings))


def try_plates(options: argparse.Namespace, folder: Path) -> Tally:
    """Try the plates that are asked for, in a folder."""
    watched = _own_places(folder)
    from fuzz.commands import loaded, run_real
    from fuzz.mutants import mutant
    from fuzz.seeds import make_seeds
    from fuzz.trap import Trap

    commands = loaded()
    limits = Limits()
    tally = Tally()
    with Trap(folder / "trap") as trap:
        forked = Harness(folder, trap, in_child(commands), watched, limits)
        real = Harness(folder, trap, run_real, watched, limits)
        seeds = make_seeds(folder / "seeds")
        for number in range(options.first, options.first + options.files):
            made = mutant(number, options.seed, seeds, trap)
            verdict = forked.judge(made.make)
            if number % options.real == 0:
                _compare(verdict, real.judge(mutant(number, options.seed, seeds, trap).make))
            tally.add(number, made.mutation, verdict)
            if verdict.findings:
                print(number, made.mutation, *verdict.findings, sep=" | ", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    again = mutant(number, options.seed, seeds, trap)
                    again.make(options.keep / f"seed{options.seed}-{number}-{made.mutation}.h5")
    return tally


def in_child(
    commands: dict[str, Callable[[], object]],
) -> Run:
    """Return a way to run these commands in children."""

    def run(name: str, argv: list[str], folder: Path, limits: Limits) -> Ended:
        command = ["coos", "check"] if name == "check" else ["coos-score"]
        return run_forked(commands[name], [*command, *argv], folder, limits)

    return run


def _compare(verdict: Verdict, real: Verdict) -> None:
    """Add to a verdict what a process of its own did otherwise."""
    verdict.findings += [f"process: {finding}" for finding in real.findings]
    for name, ended in verdict.ended.items():
        other = real.ended[name]
        if (ended.code, ended.stderr) != (other.code, other.stderr):
            verdict.findings.append(f"process: {name} ends otherwise than in a child")


def _own_places(folder: Path) -> list[Path]:
    """Let home, cache and temporary files lie in folders that stay empty."""
    places = {"HOME": "home", "TMPDIR": "temporary", "COOS_CACHE": "cache"}
    for variable, name in places.items():
        (folder / name).mkdir()
        os.environ[variable] = str(folder / name)
    (folder / "cache" / "unsent").mkdir()  # which a scoring makes, and leaves empty
    tempfile.tempdir = None
    return [folder / name for name in places.values()]


if __name__ == "__main__":
    main()
