"""Which classes of a plate are compared."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.plate_distance import comparable_units


def test_units_are_the_classes_that_a_plate_carries():
    plates = np.array(["a", "a", "a", "b", "b"])
    classes = np.array([0, 1, 1, 2, 3])
    counts = np.array([100, 15, 9, 40, 11])
    names, labels, cells, unit = comparable_units(plates, classes, counts)
    # Class 1 has 24 of the 25 cells that a quarter of class 0 asks for; class 3 has 11 of 10.
    assert list(zip(names.tolist(), labels.tolist(), cells.tolist(), strict=True)) == [
        ("a", 0, 100),
        ("b", 2, 40),
        ("b", 3, 11),
    ]
    np.testing.assert_array_equal(unit, [0, -1, -1, 1, 2])
