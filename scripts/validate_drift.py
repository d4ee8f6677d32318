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
from drift_validation.registries import ASKED, Judging
from drift_validation.seeds import JUDGING, SEEDS, Seeds
from drift_validation.sizes import SIZES, Size
from joblib import Parallel, delayed
from rich.console import Console

from coos_mlflow._utils.progress import progress
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer

R = TypeVar("R")


def main(argv: list[str] | None = None) -> None:
    """Make what is missing, let the models judge, and print the tables."""
    options = _options(argv)
    work, seeds, size = Path(options.work).resolve(), SEEDS[options.seeds], SIZES[options.size]
    work.mkdir(parents=True, exist_ok=True)
    # Features and searches of the simulated registries stay out of the user's own cache.
    os.environ["COOS_CACHE"] = str(work / "cache")
    console = Console(width=190)
    scorers = [Scorer.load(asked) for asked in options.model]
    groups = (
        [_asked(scorer, work, size) for scorer in scorers]
        if scorers
        else [_simulated(work, seeds, size, options.jobs)]
    )
    for judges, bank in groups:
        found = judge(judges, bank, work, seeds, size, options.jobs)
        table = claims.frame(found, size)
        rows = claims.claims(table)
        tables.show(console, rows, table)
        measured: dict[str, Any] = {"seeds": seeds.name, "size": size.name} | claims.summary(rows)
        if scorers:
            measured["model"] = judges[0].name
        if options.peers:
            measured["peers"] = peers.compare(
                console, judges[0], bank, kinds.entries(seeds, size), work
            )
        if options.service:
            own = next(s for s in scorers if str(s.model.name) in judges[0].name)
            measured |= service.measure(own)
        print(json.dumps(measured))


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


def _simulated(work: Path, seeds: Seeds, size: Size, jobs: int) -> tuple[list[Judging], Bank]:
    """Return the models of simulated registries, trained where they are missing."""
    data, digest = registries.planned(seeds, size), digests.of_registries()
    # The largest first, so that no process works alone at the end.
    largest_first = sorted(data, key=lambda one: -one.scale)
    _each("Registries", registries.make, [(one, work, digest) for one in largest_first], jobs)
    representation = create(registries.REPRESENTATION)
    bank = Bank(work, representation, representation.layers[-1:], size)
    return registries.judges(data, work, digest), bank


def _asked(scorer: Scorer, work: Path, size: Size) -> tuple[list[Judging], Bank]:
    """Return a registered model, and the bank of its representation."""
    model, ref = scorer.cell_model, scorer.model
    trained = f"{ref.name}-{ref.version}-{ref.model_id}" if model.representation.trainable else ""
    name = f"{ref.name}-{ref.version}-{ref.model_id}"
    bank = Bank(work, model.representation, model.layers, size, of_model=trained)
    return [Judging(name, ASKED, 0, scorer.bundle)], bank


def judge(
    judges: Sequence[Judging], bank: Bank, work: Path, seeds: Seeds, size: Size, jobs: int
) -> list[looks.Look]:
    """Make the plates that are missing, and return every model's look at each plate and file."""
    entries = kinds.entries(seeds, size)
    _each("Plates", bank.make, [(entry,) for entry in bank.missing(entries)], jobs)
    wanted: dict[str, list[plates.Plate | plates.File]] = {
        one.name: [*plates.planned(entries, size), *plates.files(entries, one.seed)]
        for one in judges
    }
    journal = looks.Journal(work / f"looks_{seeds.name}_{size.name}.jsonl", digests.of_looks())
    tasks = looks.tasks(judges, wanted, journal)
    _each("Looks", looks.look, [(task, bank) for task in tasks], jobs, then=journal.add)
    return [journal.looks[name, item.name] for name, items in wanted.items() for item in items]


def _each(
    title: str,
    function: Callable[..., R],
    arguments: Sequence[tuple[Any, ...]],
    jobs: int,
    then: Callable[[R], object] = lambda _: None,
) -> None:
    """Call a function in several processes, and `then` with each result as it comes."""
    if not arguments:
        return
    with progress(title, total=len(arguments), unit="parts") as advance:
        results = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(function)(*own) for own in arguments
        )
        for result in results:
            then(result)
            advance(1)


if __name__ == "__main__":
    main()
