"""The assessment of scored plates: verdict, error, effects and wells, ready for drift.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift import error_estimate as error
from coos_mlflow.drift import verdict
from coos_mlflow.drift.collect import Collected
from coos_mlflow.drift.edge_wells import edge_against_inner
from coos_mlflow.drift.effect_sizes import describe, effect_sizes
from coos_mlflow.drift.estimators import estimators
from coos_mlflow.drift.label_shift import corrected_shares
from coos_mlflow.drift.placement import Ladder
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.quality_shift import raw_moves
from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.statistics.raw_figures import MOVED
from coos_mlflow.metrics import recalls
from coos_mlflow.plates.schema import CLASSES, SPLITS
from coos_mlflow.plates.wells import well_positions

SCHEMA_VERSION = 4

MOST_EFFECTS = 8
"""Plates of a file, the farthest, whose effect sizes are measured: each takes about a second."""

BASELINE = {
    "key": "baseline",
    "title": "The error of Test1, everywhere",
    "meaning": "what one expects who trusts the test set: the figure to beat",
}

_DIGITS, _PLACES = 6, 9


def assess(
    reference: Reference,
    collected: Collected,
    *,
    has_plate_ids: bool,
    has_well_ids: bool,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge the plates of a file against what a model version remembers.

    Parameters
    ----------
    reference : Reference
        What the model version remembers.
    collected : Collected
        The scored plates.
    has_plate_ids, has_well_ids : bool
        Whether the file named them; without either, distances are given but no verdict.
    seed : int
        For the bootstrap and for the cells drawn for effect sizes.

    Returns
    -------
    dict
        Ready for JSON, numbers rounded to six significant digits, as docs/drift.md describes it.
        Distances are in units of how far a plate of the reference's own population is expected to
        lie: 1 is ordinary.
    """
    profile = collected.profile
    ladder = Ladder(reference)
    known = ladder.reference_plates()
    placed = ladder.place(profile, known=False)
    allowance = verdict.allowance(reference.training_predictions)
    judge = verdict.Judge(
        known, has_plate_ids=has_plate_ids, has_well_ids=has_well_ids, allowance=allowance
    )
    plates = [judge.judge(plate) for plate in placed]
    words, reason = verdict.overall(plates)
    found = {
        plate: reference.calibration.confusions(
            probabilities, collected.wells[plate] if has_well_ids else None
        )
        for plate, probabilities in collected.probabilities.items()
    }
    for plate in plates:
        name = plate["plate"]
        plate["error"] = _estimate(reference, [found[name]], [plate], has_well_ids, seed)
        plate["class_shares"] = _class_shares(reference, profile.of_plate(name))
    for plate in _farthest(plates):
        plate["effects"] = effect_sizes(collected.samples[plate["plate"]], reference.sample, seed)
    wells = _wells(ladder, collected)
    assessment = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "verdict": words,
        "reason": reason,
        "n_cells": int(profile.counts.sum()),
        "has_plate_ids": has_plate_ids,
        "has_well_ids": has_well_ids,
        "plates": plates,
        "expected_by_chance": verdict.ALPHA * len(plates),
        "error": _estimate(reference, list(found.values()), plates, has_well_ids, seed),
        "error_record": error_record(reference, has_wells=has_well_ids),
        "model_errors": _model_errors(reference),
        "class_shares": _class_shares(reference, profile),
        "effects": {"statistics": describe(), "reference": reference.effects},
        "reference": _reference_entry(known, reference.training_predictions),
        "raw_moves": raw_moves(
            placed,
            known["training"],
            kept_share=reference.kept_share,
            has_ids=has_plate_ids and has_well_ids,
        ),
        "wells": wells,
        "edge_wells": edge_against_inner(wells),
        "settings": {
            "alpha": verdict.ALPHA,
            "allowance": allowance,
            "least_cells": verdict.LEAST_CELLS,
            "least_wells": verdict.LEAST_WELLS,
            "least_reference_plates": verdict.LEAST_PLATES,
            "most_noise": verdict.MOST_NOISE,
            "moved_at": MOVED,
        },
    }
    rounded: dict[str, Any] = _rounded(assessment)
    return rounded


def error_record(reference: Reference, *, has_wells: bool) -> dict[str, Any]:
    """Return how far each estimator would have been off on Test1..4, the baseline last."""
    truths = {split: error for split, error in reference.errors.items() if split != "training"}
    entries = []
    for key, one in estimators().items():
        if key in reference.record:
            words = {"key": key, "title": one.title, "meaning": one.meaning}
            entries.append(words | {"splits": _offs(reference.record[key], truths)})
    if "test1" in truths:
        everywhere = dict.fromkeys(truths, truths["test1"])
        entries.append(BASELINE | {"splits": _offs(everywhere, truths)})
    chosen = reference.calibration.chosen(has_wells=has_wells)
    return {"chosen": chosen, "estimators": entries}


