"""Measure what the drift report promises, on simulated plates that no model or reference has seen.

Plates of every kind are simulated, scored by registered models and assessed as `coos-score` does;
their true labels judge verdicts and error estimates. What is done is noted in a journal, so that a
run that was stopped goes on where it was.

    coos train texture --scale 1 --preset quick --classifiers lr
    scripts/validate_drift.py --model texture-lr --plates 500

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from drift_validation import guarantees, service
from rich.console import Console

from coos_mlflow.data.wells import well_names
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.collector import Collected, Collector
from coos_mlflow.drift.error import balanced_error, true_confusion
from coos_mlflow.drift.views import raw_figures
from coos_mlflow.progress import progress
from coos_mlflow.scoring import BATCH, Scorer
from coos_mlflow.simulate import simulate_plate_cells
from coos_mlflow.tracking.pyfunc import CellClassifier

WELLS, CELLS = 8, 40
"""Wells of each class and cells of each well; wells of COOS-7's Training hold about 180."""

FIRST_SEED = 1_000_000
"""Seeds of the plates begin here: far from those that data sets and demonstrations use."""


@dataclass(frozen=True)
class Kind:
    """A kind of plate.

    Parameters
    ----------
    name : str
    like : str
        The split whose population it comes from.
    layout : str
        "one", "two" or "seven" classes; "shares": seven, in shares drawn at random; "mixed wells":
        seven, every well holding cells of two of them.
    shift : float
        Severity: 1 is the split's own.
    weight : int
        Plates of this kind in every hundred.
    """

    name: str
    like: str
    layout: str
    shift: float
    weight: int


LAYOUTS = {"one": "one class", "two": "two classes", "seven": "seven classes", "shares": "shares"}


def _kinds() -> tuple[Kind, ...]:
    fresh = [
        Kind(f"{like}, {words}", like, layout, 1.0, weight)
        for like, weights in (("training", (14, 13, 7, 6)), ("test3", (5, 5, 3, 3)))
        for (layout, words), weight in zip(LAYOUTS.items(), weights, strict=True)
    ]
    fresh += [
        Kind(f"test4, {LAYOUTS[layout]}", "test4", layout, 1.0, weight)
        for layout, weight in zip(LAYOUTS, (5, 5, 3, 3), strict=True)
    ]
    graded = [
        Kind(f"{like} x {shift:g}", like, "two", shift, 2)
        for like in ("test3", "test4")
        for shift in (0.25, 0.5, 0.75, 1.5)
    ]
    others = [
        Kind("test2, two classes", "test2", "two", 1.0, 8),
        Kind("training, mixed wells", "training", "mixed wells", 1.0, 4),
    ]
    return (*fresh, *graded, *others)


KINDS = _kinds()


@dataclass(frozen=True)
class Record:
    """What came of one plate with one model."""

    model: str
    kind: str
    like: str
    layout: str
    shift: float
    seed: int
    verdict: str
    truth: float
    estimate: float | None
    low: float | None
    high: float | None
    estimators: dict[str, float | None]
    test1: float
    seconds: float


