"""The training task of networks that classify: held-out cells, augmentation, batches and loss."""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

from coos_mlflow.errors import DataError
from coos_mlflow.metrics import balanced_error
from coos_mlflow.plates.dataset import UNLABELLED
from coos_mlflow.plates.folds import held_out_plates
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.nn.deeploc_network import augmented, stretch_into
from coos_mlflow.representations.nn.microscope import microscope
from coos_mlflow.representations.nn.networks import same_pixels
from coos_mlflow.representations.nn.training import TrainingTask

_log = logging.getLogger(__name__)

CELLS, PLATES = "cells", "plates"
CROPS, MICROSCOPE = "crops", "microscope"
AVERAGE, GROUP_DRO = "average", "groupdro"

Unit = Literal["cells", "plates"]
"""What is held out, and what has the same weight in a batch."""

Augmentation = Literal["crops", "microscope"]
"""DeepLoc's crops, flips and quarter turns; or `microscope`."""

Objective = Literal["average", "groupdro"]
"""The mean loss of a batch; or that of the groups that are worst, see `GroupWeights`."""

HELD_OUT = 0.2
"""Share of Training that chooses the iteration (Lu et al. 2019, section 3.1)."""

DRO_RATE = 0.01
"""Step size of the weights of groups (Sagawa et al. 2020, their code's default)."""

_VALIDATION_BATCH = 64
"""Cells of 64 pixels validated at once (`same_pixels`)."""


@dataclass(frozen=True)
class Division:
    """The cells of Training that a network is fitted on, and those that choose the iteration.

    Parameters
    ----------
    fitted, held_out : ndarray of int64
        Sorted rows. Cells without a label are in neither.
    plates : int
        Number of plates that are held out as a whole; 0 where cells are.
    """

    fitted: np.ndarray
    held_out: np.ndarray
    plates: int = 0


def divided(title: str, training: CellBatch, unit: Unit, seed: int) -> Division:
    """Hold out a fifth of the labelled cells of each class, or whole plates.

    Where no plates can be held out (`held_out_plates`), cells are; a warning says so.

    Parameters
    ----------
    title : str
        Name of the network in messages.
    training : CellBatch
    unit : {"cells", "plates"}
    seed : int

    Raises
    ------
    DataError
        Where there are no labels, or too few cells of a class.
    """
    if training.labels is None:
        raise DataError(f"{title} is trained on labels, and these cells have none.")
    if unit == PLATES:
        plates = _plates_of(training)
        if (fold := held_out_plates(training.labels, plates, seed)) is not None:
            return Division(*fold, plates=len(np.unique(plates[fold[1]])))
        _log.warning(
            "%s holds out cells in place of plates: too few plates of Training have each class.",
            title,
        )
    return Division(*_divided_cells(training.labels, seed))


