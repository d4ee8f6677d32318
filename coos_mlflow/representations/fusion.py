"""Fusion: the features of several representations side by side.

A plate may mislead one representation and not another. Fusion is not one of the paper's models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import Representation, Seed, class_of, create, names
from coos_mlflow.representations.nn.precision import BF16, FP32

if TYPE_CHECKING:
    from coos_mlflow.representations.nn.training import TrainingContext

LAYER = "joined"

MEMBERS = ("texture", "pci")
"""By default, since they learn no labels and need no weights of others."""

_MEMBERS = "members.json"
"""File of the members' parameters, so that a later preset does not change a saved model."""


class Fusion(Representation):
    """The last layers of several representations, joined.

    Parameters
    ----------
    members : sequence of str
        Keys of other representations. Those that learn without labels let left-out errors be
        compared.
    members_preset : {"paper", "quick"}
        Settings of the members.
    seed : int
        Seed of the members.
    """

    key = "fusion"
    title: str = "Fusion"
    layers = (LAYER,)
    instead_of = "texture"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"quick": {"members_preset": "quick"}}

    def __init__(
        self,
        members: Sequence[str] = MEMBERS,
        members_preset: Literal["paper", "quick"] = "paper",
        seed: Seed = 0,
    ):
        self.members = _checked(members)
        self.members_preset = members_preset
        self.seed = seed
        classes = [class_of(member) for member in self.members]
        if self.members != MEMBERS:
            self.title = f"Fusion, {' + '.join(self.members)}"
        self.version = "1: " + ", ".join(f"{one.key} {one.version}" for one in classes)
        self.packages = tuple(sorted({name for one in classes for name in one.packages}))
        self.trainable = any(one.trainable for one in classes)

    @cached_property
    def parts(self) -> tuple[Representation, ...]:
        """The members."""
        return tuple(
            create(m, self.members_preset, self.dataset, seed=self.seed) for m in self.members
        )

    @property
    def name(self) -> str:
        """The key, with the members where they are not the default's."""
        return self.key if self.members == MEMBERS else "-".join((self.key, *self.members))

    @property
    def digest(self) -> str:
        """SHA-256 of the members' digests; empty where no member has learnt anything yet."""
        digests = [part.digest for part in self.parts]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest() if any(digests) else ""

    @property
    def origin(self) -> str:
        """What the members' weights come from."""
        return "\n".join(part.origin for part in self.parts if part.origin)

    @property
    def training_summary(self) -> dict[str, float]:
        """Figures of the members' trainings, each with its key in front."""
        return {
            f"{part.key}_{name}": value
            for part in self.parts
            for name, value in part.training_summary.items()
        }

    def params(self) -> dict[str, Any]:
        """Return the members, their preset and their seed."""
        return {
            "members": list(self.members),
            "members_preset": self.members_preset,
            "seed": self.seed,
        }

    def check_cells(self) -> None:
        """Refuse crops that a member cannot take."""
        for part in self.parts:
            part.check_cells()

    def require(self) -> None:
        """Check that the members have what must be downloaded."""
        for part in self.parts:
            part.require()

    def feature_names(self, layer: str = LAYER) -> tuple[str, ...]:
        """Return the columns of the members, each with the member's title in front."""
        return tuple(
            f"{part.title} {name}"
            for part in self.parts
            for name in part.feature_names(part.layers[-1])
        )

    def prepare(self, precision: str = FP32) -> str:
        """Prepare the members; bfloat16 is in use as soon as one computes in it."""
        return BF16 if BF16 in [part.prepare(precision) for part in self.parts] else FP32

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the last layer of each member from raw counts; see `Representation.compute`."""
        self.requested_layers(layers)
        features = [part.transform(prepared, part.layers[-1:]) for part in self.parts]
        joined = [own[part.layers[-1]] for part, own in zip(self.parts, features, strict=True)]
        return {LAYER: np.concatenate(joined, axis=1)}

    def fit(self, training: CellBatch, context: TrainingContext) -> None:
        """Train each member in a folder of its own."""
        for part in self.parts:
            part.fit(training, replace(context, folder=context.folder / part.key))

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return which cells no member was fitted to."""
        masks = [part.held_out(n_cells) for part in self.parts]
        held_out: np.ndarray = np.logical_and.reduce(masks)
        return held_out

    def save(self, folder: Path) -> None:
        """Write the members' parameters and weights, each into a folder of its own."""
        params = {part.key: part.params() for part in self.parts}
        (folder / _MEMBERS).write_text(json.dumps(params, indent=1))
        for part in self.parts:
            (folder / part.key).mkdir()
            part.save(folder / part.key)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote, the members with the parameters that they were saved with."""
        params = json.loads((folder / _MEMBERS).read_text())
        self.parts = tuple(create(m, dataset=self.dataset, **params[m]) for m in self.members)
        for part in self.parts:
            part.restore(folder / part.key)


def _checked(members: Sequence[str]) -> tuple[str, ...]:
    """Refuse a list of members that cannot be joined."""
    others = [name for name in names() if name != Fusion.key]
    if unknown := [member for member in members if member not in others]:
        raise DataError(
            f"fusion members={list(members)!r} found, expected some of {', '.join(others)}; "
            f"{unknown[0]!r} is none of them."
        )
    if len(set(members)) < len(members):
        raise DataError(f"fusion members={list(members)!r} found, expected each once.")
    return tuple(members)


REPRESENTATION = Fusion
