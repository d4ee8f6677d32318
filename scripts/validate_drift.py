"""Validate the drift report on simulated plates that no model or reference has seen.

Plates of every kind are simulated, scored by registered models and assessed as `coos-score` does.
Verdicts and error estimates are compared with the true labels. Each result is written to a journal,
so that a stopped run continues where it was.

    coos train texture --scale 1 --preset quick --classifiers lr
    scripts/validate_drift.py --model texture-lr --plates 500

Records of other models, versions, plate sizes or sources of the package in the journal are counted
and not used. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from drift_validation import guarantees, service, tables
from drift_validation.journal import Circumstances, Journal, Record, package_digest
from rich.console import Console

from coos_mlflow._utils.progress import progress
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.collect import Collected, Collector
from coos_mlflow.drift.image_quality import raw_figures
from coos_mlflow.metrics import Evaluation, confusion_matrix
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.wells import well_names
from coos_mlflow.scoring.job import BLOCK
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate import simulate_plate_cells

WELLS, CELLS = 8, 40
"""Wells of each class and cells of each well; wells of COOS-7's Training hold about 180."""

STRANGERS = 0.2
"""Share of the cells of an uneven well that come from another well."""

FIRST_SEED = 1_000_000
"""The first seed of the plates, far from the seeds of data sets and demonstrations."""


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
        seven, most wells holding cells of two of them alike; "uneven wells": seven, a fifth of the
        cells of each well being of another.
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
        Kind("test2, two classes", "test2", "two", 1.0, 4),
        Kind("training, mixed wells", "training", "mixed wells", 1.0, 4),
        Kind("training, uneven wells", "training", "uneven wells", 1.0, 4),
    ]
    return (*fresh, *graded, *others)


KINDS = _kinds()


def main(argv: list[str] | None = None) -> None:
    """Simulate, score, assess, and print the tables."""
    options = _options(argv)
    console = Console(width=130)
    scorers = {asked: Scorer.load(asked) for asked in options.model}
    models = {_circumstances(scorer): scorer.cell_model for scorer in scorers.values()}
    plan = planned(options.plates, options.seed)
    wanted = [(under, kind.name, seed) for under in models for kind, seed in plan]
    journal = Journal(Path(options.journal), wanted)
    if journal.ignored:
        console.print(
            f"{options.journal}: {journal.ignored} lines are ignored; they are of other models, "
            "versions, sizes or plates than those asked for, or cannot be read."
        )
    with progress("Validating", total=len(plan), unit="plates") as advance:
        for kind, seed in plan:
            missing = {
                under: model
                for under, model in models.items()
                if (under, kind.name, seed) not in journal.records
            }
            for record in validate(kind, seed, missing) if missing else ():
                journal.add(record)
            advance(1)
    measured = {}
    for asked, scorer in scorers.items():
        under = _circumstances(scorer)
        records = [record for record in journal.records.values() if record.under == under]
        found = guarantees.measure(records, scorer.cell_model.reference)
        if options.service:
            found |= service.measure(scorer)
        tables.show(console, str(scorer.model), found, records)
        measured[asked] = {"model": under.model, "version": under.version} | found
    print(json.dumps(measured if len(measured) > 1 else next(iter(measured.values()))))


def _circumstances(scorer: Scorer) -> Circumstances:
    model = scorer.model
    return Circumstances(
        model=model.name,
        version=model.version,
        model_id=model.model_id,
        wells_per_class=WELLS,
        cells_per_well=CELLS,
        package=package_digest(),
    )


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


def validate(kind: Kind, seed: int, models: dict[Circumstances, CellModel]) -> Iterator[Record]:
    """Simulate one plate and yield the record of each model."""
    cells = simulate(kind, seed)
    for under, model in models.items():
        began = time.perf_counter()
        collected, labels = score(model, cells)
        found = assess(model.reference, collected, has_plate_ids=True, has_well_ids=True)
        plate, estimate = found["plates"][0], found["error"]
        truth = truth_of(cells["labels"], labels, model.dataset.n_classes)
        yield Record(
            under=under,
            kind=kind.name,
            like=kind.like,
            layout=kind.layout,
            shift=kind.shift,
            seed=seed,
            verdict=found["verdict"],
            p=plate.get("p"),
            t_p=plate.get("t_p"),
            stands_out_in=plate.get("stands_out_in"),
            truth=truth["balanced_error"],
            estimate=estimate["balanced_error"],
            low=estimate["low"],
            high=estimate["high"],
            true_recalls=truth["recalls"],
            recalls=estimate["recalls"],
            recall_lows=estimate["recall_lows"],
            recall_highs=estimate["recall_highs"],
            estimators=estimate["estimators"],
            test1=model.reference.errors["test1"],
            seconds=time.perf_counter() - began,
        )


def truth_of(classes: np.ndarray, labels: np.ndarray, n_classes: int) -> dict[str, Any]:
    """Return the paper's ``balanced_error`` (%) and ``recalls`` over all true classes of a plate.

    The estimates drop classes with very few cells; the true figures keep them.
    """
    confusion = confusion_matrix(classes, labels, n_classes)
    return Evaluation(confusion, interval=(np.nan, np.nan)).as_dict()


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
    if kind.layout == "uneven wells":
        cells["wells"] = _uneven(cells["wells"], rng)
    return cells


def _mixed(wells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Merge the wells of a plate in random pairs."""
    names, own = np.unique(well_names(wells), return_inverse=True)
    pairs = rng.permutation(len(names)) // 2
    return names[pairs[own]]


def _uneven(wells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move a random fifth of the cells of each well to one other well."""
    names, own = np.unique(well_names(wells), return_inverse=True)
    order = rng.permutation(len(names))
    following = np.empty_like(order)
    following[order] = np.roll(order, 1)
    moved = rng.random(len(own)) < STRANGERS
    return names[np.where(moved, following[own], own)]


def score(model: CellModel, cells: dict[str, np.ndarray]) -> tuple[Collected, np.ndarray]:
    """Return the summaries that `coos-score` collects, and the labels."""
    collector, labels = Collector(), []
    wells = well_names(cells["wells"])
    for start in range(0, len(wells), BLOCK):
        rows = slice(start, start + BLOCK)
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


if __name__ == "__main__":
    main()
