"""Which channel shows the nucleus, which the protein: by what is asked for, else by their names.

Open this to add a name of a dye.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.plates.columns import shown

NUCLEUS, TRANSMITTED, OTHER = "nucleus", "transmitted light", "fluorescence"
"""What a channel probably is. A protein is looked for among the last."""

NUCLEAR_DYES = re.compile(
    r"dapi|hoechst|h\s?33342|h\s?33258|draq\s?[57]|nucblue|nucred|nucgreen|nucspot|nuclight"
    r"|nuclear|nuclei|nucleus|sir-?dna|spy\d*-?dna|to-?pro-?\d|sytox|vybrant|7-?aad"
    r"|propidium|h2b|histone|\bdna\b|\bnuc\b",
    re.IGNORECASE,
)
"""Dyes of DNA, and words for it; from the catalogues of Thermo Fisher, BioStatus and Biotium."""

TRANSMITTED_LIGHT = re.compile(
    r"bright[\s_-]?field|\bbf\b|phase|\bdpc\b|\bdic\b|transmi|\btl\b|\btrans\b|nomarski|oblique",
    re.IGNORECASE,
)
"""Light through the cells, in which neither a protein nor a dye is seen."""


def role(channel: Channel) -> str:
    """Return what a channel probably is, by its name: `NUCLEUS`, `TRANSMITTED` or `OTHER`."""
    if TRANSMITTED_LIGHT.search(channel.name):
        return TRANSMITTED
    return NUCLEUS if NUCLEAR_DYES.search(channel.name) else OTHER


def choose_channels(
    channels: Sequence[Channel], protein: str | None = None, nucleus: str | None = None
) -> tuple[int, int, tuple[str, ...]]:
    """Choose the channels of protein and nucleus.

    Parameters
    ----------
    channels : sequence of Channel
    protein, nucleus : str or None
        A name, a part of a name that no other one has (both in any case), or a number from 1. None
        leaves the choice to the names: the nucleus is the one channel of a dye of DNA, the protein
        the one fluorescent channel beside it.

    Returns
    -------
    protein, nucleus : int
        Places, from 0.
    sentences : tuple of str
        What was guessed, for the user.

    Raises
    ------
    DataError
        For a name that fits no channel or several, for the same channel twice, and where the names
        leave a choice.
    """
    asked_protein = None if protein is None else _asked(channels, protein, "--protein")
    asked_nucleus = None if nucleus is None else _asked(channels, nucleus, "--nucleus")
    nucleus_place = asked_nucleus
    if nucleus_place is None:
        nuclei = [place for place in _with_role(channels, NUCLEUS) if place != asked_protein]
        nucleus_place = _only(channels, nuclei, "nucleus")
    protein_place = asked_protein
    if protein_place is None:
        others = [place for place in _with_role(channels, OTHER) if place != nucleus_place]
        protein_place = _only(channels, others, "protein")
    if protein_place == nucleus_place:
        raise DataError(
            f"channel {_numbered(channels, [nucleus_place])} asked for as protein and as nucleus, "
            "expected two channels."
        )
    sentences = []
    if asked_protein is None:
        sentences.append(_guessed(channels, protein_place, "protein"))
    if asked_nucleus is None:
        sentences.append(_guessed(channels, nucleus_place, "nucleus"))
    return protein_place, nucleus_place, tuple(sentences)


def _with_role(channels: Sequence[Channel], wanted: str) -> list[int]:
    return [place for place, one in enumerate(channels) if role(one) == wanted]


def _asked(channels: Sequence[Channel], text: str, option: str) -> int:
    """Return the place of the channel that is asked for by name, part of a name or number."""
    wanted = text.strip().casefold()
    names = [one.name.casefold() for one in channels]
    fitting = [place for place, name in enumerate(names) if name == wanted]
    # A name such as "488" comes before the channel with that number.
    if not fitting and wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        fitting = [int(wanted) - 1] if 1 <= int(wanted) <= len(channels) else []
    if not fitting and wanted:
        fitting = [place for place, name in enumerate(names) if wanted in name]
    if len(fitting) == 1:
        return fitting[0]
    many = f"fits {_numbered(channels, fitting)}" if fitting else "fits no channel"
    listed = _numbered(channels, range(len(channels)))
    raise DataError(f"{option} '{shown(text, 60)}' {many}, expected one of {listed}.")


def _only(channels: Sequence[Channel], places: list[int], what: str) -> int:
    """Return the one place there is."""
    if len(places) == 1:
        return places[0]
    could = f"{len(places)} of the channels could" if places else "none of the channels can"
    raise DataError(
        f"--{what} is needed, since {could} be the {what} by name: "
        f"{_numbered(channels, places or range(len(channels)))}; give a name or number."
    )


def _numbered(channels: Sequence[Channel], places: Sequence[int]) -> str:
    return ", ".join(f"{place + 1} ({channels[place].name})" for place in places)


def _guessed(channels: Sequence[Channel], place: int, what: str) -> str:
    return (
        f"Channel {_numbered(channels, [place])} is taken for the {what}, by the names of the "
        f"channels; --{what} chooses another."
    )