def _offs(estimates: dict[str, float], truths: dict[str, float]) -> dict[str, dict[str, float]]:
    return {
        split: {"estimate": estimates[split], "truth": truth, "off": estimates[split] - truth}
        for split, truth in truths.items()
        if split in estimates
    }


def _estimate(
    reference: Reference,
    found: list[error.Confusions],
    plates: list[dict[str, Any]],
    has_well_ids: bool,
    seed: int,
) -> dict[str, Any]:
    return error.estimate(
        found,
        reference.calibration,
        has_wells=has_well_ids,
        obstacle=_obstacle(plates, reference.calibration.chosen(has_wells=has_well_ids)),
        seed=seed,
    )


def _obstacle(plates: list[dict[str, Any]], estimator: str) -> str | None:
    """Return why no estimate for these plates could be believed, in one sentence, or None."""
    few = error.MOST_DOUBT * sum(plate["n_cells"] for plate in plates)
    if sum(plate["n_cells"] for plate in plates if plate["beyond"]) > few:
        return (
            "No plate of Training or the test sets lies as far from Training, so that nothing "
            "tells whether an estimate could be believed."
        )
    unjudged = [plate for plate in plates if plate["verdict"] == verdict.CANNOT_TELL]
    if sum(plate["n_cells"] for plate in unjudged) > few:
        return f"An estimate holds for plates that can be judged. {unjudged[0]['reason']}"
    shifted = [plate for plate in plates if plate["verdict"] == verdict.SHIFTED]
    reads_wells = estimators()[estimator].needs_wells
    if not reads_wells and sum(plate["n_cells"] for plate in shifted) > few:
        return (
            "Only the model's confidence tells of the error here, and confidence misleads on "
            "plates unlike those of Training."
        )
    return None


def _farthest(plates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the plates whose effects are measured, and give the others none."""
    for plate in plates:
        plate["effects"] = {}
    far = sorted(plates, key=lambda plate: np.inf if plate["score"] is None else -plate["score"])
    return far[:MOST_EFFECTS]


def _model_errors(reference: Reference) -> dict[str, Any]:
    return {
        split: {
            "balanced_error": reference.errors[split],
            "recalls": error.listed(recalls(reference.confusions[split])),
        }
        for split in SPLITS
        if split in reference.errors
    }


def _class_shares(reference: Reference, profile: Profile) -> dict[str, Any]:
    counts = profile.class_counts()
    confusion = reference.confusions.get("training", np.eye(len(CLASSES)))
    return {
        "classes": list(CLASSES),
        "cells": counts.tolist(),
        "predicted": (counts / counts.sum()).tolist(),
        "corrected": corrected_shares(counts, confusion).tolist(),
    }


def _reference_entry(known: verdict.Known, training_predictions: str) -> dict[str, Any]:
    m = len(known["training"])
    return {
        "training_predictions": training_predictions,
        "m": m,
        "smallest_p": 1 / (m + 1),
        "ladder": {
            split: [
                {
                    "plate": plate.plate,
                    "n_cells": plate.n_cells,
                    "classes": plate.classes.tolist(),
                    "distances": plate.distances(),
                }
                for plate in plates
            ]
            for split, plates in known.items()
        },
    }


def _wells(ladder: Ladder, collected: Collected) -> list[dict[str, Any]]:
    """Return place, cells, distance, confidence and class shares of each well that has a name."""
    profile = collected.profile
    distances = ladder.wells(profile)
    confidences = _confidences(collected)
    ids, own = profile.wells_of_groups()
    counts = np.zeros((len(ids), len(CLASSES)))
    np.add.at(counts, (own, profile.classes), profile.counts)
    rows, columns = well_positions(np.array([well for _, well in ids], dtype=str))
    return [
        {
            "plate": plate,
            "well": well,
            "row": int(row),
            "column": int(column),
            "n_cells": int(cells.sum()),
            "distance": distances[plate, well],
            "confidence": confidences[plate, well],
            "shares": (cells / cells.sum()).tolist(),
        }
        for (plate, well), row, column, cells in zip(ids, rows, columns, counts, strict=True)
        if well
    ]


def _confidences(collected: Collected) -> dict[tuple[str, str], float]:
    """Return the mean confidence of the cells of each well."""
    found: dict[tuple[str, str], float] = {}
    for plate, answers in collected.probabilities.items():
        own = collected.wells[plate]
        means = np.bincount(own, weights=answers.max(axis=1)) / np.bincount(own)
        names = collected.well_names[plate]
        found |= {(plate, name): float(mean) for name, mean in zip(names, means, strict=True)}
    return found


def _rounded(value: Any) -> Any:
    """Round every float, so that the last bits of sums do not reach the file."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{round(value, _PLACES):.{_DIGITS}g}")
    return value
