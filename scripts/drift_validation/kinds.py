"""The kinds of plates that are simulated, and the cells of each plate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from coos_mlflow.simulate import coos7_layout
from coos_mlflow.simulate.classes import (
    CYTOSOL,
    ENDOSOME,
    ENVELOPE,
    ER,
    GOLGI,
    IMM,
    PEROXISOME,
    PROTEIN_CLASSES,
    ProteinClass,
)
from coos_mlflow.simulate.experiment import Cells, simulate_wells
from coos_mlflow.simulate.layout import WellPlan
from coos_mlflow.simulate.population import mean_shift
from drift_validation.causes import Cause, causes
from drift_validation.seeds import Seeds
from drift_validation.sizes import Size

UNSEEN = len(PROTEIN_CLASSES)
"""The label of a protein that no model knows: whatever a model calls it is wrong."""

SEEN_BY_DEVELOPMENT = (
    "ER and nuclear envelope",
    "Golgi and cytosol",
    "peroxisomes and mitochondria",
)
"""Unseen proteins that development plates hold too; the others are for judging alone."""


def _dual(first: int, second: int, photons: float) -> ProteinClass:
    """Return a protein of two compartments in equal shares."""
    protein = PROTEIN_CLASSES[first]
    return replace(protein, second=second, second_share=0.5, photons=photons)


STRANGERS = {
    "ER and nuclear envelope": _dual(ER, ENVELOPE, 110_000.0),
    "Golgi and cytosol": _dual(GOLGI, CYTOSOL, 100_000.0),
    "peroxisomes and mitochondria": _dual(PEROXISOME, IMM, 65_000.0),
    "endosomes and ER": _dual(ENDOSOME, ER, 80_000.0),
    "mitochondria and cytosol": _dual(IMM, CYTOSOL, 120_000.0),
}
"""Proteins of two compartments, as bright as between those of either; brightness chosen."""

Plans = list[WellPlan]
Change = Callable[[Plans, np.random.Generator], Plans]
"""Changes the planned wells of a plate."""


@dataclass(frozen=True)
class Kind:
    """A kind of plate.

    Parameters
    ----------
    name : str
        As in the tables.
    count : int
        Plates at the standard size.
    n_classes : int
        Drawn at random among COOS-7's.
    like : str
        The split whose population it comes from.
    change : callable or None
        Of its planned wells.
    cause : Cause or None
        What goes wrong on the whole plate.
    is_base : bool
        Whether it has the numbers of wells and cells of the plates that causes are laid on.
    """

    name: str
    count: int
    n_classes: int = 7
    like: str = "training"
    change: Change | None = None
    cause: Cause | None = None
    is_base: bool = False


@dataclass(frozen=True)
class Entry:
    """One simulated plate: its kind and its seed."""

    kind: Kind
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.kind.name.replace(' ', '_')}-{self.seed}"


def _like_test3(plan: WellPlan) -> WellPlan:
    drift = mean_shift({"drift": 1.0})
    return replace(plan, shift={name: plan.shift[name] + drift[name] for name in drift})


def _one_class(plans: Plans, rng: np.random.Generator) -> Plans:
    """Shift the wells of one class."""
    label = rng.choice([plan.label for plan in plans])
    return [_like_test3(plan) if plan.label == label else plan for plan in plans]


def _half_of_wells(plans: Plans, rng: np.random.Generator) -> Plans:
    """Shift every second well; the wells of a class follow each other."""
    return [_like_test3(plan) if number % 2 else plan for number, plan in enumerate(plans)]


def one_unseen(plans: Plans, rng: np.random.Generator, protein: ProteinClass) -> Plans:
    """Let the wells of one class hold a protein that no model knows."""
    label = rng.choice([plan.label for plan in plans])
    return [
        replace(plan, protein=protein, label=UNSEEN) if plan.label == label else plan
        for plan in plans
    ]


def caused(plans: Plans, rng: np.random.Generator, cause: Cause) -> Plans:
    shift = cause.shift
    return [
        replace(plan, shift={name: plan.shift[name] + shift[name] for name in shift})
        for plan in plans
    ]


PLAIN = {1: "one class", 2: "two classes", 7: "seven classes"}
"""Unshifted plates by their number of classes."""

TEST3 = {n: f"like Test3, {words}" for n, words in PLAIN.items()}
TEST4 = {n: f"like Test4, {words}" for n, words in PLAIN.items() if n > 1}
EDGE, ONE_SHIFTED, HALF_SHIFTED = "at the edge, two classes", "one of seven shifted", "half shifted"
BASE = "base"


def unseen_kind(protein: str) -> str:
    """Return the name of plates where a protein replaces one of the seven classes."""
    return f"unseen, {protein}"


def _ordinary_kinds() -> list[Kind]:
    return [
        Kind(BASE, 4, is_base=True),
        *(Kind(PLAIN[n], count, n) for n, count in ((2, 200), (1, 200), (7, 30))),
        *(Kind(TEST3[n], count, n, "test3") for n, count in ((2, 40), (1, 40), (7, 10))),
        *(Kind(TEST4[n], count, n, "test4") for n, count in ((2, 20), (7, 4))),
        Kind(EDGE, 20, 2, "test2"),
        Kind(ONE_SHIFTED, 24, change=_one_class),
        Kind(HALF_SHIFTED, 20, change=_half_of_wells),
        *(
            Kind(unseen_kind(name), 10, change=partial(one_unseen, protein=protein))
            for name, protein in STRANGERS.items()
        ),
    ]


def cause_kinds(size: Size) -> list[Kind]:
    """Return the kinds of plates with single causes."""
    chosen = causes()
    if not size.all_strengths:
        chosen = list({cause.name: cause for cause in reversed(chosen)}.values())
    return [
        Kind(cause.title, 4, change=partial(caused, cause=cause), cause=cause, is_base=True)
        for cause in chosen
    ]


def entries(seeds: Seeds, size: Size) -> list[Entry]:
    """Return the plates to simulate. A base plate has the same seed with and without a cause."""
    ordinary = _ordinary_kinds()
    if seeds.name == "development":
        judging_only = {unseen_kind(name) for name in STRANGERS} - {
            unseen_kind(name) for name in SEEN_BY_DEVELOPMENT
        }
        ordinary = [kind for kind in ordinary if kind.name not in judging_only]
    numbered = [*enumerate(ordinary), *((0, kind) for kind in cause_kinds(size))]
    return [
        Entry(kind, seeds.plate(number, i))
        for number, kind in numbered
        for i in range(size.count(kind.count))
    ]


def simulate(entry: Entry, size: Size) -> Cells:
    """Return the cells of a plate, as `simulate_plate_cells` does; labels may be `UNSEEN`."""
    kind, rng = entry.kind, np.random.default_rng(entry.seed)
    wells, cells = (size.base_wells, size.base_cells) if kind.is_base else (size.wells, size.cells)
    classes = np.sort(rng.permutation(UNSEEN)[: kind.n_classes]).tolist()
    plans = coos7_layout.plan_plate(kind.like, classes, entry.seed, wells, cells, 1.0)
    if kind.change is not None:
        plans = kind.change(plans, rng)
    by_well = [well[kind.like] for well in simulate_wells(plans, entry.seed, jobs=1)]
    simulated = {name: np.concatenate([well[name] for well in by_well]) for name in by_well[0]}
    if kind.cause is not None:
        images = kind.cause.apply(np.random.default_rng([entry.seed, 1]), simulated["images"])
        simulated["images"] = images
    return simulated
