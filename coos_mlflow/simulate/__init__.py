"""Simulated cells, microscope and experiment, deterministic by seed.

`coos7_experiment` writes COOS-7's splits and plates, planned by `coos7_layout`. `described` writes
made-up classes (`made_up`) for any description of a data set. Both simulate wells by `experiment`.
`population` and `classes` hold the parameters. `tissue`, `organelles` and `diffuse` draw cells,
`microscope` images them, and `render` joins both for one well. `whole_fields` has fields of view
with the truth about their nuclei. `wild` and `single_causes` are populations that judge remedies
against covariate shift; `disturbances` is the physics of wild plates alone.
"""

from __future__ import annotations

from coos_mlflow.simulate.contact_sheet import contact_sheet
from coos_mlflow.simulate.coos7_experiment import (
    simulate_dataset,
    simulate_plate,
    simulate_plate_cells,
    simulate_plates,
)
from coos_mlflow.simulate.coos7_layout import planned_cells
from coos_mlflow.simulate.described import Size, simulate_described
from coos_mlflow.simulate.made_up import made_up_dataset
from coos_mlflow.simulate.single_causes import SINGLE_CAUSES
from coos_mlflow.simulate.whole_fields import WholeField, simulate_fields
from coos_mlflow.simulate.wild import WILD

__all__ = [
    "SINGLE_CAUSES",
    "WILD",
    "Size",
    "WholeField",
    "contact_sheet",
    "made_up_dataset",
    "planned_cells",
    "simulate_dataset",
    "simulate_described",
    "simulate_fields",
    "simulate_plate",
    "simulate_plate_cells",
    "simulate_plates",
]
