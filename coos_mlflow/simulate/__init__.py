"""Simulated COOS-7: cells, microscope and experiment, deterministic by seed.

`experiment` writes data sets and plates, `layout` plans them, `population` and `classes` hold the
parameters. `tissue`, `organelles` and `diffuse` draw cells, `microscope` images them, and `render`
joins both for one well.
"""

from __future__ import annotations

from coos_mlflow.simulate.contact_sheet import contact_sheet
from coos_mlflow.simulate.experiment import simulate_dataset, simulate_plate, simulate_plate_cells
from coos_mlflow.simulate.layout import planned_cells

__all__ = [
    "contact_sheet",
    "planned_cells",
    "simulate_dataset",
    "simulate_plate",
    "simulate_plate_cells",
]
