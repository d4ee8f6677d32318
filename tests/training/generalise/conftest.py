"""Comparisons made by hand, without any training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from generalise_rows import evaluation_of

from coos_mlflow.plates.dataset import coos7
from coos_mlflow.training.generalise import worlds
from coos_mlflow.training.generalise.comparison import Comparison, Costs
from coos_mlflow.training.generalise.worlds import World
from coos_mlflow.training.table3.rows import Entry, Table

SMALL = (
    World("training", "new plates", 2, wells_per_class=1, cells_per_well=3),
    World("wild", "wild", 2, wells_per_class=1, cells_per_well=3),
)


@pytest.fixture
def small_worlds(monkeypatch) -> tuple[World, ...]:
    """Two worlds of two plates each, in the place of all others."""
    monkeypatch.setattr(worlds, "WORLDS", SMALL)
    return SMALL


@pytest.fixture
def make_comparison() -> Callable[..., Comparison]:
    """Factory ``make_comparison(entries, seeds=1)``; on wild plates all err alike."""

    def make(entries: list[Entry], seeds: int = 1, *, simulated: bool = True) -> Comparison:
        filled = [entry for entry in entries if entry.rows]
        there = SMALL[1:] if simulated else ()
        name = "simulated" if simulated else "COOS-7"
        table = Table(
            tuple(entries), coos7(), name, "ab" * 32, simulated, "quick", tuple(range(seeds)), {}
        )
        return Comparison(
            table,
            there,
            {
                entry.line.key: tuple(
                    {world.title: evaluation_of(0.6, seed) for world in there}
                    for seed in range(seeds)
                )
                for entry in filled
            },
            {entry.line.key: Costs(1.25, float("nan"), 1234.5) for entry in filled},
        )

    return make