def _divided_cells(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted rows to fit on and to hold out, 80 % and 20 % of each class."""
    rows = np.flatnonzero(labels != UNLABELLED)
    classes = labels[rows]
    try:
        fitted, held_out = train_test_split(
            rows, test_size=HELD_OUT, stratify=classes, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"Training holds {len(rows)} labelled cells of {len(np.unique(classes))} classes, "
            "too few to keep a fifth of each class for validation; label more of the rare ones."
        ) from error
    return np.sort(fitted), np.sort(held_out)


class Classification(TrainingTask):
    """Cross-entropy of augmented cells; balanced error of the held-out ones.

    All of Training stays on the device: 1.4 GB for the 41,456 cells of COOS-7. The augmentation
    of microscopes acts on stretched images, which are there already. Its result is stretched again.
    That is the same as to act on raw counts, since gain and offset cancel, save for the brightest
    thousandth of the pixels, which are clipped.

    Parameters
    ----------
    network : nn.Module
        Returns logits (n, classes) and features of images (n, 2, side, side).
    training : CellBatch
    division : Division
    n_classes : int
    device : torch.device
    augment : {"crops", "microscope"}
    pixel_size : float, optional
        Micrometres of a pixel, for `microscope`.
    batches : {"cells", "plates"}
        All cells once in an epoch; or groups of plate and class with the same frequency.
    objective : {"average", "groupdro"}
    """

    def __init__(
        self,
        network: nn.Module,
        training: CellBatch,
        division: Division,
        n_classes: int,
        device: torch.device,
        *,
        augment: Augmentation = "crops",
        pixel_size: float | None = None,
        batches: Unit = "cells",
        objective: Objective = "average",
    ):
        self.network, self.division = network, division
        self.n_cells = len(division.fitted)
        self._n_classes, self._augment, self._pixel_size = n_classes, augment, pixel_size
        self._batches = batches
        fitted, held_out = division.fitted, division.held_out
        _, channels, height, width = training.images.shape
        # Channels last: `augmented` then gathers whole pixels.
        self._images = torch.empty((len(fitted), height, width, channels), device=device)
        stretch_into(self._images.permute(0, 3, 1, 2), training.images, fitted)
        self._held_out_images = torch.empty((len(held_out), channels, height, width), device=device)
        stretch_into(self._held_out_images, training.images, held_out)
        labels = np.asarray(training.labels, np.int64)
        self._labels = torch.from_numpy(labels[fitted]).to(device)
        self._held_out_labels = labels[held_out]
        groups = _groups(labels[fitted], _plates_of(training)[fitted])
        self._members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
        self._groups = torch.from_numpy(groups).to(device)
        if objective == GROUP_DRO:
            even = torch.full((len(self._members),), 1 / len(self._members), device=device)
            self.state = {"group_weights": even}

    @abstractmethod
    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class probabilities (n, classes) of stretched cells, as they are scored."""

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Return augmented images, labels and groups of a batch."""
        if self._batches == PLATES:
            rows = _balanced(self._members, len(rows), rng)
        chosen = torch.from_numpy(rows).to(self._labels.device, non_blocking=True)
        return self._seen(rows, chosen, rng), self._labels[chosen], self._groups[chosen]

    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy, or that of the weighted groups."""
        images, labels, groups = drawn
        logits, _ = self.network(images)
        if not self.state:
            return cross_entropy(logits.float(), labels)
        losses = cross_entropy(logits.float(), labels, reduction="none")
        return worst_groups(losses, groups, self.state["group_weights"])

    def validation_error(self) -> float:
        """Return the balanced error in % of the held-out cells."""
        batch = same_pixels(_VALIDATION_BATCH, self._held_out_images.shape)
        parts = [
            self.probabilities(block).argmax(dim=1).cpu()
            for block in self._held_out_images.split(batch)
        ]
        predicted = torch.cat(parts).numpy()
        classes = range(self._n_classes)
        counts = confusion_matrix(self._held_out_labels, predicted, labels=classes)
        return float(balanced_error(counts))

    def _seen(
        self, rows: np.ndarray, chosen: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        if self._augment == CROPS:
            return augmented(self._images, rows, rng)
        images = microscope(self._images[chosen].permute(0, 3, 1, 2), rng, self._pixel_size)
        return self.cropped(images).contiguous(memory_format=torch.channels_last)

    def cropped(self, images: torch.Tensor) -> torch.Tensor:
        """Return the part of cells (n, 2, side, side) that the network sees; all by default."""
        return images


def worst_groups(losses: torch.Tensor, groups: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the loss of GroupDRO and change the weights of the groups in place.

    Algorithm 1 of Sagawa et al. 2020 (arXiv:1911.08731): the weight of a group grows by the factor
    exp(rate * its mean loss), weights are divided by their sum, and the loss is the weighted sum.
    Groups without a cell in the batch keep their weight before the division, with a loss of 0, as
    in the authors' code.

    Parameters
    ----------
    losses : Tensor of float32, shape (n,)
    groups : Tensor of int64, shape (n,)
    weights : Tensor of float32, shape (groups,)
        Their sum is 1.

    Returns
    -------
    Tensor of float32
        A scalar.
    """
    sums = torch.zeros_like(weights).index_add(0, groups, losses)
    counts = torch.zeros_like(weights).index_add(0, groups, torch.ones_like(losses))
    means = sums / counts.clamp(min=1)
    weights.mul_(torch.exp(DRO_RATE * means.detach()))
    weights.div_(weights.sum())
    return (weights.clone() * means).sum()


def _balanced(members: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n rows: each group is as frequent as the others, each cell of a group too."""
    sizes = np.array([len(rows) for rows in members])
    groups = rng.integers(0, len(members), n)
    places = (rng.random(n) * sizes[groups]).astype(np.int64)
    return np.array([members[g][p] for g, p in zip(groups, places, strict=True)])


def _groups(labels: np.ndarray, plates: np.ndarray) -> np.ndarray:
    """Number the pairs of plate and class from 0, shape (n,), int64."""
    _, plate = np.unique(plates, return_inverse=True)
    pairs = plate * (int(labels.max()) + 1) + labels
    return np.unique(pairs, return_inverse=True)[1].astype(np.int64)


def _plates_of(training: CellBatch) -> np.ndarray:
    """Return the plates of cells; those without one are of one plate."""
    return np.full(len(training), "") if training.plates is None else training.plates
