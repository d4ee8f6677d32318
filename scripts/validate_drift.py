"""Validate the drift report on simulated plates that no model and no choice has seen.

Registries are simulated and trained, plates of every kind are simulated, and every registry's model
judges every plate as `coos-score` does. Verdicts and error estimates are compared with the true
labels. What is made is kept in the work folder, so that a stopped run continues where it was.

    scripts/validate_drift.py                      # the judging seeds; 40 minutes on two cores
    scripts/validate_drift.py --seeds development --size small
    scripts/validate_drift.py --model texture-lr   # a registered model on the same plates

docs/drift.md explains the kinds of plates and the table. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from drift_validation import (
    claims,
    digests,
    kinds,
    looks,
    peers,
    plates,
    registries,
    service,
    tables,
)
from drift_validation.bank import Bank
from drift_validation.kinds import Entry
from drift_validation.registries import ASKED, Judging
from drift_validation.seeds import JUDGING, SEEDS, Seeds
from drift_validation.sizes import SIZES, Size
from joblib import Parallel, delayed
from rich.console import Console

from coos_mlflow._utils.progress import progress
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer

R = TypeVar("R")


@dataclass(frozen=True)
class Run:
    """What is asked for: the folder, the seeds, the size, and the number of processes."""

    work: Path
    seeds: Seeds
    size: Size
    jobs: int

    @property
    def entries(self) -> list[Entry]:
        """The plates to simulate."""
        return kinds.entries(self.seeds, self.size)


def main(argv: list[str] | None = None) -> None:
    """Make what is missing, let the models judge, and print the tables."""
    options = _options(argv)
    work = Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    # Features and searches of the simulated registries stay out of the user's own cache.
    os.environ["COOS_CACHE"] = str(work / "cache")
    run = Run(work, SEEDS[options.seeds], SIZES[options.size], options.jobs)
    console = Console(width=190)
    for name in options.model:
        scorer = Scorer.load(name)
        judges, bank = _registered(scorer, run)
        measured = _measured(console, judges, bank, run, with_peers=options.peers)
        if options.service:
            measured |= service.measure(scorer)
        print(json.dumps(measured | {"model": judges[0].name}))
    if not options.model:
        judges, bank = _simulated(run)
        print(json.dumps(_measured(console, judges, bank, run, with_peers=options.peers)))


def _measured(
    console: Console, judges: Sequence[Judging], bank: Bank, run: Run, *, with_peers: bool
) -> dict[str, Any]:
    """Let models judge the plates, print the tables, and return the figures."""
    looked = claims.frame(judge(judges, bank, run), run.size)
    rows = claims.claims(looked)
    tables.show(console, rows, looked)
    measured = {"seeds": run.seeds.name, "size": run.size.name} | claims.summary(rows)
    if with_peers:
        measured["peers"] = peers.compare(console, judges[0], bank, run.entries, run.work)
    return measured


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", default="validation", help="folder of all that is made")
    parser.add_argument("--seeds", choices=SEEDS, default=JUDGING.name)
    parser.add_argument("--size", choices=SIZES, default="standard")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--model", action="append", default=[], help="a registered model, in place of registries"
    )
    parser.add_argument("--peers", action="store_true", help="compare with other packages")
    parser.add_argument(
        "--service", action="store_true", help="time, memory and bytes of scoring by --model"
    )
    options = parser.parse_args(argv)
    if options.service and not options.model:
        parser.error("--service measures a registered model; name it with --model.")
    return options


def _simulated(run: Run) -> tuple[list[Judging], Bank]:
    """Return the models of simulated registries, trained where they are missing."""
    data, digest = registries.planned(run.seeds, run.size), digests.of_registries()
    # The largest first, so that no process works alone at the end.
    largest_first = sorted(data, key=lambda one: -one.scale)
    _each("Registries", registries.make, [(one, run.work, digest) for one in largest_first], run)
    representation = create(registries.REPRESENTATION)
    bank = Bank(run.work, representation, representation.layers[-1:], run.size)
    return registries.judges(data, run.work, digest), bank


def _registered(scorer: Scorer, run: Run) -> tuple[list[Judging], Bank]:
    """Return a registered model, and the bank of its representation."""
    model, ref = scorer.cell_model, scorer.model
    name = f"{ref.name}-{ref.version}-{ref.model_id}"
    own = name if model.representation.trainable else ""
    bank = Bank(run.work, model.representation, model.layers, run.size, of_model=own)
    return [Judging(name, ASKED, 0, scorer.bundle)], bank


def judge(judges: Sequence[Judging], bank: Bank, run: Run) -> list[looks.Look]:
    """Make the plates that are missing, and return every model's look at each plate and file."""
    entries = run.entries
    _each("Plates", bank.make, [(entry,) for entry in bank.missing(entries)], run)
    wanted: dict[str, list[plates.Plate | plates.File]] = {
        one.name: [*plates.planned(entries, run.size), *plates.files(entries, one.seed)]
        for one in judges
    }
    path = run.work / f"looks_{run.seeds.name}_{run.size.name}.jsonl"
    journal = looks.Journal(path, digests.of_looks())
    tasks = looks.tasks(judges, wanted, journal)
    _each("Looks", looks.look, [(task, bank) for task in tasks], run, then=journal.add)
    return [journal.looks[name, item.name] for name, items in wanted.items() for item in items]


def _each(
    title: str,
    function: Callable[..., R],
    arguments: Sequence[tuple[Any, ...]],
    run: Run,
    then: Callable[[R], object] = lambda _: None,
) -> None:
    """Call a function in several processes, and `then` with each result as it comes."""
    if not arguments:
        return
    with progress(title, total=len(arguments), unit="parts") as advance:
        results = Parallel(n_jobs=run.jobs, return_as="generator_unordered")(
            delayed(function)(*own) for own in arguments
        )
        for result in results:
            then(result)
            advance(1)


if __name__ == "__main__":
    main()
