"""Filled tables made by hand, without any training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coos_mlflow.metrics import Evaluation
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.training.row import KIND_TITLES
from coos_mlflow.training.table3.rows import Entry, Line, Table, published, short_lack
from coos_mlflow.training.train import Row

KINDS = {title: kind for kind, title in KIND_TITLES.items()}


def evaluation_of(error: float, called: int = 3) -> Evaluation:
    """Return 1000 cells a class, `error` % of each called class `called` (or 0 of that class)."""
    wrong = round(10 * error)
    confusion = np.diag(np.full(7, 1000 - wrong))
    for true in range(7):
        confusion[true, called if true != called else 0] += wrong
    return Evaluation(confusion, (0.8 * error, 1.2 * error))


def row_of(line: Line, errors: dict[str, float]) -> Row:
    model = ModelRef("models:/x/3", f"{line.representation}-{line.kind}", "3", None, {}, "r", None)
    evaluations = {split: evaluation_of(error) for split, error in errors.items()}
    return Row(model, line.features, line.layer, line.kind, evaluations, 1.0, trained=True)


def paper_lines() -> list[Line]:
    """Return the 25 rows of the paper, whichever representations this version has."""
    lines = []
    for features, layer, model in published():
        kind, parts = KINDS[model], (features.lower(), layer.lower())
        key = "-".join(part for part in (*parts, "" if kind == "own" else kind) if part)
        lines.append(Line(key, features.lower(), layer.lower(), kind, features, layer))
    return lines


@pytest.fixture
def lines() -> list[Line]:
    return paper_lines()


@pytest.fixture
def make_table() -> Callable[..., Table]:
    """Factory ``make_table(...)`` of tables whose errors are the paper's and half a point."""

    def make(
        lines: list[Line] | None = None,
        *,
        seeds: tuple[int, ...] = (0,),
        missing: tuple[str, ...] = (),
        dataset: Dataset | None = None,
        name: str = "simulated",
        simulated: bool = True,
        errors: dict[str, dict[str, float]] | None = None,
    ) -> Table:
        dataset, entries = dataset or coos7(), []
        flat = dict.fromkeys(dataset.split_keys, 3.0)
        for line in paper_lines() if lines is None else lines:
            if line.representation in missing:
                entries.append(Entry(line, missing=short_lack(line.representation)))
                continue
            known = (errors or {}).get(line.key) or line.published or flat
            rows = (
                row_of(line, {split: error + 0.5 + seed for split, error in known.items()})
                for seed in range(len(seeds))
            )
            entries.append(Entry(line, tuple(rows)))
        digest = "ab" * 32
        return Table(tuple(entries), dataset, name, digest, simulated, "quick", seeds, {})

    return make
