"""Plates like those of Training on which one single thing is different.

With the same seed a plate has the same wells, and the same effects on them, with and without its
cause.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from coos_mlflow.simulate.population import EFFECTS, Logs


class SingleCause(NamedTuple):
    """A factor of `population.EFFECTS`, and what its mean is multiplied by."""

    factor: str
    times: float


SINGLE_CAUSES: dict[str, SingleCause] = {
    "defocus": SingleCause("defocus_um", 2.5),  # 1.1 um; 15 plate deviations
    "haze": SingleCause("haze", 2.5),  # 65 % of the light; 31 plate deviations
    "dim": SingleCause("photons", 0.5),  # half the protein; 5 plate deviations
    "background": SingleCause("background", 3.0),  # 66 photons per pixel; 14 plate deviations
    "gain": SingleCause("gain", 2.0),  # 3.2 counts per electron; ordinary plates share it
    "pixel": SingleCause("pixel_um", 1.2),  # 0.387 um; ordinary plates share it
}
"""Single causes by name; all strengths are chosen."""


def single_shift(name: str) -> Logs:
    """Return the shift of the log of every factor; all but one are 0."""
    cause = SINGLE_CAUSES[name]
    return dict.fromkeys(EFFECTS, 0.0) | {cause.factor: math.log(cause.times)}
