"""The wells of drift.json: their positions, figures, classes and warnings."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift.collect import Collected
from coos_mlflow.drift.placement import PlateComparison
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.wells import ODD, decided_classes, share_intervals, well_warnings
from coos_mlflow.plates.wells import well_positions


def well_entries(
    reference: Reference,
    comparison: PlateComparison,
    collected: Collected,
    far: float | None,
    plates: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return position, figures, class and warnings of each well with a name.

    Parameters
    ----------
    reference : Reference
    comparison : PlateComparison
    collected : Collected
    far : float or None
        Distance from which on a well is far (`PlateComparison.far_well`).
    plates : list of dict
        The judged plates (`verdict.Judge.judge`), which name odd wells.

    Returns
    -------
    list of dict
        ``wells`` of docs/drift.md, in the order of plates and wells.
    """
    distances, confidences = comparison.wells(collected.profile), _confidences(collected)
    ids, votes = _votes(collected.profile)
    rows, columns = well_positions(np.array([well for _, well in ids], dtype=str))
    shares, lows, highs = share_intervals(votes)
    warnings = well_warnings(
        votes,
        [distances[pair] for pair in ids],
        far,
        reference.dataset.class_names,
        one_class=reference.calibration.label_rates is not None,
    )
    odd = {(plate["plate"], well) for plate in plates for well in plate["odd_wells"]}
    for pair, found in zip(ids, warnings, strict=True):
        found.extend([ODD] if pair in odd else [])
    decided = _decided(reference, ids, votes, shares)
    return [
        {
            "plate": pair[0],
            "well": pair[1],
            "row": int(rows[n]),
            "column": int(columns[n]),
            "n_cells": int(votes[n].sum()),
            **decided[n],
            "distance": distances[pair],
            "confidence": confidences[pair],
            "shares": shares[n].tolist(),
            "share_lows": lows[n].tolist(),
            "share_highs": highs[n].tolist(),
            "warnings": warnings[n],
        }
        for n, pair in enumerate(ids)
    ]


def _votes(profile: Profile) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return the wells with a name, and their cells by label, float64, (wells, classes)."""
    ids, number = profile.wells_of_groups()
    votes = np.zeros((len(ids), profile.means["softmax"].shape[1]))
    np.add.at(votes, (number, profile.classes), profile.counts)
    named = [n for n, (_, well) in enumerate(ids) if well]
    return [ids[n] for n in named], votes[named]


def _decided(
    reference: Reference, ids: list[tuple[str, str]], votes: np.ndarray, shares: np.ndarray
) -> list[dict[str, Any]]:
    """Return label, probability and share of disagreeing cells of wells; None for mixtures."""
    rates = reference.calibration.label_rates
    if rates is None:
        return [dict.fromkeys(("label", "probability", "disagree")) for _ in ids]
    plates = np.array([plate for plate, _ in ids], dtype=str)
    labels, probabilities = decided_classes(votes, plates, rates)
    return [
        {
            "label": int(label),
            "probability": float(probability),
            "disagree": 1 - float(own[label]),
        }
        for label, probability, own in zip(labels, probabilities, shares, strict=True)
    ]


def _confidences(collected: Collected) -> dict[tuple[str, str], float]:
    """Return the mean confidence of the cells of each well."""
    confidences: dict[tuple[str, str], float] = {}
    for plate, probabilities in collected.probabilities.items():
        wells, names = collected.wells[plate], collected.well_names[plate]
        means = np.bincount(wells, weights=probabilities.max(axis=1)) / np.bincount(wells)
        confidences |= {(plate, name): float(mean) for name, mean in zip(names, means, strict=True)}
    return confidences
