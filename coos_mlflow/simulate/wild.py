"""Wild plates: a second population, which no augmentation and no shift of a split was made for.

They judge remedies against covariate shift. A remedy that knows the shifts of `population.EFFECTS`
has an advantage on plates that are shifted by them. On a wild plate every factor is shifted at
random and far, and one to three disturbances of another physics (`disturbances`) come on top. This
file and `disturbances` were fixed before any remedy was measured on them. They are not to be tuned.
"""

from __future__ import annotations

import numpy as np

from coos_mlflow.simulate.disturbances import KINDS, Disturbance
from coos_mlflow.simulate.population import EFFECTS, Logs

WILD = "wild"

PLATE_DEVIATIONS = 2.5
"""Scale of a factor's shift in standard deviations between ordinary plates; chosen."""

DEGREES_OF_FREEDOM = 3
"""Of Student's t, which a shift follows: some factors are far out on almost every plate; chosen."""

FARTHEST = 4.0
"""Larger draws are set to this one, in units of the scale; 3 % of all draws are; chosen."""

FIXED_DEVIATION = 0.04
"""Deviation for factors that ordinary plates share, such as the gain of the camera: a shift is of
the order of 10 %; chosen."""

DISTURBANCES = (1, 3)
"""Smallest and largest number of disturbances on a plate; chosen."""


def wild_shift(rng: np.random.Generator) -> Logs:
    """Return a wild plate's shift of the log of every factor."""
    draws = rng.standard_t(DEGREES_OF_FREEDOM, len(EFFECTS)).clip(-FARTHEST, FARTHEST)
    return {
        name: PLATE_DEVIATIONS * (effect.plate or FIXED_DEVIATION) * float(draw)
        for (name, effect), draw in zip(EFFECTS.items(), draws, strict=True)
    }


def wild_disturbances(rng: np.random.Generator) -> tuple[Disturbance, ...]:
    """Return a wild plate's disturbances, each of another kind, in the order of `KINDS`."""
    low, high = DISTURBANCES
    count = rng.integers(low, high + 1)
    chosen = np.sort(rng.permutation(len(KINDS))[:count])
    return tuple(KINDS[place].draw(rng) for place in chosen)
