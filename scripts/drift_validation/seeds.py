"""Seeds of registries and plates: those of development, and those that no choice has seen.

Every constant of the drift report may be chosen by development seeds. Results are told of judging
seeds. The two sets have no registry and no plate in common, with each other or with the data sets
of demonstrations, whose seeds are below 300.
"""

from __future__ import annotations

from dataclasses import dataclass

PLATES_OF_A_KIND = 10_000
"""Seeds kept for the plates of one kind."""


@dataclass(frozen=True)
class Seeds:
    """The first seed of each kind of simulation.

    Parameters
    ----------
    name : str
    thin, full : int
        Of the data sets at scale 0.05 and 0.3.
    plates : int
    """

    name: str
    thin: int
    full: int
    plates: int

    def plate(self, kind: int, number: int) -> int:
        """Return the seed of a plate by the number of its kind and its own."""
        return self.plates + PLATES_OF_A_KIND * kind + number


DEVELOPMENT = Seeds("development", thin=301, full=401, plates=70_000_000)
JUDGING = Seeds("judging", thin=601, full=701, plates=80_000_000)

SEEDS = {one.name: one for one in (DEVELOPMENT, JUDGING)}
