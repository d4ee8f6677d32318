"""Validate the error that labelled cells measure, on simulated plates whose truth is known.

Registries are simulated and trained, plates of every kind are simulated, and every registry's model
labels every plate. Then 20 to 200 cells are drawn as `coos label` draws them and labelled by their
truth, or with a share of mistakes. What the labels say is compared with the truth of all cells.
What is made is kept in the work folder, so that a stopped run continues where it was.

    scripts/validate_audit.py                       # the judging seeds; half an hour on two cores
    scripts/validate_audit.py --seeds development --size small

docs/audit.md explains the kinds of plates and the table. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from audit_validation import adaptation, looks, plates, tables
from drift_validation import digests, registries
from drift_validation.bank import Bank
from drift_validation.kinds import Entry
from drift_validation.registries import Judging
from drift_validation.seeds import JUDGING, SEEDS
from joblib import Parallel, delayed
from rich.console import Console

from coos_mlflow._utils.progress import progress
from coos_mlflow.representations import create

PLATES_OF_A_PART = 10
"""Plates that one process labels before what it found is kept."""


def main(argv: list[str] | None = None) -> None:
    """Make what is missing, label the plates, and print the tables."""
    options = _options(argv)
    work = Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    # Features and searches of the simulated registries stay out of the user's own cache.
    os.environ["COOS_CACHE"] = str(work / "cache")
    seeds, size = SEEDS[options.seeds], plates.SIZES[options.size]
    data, digest = plates.registries(seeds, size), digests.of_registries()
    _each("Registries", registries.make, [(one, work, digest) for one in data], options.jobs)
    representation = create(registries.REPRESENTATION)
    bank = Bank(work, representation, representation.layers[-1:], size)
    entries = plates.entries(seeds, size)
    _each("Plates", bank.make, [(one,) for one in bank.missing(entries)], options.jobs)
    judges = registries.judges(data, work, digest)
    found = _looks(judges, plates.planned(entries), bank, work, options.jobs)
    gained = _gains(judges, entries, bank, work / "gains" / size.name, options.jobs)
    console = Console(width=150)
    tables.show(console, found, gained)
    facts = {"seeds": seeds.name, "size": size.name}
    print(json.dumps(facts | tables.summary(found) | tables.summary_of_gains(gained)))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", default="validation", help="folder of all that is made")
    parser.add_argument("--seeds", choices=SEEDS, default=JUDGING.name)
    parser.add_argument("--size", choices=plates.SIZES, default="standard")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args(argv)


def _looks(
    judges: Sequence[Judging], planned: list[plates.Plate], bank: Bank, work: Path, jobs: int
) -> pd.DataFrame:
    """Return all looks, those that are there already from their files."""
    # Of the package's own code, and of what is labelled.
    own = digests.digest(digests.PACKAGE / "audit", Path(looks.__file__).parent)
    parts = [
        (judge, planned[i : i + PLATES_OF_A_PART], work / "audit" / own / f"{judge.name}-{i}.json")
        for judge in judges
        for i in range(0, len(planned), PLATES_OF_A_PART)
    ]
    # Sizes and seeds have other plates, and so other files.
    names = {file: digests.of_names([one.name for one in some]) for _, some, file in parts}
    parts = [(j, some, f.with_stem(f"{f.stem}-{names[f]}")) for j, some, f in parts]
    missing = [(j, some, bank, file) for j, some, file in parts if not file.exists()]
    _each("Looks", looks.look, missing, jobs)
    return pd.concat([pd.DataFrame(json.loads(f.read_text())) for _, _, f in parts])


def _gains(
    judges: Sequence[Judging], entries: Sequence[Entry], bank: Bank, folder: Path, jobs: int
) -> pd.DataFrame:
    """Return what adapting gains on some plates of each kind, from files where it is there."""
    sources = [digests.PACKAGE / name for name in ("audit", "labelling/adapt", "model")]
    own = digests.digest(*sources, Path(adaptation.__file__))
    parts = [
        (judge, entry, folder / own / judge.name / f"{entry.name}.json")
        for judge in judges
        for entry in plates.to_adapt(entries)
    ]
    missing = [(judge, entry, bank, file) for judge, entry, file in parts if not file.exists()]
    _each("Adapted models", adaptation.write_gains, missing, jobs)
    return pd.concat([pd.DataFrame(json.loads(f.read_text())) for _, _, f in parts])


def _each(
    title: str, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], jobs: int
) -> None:
    """Call a function in several processes."""
    if not arguments:
        return
    with progress(title, total=len(arguments), unit="parts") as advance:
        results = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(function)(*own) for own in arguments
        )
        for _ in results:
            advance(1)


if __name__ == "__main__":
    main()
