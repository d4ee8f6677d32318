"""Colours of the figures."""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""


@dataclass(frozen=True)
class Palette:
    """The colours of a page, and how layers are shaded.

    ``first`` and ``last`` are the shades of the first and last layer, ``alone`` that of a single
    one: 1 is white, 0 the representation's own colour, -1 black.
    """

    paper: str
    ink: str
    soft: str
    line: str
    first: float
    last: float
    alone: float


LIGHT = Palette("#ffffff", "#1d2126", "#5c636b", "#dedbd4", first=0.4, last=-0.5, alone=0.0)
DARK = Palette("#1e2227", "#eceae6", "#a3a9b1", "#3a4048", first=0.75, last=0.0, alone=0.2)
