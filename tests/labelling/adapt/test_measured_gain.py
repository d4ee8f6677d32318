"""The figures of scripts/audit_validation/adaptation.py, on plates that are made of numbers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from coos_mlflow.labelling.adapt import choice

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def gains(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(choice, "FOLDS", 4)
    monkeypatch.setattr(choice, "INNER_FOLDS", 3)
    adaptation = import_module("audit_validation.adaptation")
    described = import_module("drift_validation.bank").Described

    def measured(world, cells, truths=None, numbers=(100,)):
        truths = cells.truths if truths is None else truths
        plate = described({"layer": cells.features}, np.zeros(0), truths, cells.wells.astype(str))
        return adaptation.gains(world.model, plate, "moved", numbers)

    return measured


def test_a_moved_plate_is_better_after_it(world, gains):
    (found,) = gains(world, world.plate(1500, 1, shift=1.5))
    assert (found.kind, found.n_labels) == ("moved", 100) and found.remedy
    assert found.after < 0.75 * found.before
    assert found.said_after < found.said_before


def test_where_nothing_is_chosen_nothing_changes(world, gains, monkeypatch):
    monkeypatch.setattr(choice, "MARGIN", 1000.0)
    (found,) = gains(world, world.plate(1500, 2))
    assert not found.remedy and found.after == found.before


def test_a_plate_like_training_is_no_worse_after_it(world, gains):
    (found,) = gains(world, world.plate(1500, 2))
    assert found.after < found.before + 0.5


def test_too_many_labels_for_the_plate_are_left_out(world, gains):
    assert gains(world, world.plate(150, 3), numbers=(91,)) == []


def test_cells_of_no_known_class_neither_teach_nor_count(world, gains):
    cells = world.plate(1500, 4, shift=1.5)
    strangers = np.where(cells.truths == 3, 7, cells.truths)
    (found,) = gains(world, cells, strangers)
    known = cells.truths != 3
    wrong = cells.probabilities.argmax(axis=1) != cells.truths
    expected = 100 * np.mean([wrong[cells.truths == c].mean() for c in set(cells.truths[known])])
    assert found.before == pytest.approx(expected, abs=3)
