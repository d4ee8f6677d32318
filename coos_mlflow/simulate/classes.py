"""The compartments of a cell, and the parameters of a protein class in the simulator.

Open this file to change how one of COOS-7's classes looks; `made_up` has the others. How a
compartment is drawn stands in `organelles` and `diffuse`.
"""

from __future__ import annotations

from dataclasses import dataclass

ER, IMM, GOLGI, PEROXISOME, ENDOSOME, CYTOSOL, ENVELOPE = range(7)
"""Compartments, in the order of COOS-7's labels."""

FREE = -1
"""The pattern of soluble protein that is bound to no compartment."""


@dataclass(frozen=True)
class ProteinClass:
    """Parameters of the cells that express one protein.

    Parameters
    ----------
    compartment : int
        Location of the protein: `ER` to `ENVELOPE`.
    photons : float
        Photons of a cell of mean expression.
    pool : float
        Factor on the well's share of unbound protein.
    pool_pattern : int
        Location of the unbound protein: `FREE` or `ER`.
    growth : float
        Relative number of cells: cell lines grow at different rates.
    organelles : float
        Expected number of organelles, or of a ribbon's stacks, in the slice of a cell; 0 for a
        compartment that fills space.
    organelles_spread : float
        Standard deviation of the log of that number between cells.
    width, length, gather : float
        Factors on the fields of `tissue.OrganelleShape` with these names.
    second : int or None
        A second compartment that holds bound protein, with organelles as in `PROTEIN_CLASSES`.
    second_share : float
        Share of the bound protein in it.
    """

    compartment: int
    photons: float
    pool: float
    pool_pattern: int
    growth: float
    organelles: float = 0.0
    organelles_spread: float = 0.0
    width: float = 1.0
    length: float = 1.0
    gather: float = 1.0
    second: int | None = None
    second_share: float = 0.0


PROTEIN_CLASSES = {
    ER: ProteinClass(ER, 110000.0, 0.6, FREE, 1.00),
    IMM: ProteinClass(IMM, 90000.0, 0.8, FREE, 1.06, organelles=38.0),
    GOLGI: ProteinClass(GOLGI, 45000.0, 1.0, ER, 0.95, organelles=16.0),
    PEROXISOME: ProteinClass(
        PEROXISOME, 40000.0, 1.2, FREE, 1.03, organelles=36.0, organelles_spread=0.3
    ),
    ENDOSOME: ProteinClass(
        ENDOSOME, 55000.0, 1.5, ER, 0.92, organelles=17.0, organelles_spread=0.3
    ),
    CYTOSOL: ProteinClass(CYTOSOL, 160000.0, 1.0, FREE, 1.08),
    ENVELOPE: ProteinClass(ENVELOPE, 65000.0, 0.6, ER, 0.97),
}
"""Parameters of COOS-7's classes by label. All figures are chosen, with these reasons:

- Photons are such that brightness alone tells no class from all others.
- Rab5-like endosomal proteins exchange with the cytosol, so their unbound share is large. Membrane
  proteins of the ER and the nuclear envelope do not, so theirs is small.
- Membrane proteins of the secretory pathway and of the nuclear envelope are made in the ER and wait
  there. Proteins of mitochondria and peroxisomes are imported from the cytosol (Alberts et al.,
  Molecular Biology of the Cell, chapter 12).
- One confocal slice of a cultured cell shows tens of mitochondria and peroxisomes and fewer early
  endosomes.
"""