def main(argv: list[str] | None = None) -> None:
    """Simulate, score, assess, and print the table."""
    options = _options(argv)
    scorers = [Scorer.load(name) for name in options.model]
    journal = Path(options.journal)
    done = _read(journal)
    _end_last_line(journal)
    plan = planned(options.plates, options.seed)
    models = {str(scorer.model): scorer.classifier for scorer in scorers}
    with (
        journal.open("a", encoding="utf-8") as file,
        progress("Validating", total=len(plan), unit="plates") as advance,
    ):
        for kind, seed in plan:
            missing = {m: c for m, c in models.items() if (m, kind.name, seed) not in done}
            for record in validate(kind, seed, missing) if missing else ():
                done[record.model, kind.name, seed] = record
                file.write(json.dumps(asdict(record)) + "\n")
                file.flush()
            advance(1)
    wanted = {(kind.name, seed) for kind, seed in plan}
    last: dict[str, Any] = {}
    for scorer in scorers:
        records = [
            r for (m, *key), r in done.items() if m == str(scorer.model) and (*key,) in wanted
        ]
        reference = scorer.classifier.reference
        measured = guarantees.measure(records, reference)
        if options.service:
            measured |= service.measure(scorer)
        guarantees.show(Console(width=110), str(scorer.model), measured, records)
        last[scorer.model.name] = measured
    print(json.dumps(last if len(last) > 1 else {"model": scorers[0].model.name} | measured))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", required=True, help="repeat for several")
    parser.add_argument("--plates", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the plates")
    parser.add_argument("--journal", default="drift_validation.jsonl")
    parser.add_argument(
        "--no-service", dest="service", action="store_false", help="no time, memory and bytes"
    )
    return parser.parse_args(argv)


def planned(plates: int, seed: int) -> list[tuple[Kind, int]]:
    """Return kinds and seeds of plates, in proportion to the weights but at least one of each."""
    counts = [max(1, round(kind.weight * plates / 100)) for kind in KINDS]
    first = FIRST_SEED * (seed + 1)
    plan = [
        (kind, first + 10_000 * number + i)
        for number, (kind, count) in enumerate(zip(KINDS, counts, strict=True))
        for i in range(count)
    ]
    # Mixed, so that a run that is stopped early has seen some of every kind.
    order = np.random.default_rng(seed).permutation(len(plan))
    return [plan[i] for i in order.tolist()]


def validate(kind: Kind, seed: int, models: dict[str, CellClassifier]) -> Iterator[Record]:
    """Simulate one plate and yield what each model makes of it."""
    cells = simulate(kind, seed)
    for name, model in models.items():
        began = time.perf_counter()
        collected, labels = score(model, cells)
        found = assess(model.reference, collected, has_plate_ids=True, has_well_ids=True)
        truth = balanced_error(true_confusion(cells["labels"], labels))
        estimate = found["error"]
        yield Record(
            model=name,
            kind=kind.name,
            like=kind.like,
            layout=kind.layout,
            shift=kind.shift,
            seed=seed,
            verdict=found["verdict"],
            truth=truth,
            estimate=estimate["balanced_error"],
            low=estimate["low"],
            high=estimate["high"],
            estimators=estimate["estimators"],
            test1=model.reference.errors["test1"],
            seconds=time.perf_counter() - began,
        )


def simulate(kind: Kind, seed: int) -> dict[str, np.ndarray]:
    """Return the cells of a plate of a kind, as `simulate_plate_cells` does."""
    rng = np.random.default_rng(seed)
    n_classes = {"one": 1, "two": 2}.get(kind.layout, 7)
    cells = simulate_plate_cells(
        like=kind.like,
        classes=np.sort(rng.permutation(7)[:n_classes]).tolist(),
        seed=seed,
        shift=kind.shift,
        wells_per_class=WELLS,
        cells_per_well=CELLS,
    )
    if kind.layout == "shares":
        shares = rng.dirichlet(np.ones(7))
        keep = rng.random(len(cells["labels"])) < (shares / shares.max())[cells["labels"]]
        cells = {name: values[keep] for name, values in cells.items()}
    if kind.layout == "mixed wells":
        cells["wells"] = _mixed(cells["wells"], rng)
    return cells


def _mixed(wells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pour the wells of a plate together two by two."""
    names, own = np.unique(well_names(wells), return_inverse=True)
    pairs = rng.permutation(len(names)) // 2
    return names[pairs[own]]


def score(model: CellClassifier, cells: dict[str, np.ndarray]) -> tuple[Collected, np.ndarray]:
    """Return what `coos-score` collects of a plate, and the labels."""
    collector, labels = Collector(), []
    wells = well_names(cells["wells"])
    for start in range(0, len(wells), BATCH):
        rows = slice(start, start + BATCH)
        scores = model.score(cells["images"][rows])
        labels.append(scores.labels)
        collector.add(
            plates=cells["plates"][rows],
            wells=wells[rows],
            softmax=scores.probabilities,
            features=scores.features,
            raw=raw_figures(cells["images"][rows]),
        )
    return collector.build(), np.concatenate(labels)


def _read(journal: Path) -> dict[tuple[str, str, int], Record]:
    """Return what a journal holds; the line that a kill cut short is left out."""
    records = {}
    for line in journal.read_text("utf-8").splitlines() if journal.exists() else ():
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError):
            continue
        records[record.model, record.kind, record.seed] = record
    return records


def _end_last_line(journal: Path) -> None:
    """Keep the next record off a line that a kill cut short."""
    if journal.exists() and not journal.read_bytes().endswith(b"\n"):
        with journal.open("a", encoding="utf-8") as file:
            file.write("\n")


if __name__ == "__main__":
    main()
