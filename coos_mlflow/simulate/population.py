"""The populations of plates: every factor, its random effects and its shifts.

A factor is log-normal: base * exp(day + plate + well effects + shift). All populations have the
same variance components and different means.

The bases are chosen, with sizes of the order of cultured mouse cells; the instrument's bases come
from `microscope`. All standard deviations and shifts are chosen. Plates explain a few per cent of
the variance between cells, and a shift is several standard deviations of a plate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from coos_mlflow.simulate import microscope
from coos_mlflow.simulate.classes import ProteinClass
from coos_mlflow.simulate.microscope import Instrument
from coos_mlflow.simulate.tissue import OrganelleShape, TissueShape


class Effect(NamedTuple):
    """Variation of one factor: base, standard deviations of the log by level, shifts of the log.

    The shifts are those of wells at a plate's border (`edge`), of plates made months later
    (`drift`), and of plates imaged by another microscope (`transfer`).
    """

    base: float
    day: float = 0.0
    plate: float = 0.0
    well: float = 0.0
    edge: float = 0.0
    drift: float = 0.0
    transfer: float = 0.0


EFFECTS: dict[str, Effect] = {
    # Tissue, in um.
    "spacing": Effect(16.0, plate=0.02, well=0.05, edge=0.05, drift=0.08, transfer=0.05),
    "cell_radius": Effect(8.8, plate=0.015, well=0.03, edge=0.02, drift=0.07),
    "nucleus_radius": Effect(4.5, plate=0.008, well=0.015, edge=0.01, drift=0.05),
    "elongation": Effect(0.16, plate=0.05, well=0.10, edge=0.10, drift=0.30),
    "ruffle": Effect(0.07, plate=0.05, well=0.10),
    # Nuclear stain.
    "chromocentres": Effect(9.0, plate=0.02, well=0.06, drift=-0.15),
    "chromatin_contrast": Effect(0.75, plate=0.02, well=0.06, edge=0.03, drift=-0.15),
    "nucleus_photons": Effect(260.0, day=0.04, plate=0.04, well=0.08, edge=-0.1, drift=-0.35),
    # Protein.
    "photons": Effect(
        1.0, day=0.05, plate=0.14, well=0.10, edge=-0.06, drift=-0.25, transfer=-0.35
    ),
    "level_spread": Effect(0.40, plate=0.05, well=0.08),
    "pool": Effect(0.25, day=0.03, plate=0.14, well=0.10, edge=0.04, drift=0.40),
    "number": Effect(1.0, plate=0.09, well=0.05, edge=-0.03, drift=-0.15),
    "width": Effect(1.0, plate=0.03, well=0.03, drift=0.10),
    "length": Effect(1.0, plate=0.07, well=0.05, edge=-0.04, drift=-0.15),
    "gather": Effect(1.0, plate=0.07, well=0.05, edge=-0.03, drift=0.12),
    "fragments": Effect(0.16, plate=0.16, well=0.12, edge=0.05, drift=0.45),
    "exclusion": Effect(0.50, plate=0.05, well=0.05, drift=-0.10),
    # Instrument.
    "pixel_um": Effect(microscope.PIXEL_UM, transfer=0.08),
    "blur": Effect(1.10, day=0.01, plate=0.015, well=0.01, transfer=0.32),
    "defocus_um": Effect(0.45, day=0.05, plate=0.06, well=0.10, edge=0.06, transfer=0.3),
    "haze": Effect(0.26, day=0.02, plate=0.03, well=0.03, transfer=0.5),
    "falloff": Effect(0.18, transfer=0.5),
    "background": Effect(
        22.0, day=0.05, plate=0.08, well=0.08, edge=0.08, drift=0.15, transfer=0.6
    ),
    "offset": Effect(microscope.OFFSET_COUNTS, transfer=0.35),
    "gain": Effect(microscope.COUNTS_PER_E, day=0.005, transfer=-0.45),
    "read_noise": Effect(microscope.READ_NOISE_E, transfer=-0.25),
}

UNIT_FACTORS = frozenset(
    ["photons", "level_spread", "pool", "number", "width", "length", "gather", "fragments",
     "exclusion"]
)  # fmt: skip
"""Factors of the cell line that expresses a protein: drawn for each class of a plate."""

Logs = dict[str, float]


def draw_effects(rng: np.random.Generator, level: str) -> Logs:
    """Return the random effect of one day, plate or well on the log of every factor.

    Every factor uses one random number, so that changing one deviation keeps the other effects.
    """
    return {
        name: getattr(effect, level) * rng.standard_normal() for name, effect in EFFECTS.items()
    }


def merge_unit(plate: Logs, unit: Logs) -> Logs:
    """Return the plate's effects, with those of `unit` for the factors of the cell line."""
    return {name: (unit if name in UNIT_FACTORS else plate)[name] for name in EFFECTS}


def mean_shift(weights: Mapping[str, float]) -> Logs:
    """Return a population's shift of every factor's log mean.

    Parameters
    ----------
    weights : mapping of str to float
        Factor on each shift, such as ``{"drift": 0.5}``; the others are 0.
    """
    return {
        name: sum(weight * getattr(effect, kind) for kind, weight in weights.items())
        for name, effect in EFFECTS.items()
    }


class WellState(NamedTuple):
    """The parameters that all cells of one well share."""

    tissue: TissueShape
    organelles: OrganelleShape
    instrument: Instrument
    level_spread: float
    cell_photons: float
    nucleus_photons: float


def well_state(protein: ProteinClass, *effects: Logs) -> WellState:
    """Return the state of a well of one class, given all effects on it."""
    value = {
        name: effect.base * math.exp(sum(logs[name] for logs in effects))
        for name, effect in EFFECTS.items()
    }
    scale = 1.0 / value["pixel_um"]
    # A larger pixel collects the light of a larger area.
    light = (value["pixel_um"] / microscope.PIXEL_UM) ** 2
    for name in ("spacing", "cell_radius", "nucleus_radius"):
        value[name] *= scale
    value["background"] *= light
    value["haze"] = min(value["haze"], 0.8)
    value["pool"] = min(value["pool"] * protein.pool, 0.85)
    value["scale"] = scale
    return WellState(
        tissue=_from_values(TissueShape, value),
        organelles=_from_values(OrganelleShape, value),
        instrument=_from_values(Instrument, value),
        level_spread=value["level_spread"],
        cell_photons=value["photons"] * protein.photons,
        nucleus_photons=value["nucleus_photons"] * light,
    )


def _from_values(kind, value):  # type: ignore[no-untyped-def]
    """Return a NamedTuple of the values with its fields' names."""
    return kind(**{name: value[name] for name in kind._fields})
