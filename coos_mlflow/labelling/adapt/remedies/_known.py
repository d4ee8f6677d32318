"""What a model's reference knows of its classes and plates on the main axes."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.statistics.novelty import class_moments
from coos_mlflow.plates.dataset import ONE_CLASS, TRAINING


def class_moments_of(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each class of Training.

    Returns
    -------
    centres, spreads : ndarray of float64, shape (classes, dims)
        NaN for a class that Training lacks.
    """
    known = _profile(reference)
    moments = known.means["features"], known.variances["features"]
    return class_moments(known.classes, known.counts, *moments, reference.dataset.n_classes)


def plate_variance(reference: Reference) -> np.ndarray:
    """Return the variance, by axis, of the shift that all classes of a Training plate share.

    Returns
    -------
    ndarray of float64, shape (dims,)
    """
    known, (centres, _) = _profile(reference), class_moments_of(reference)
    around = known.means["features"] - centres[known.classes]
    shifts = [
        np.average(around[own], axis=0, weights=known.counts[own])
        for own in (known.plates == plate for plate in np.unique(known.plates))
    ]
    variance: np.ndarray = np.mean(np.square(shifts), axis=0)
    return variance


def _profile(reference: Reference) -> Profile:
    """Return the profile of Training by class, which is that of the well where it holds one."""
    known = reference.profiles[TRAINING]
    return known.by_wells() if reference.dataset.wells == ONE_CLASS else known
