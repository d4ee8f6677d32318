"""The assessment of scored plates: everything that drift.json says about dataset shift.

`assess` is the entry point of `coos_mlflow.drift`. docs/drift.md describes its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coos_mlflow.drift import IN_RANGE, MIN_CELLS_PER_PLATE, SHIFTED, verdict
from coos_mlflow.drift import error_estimate as error
from coos_mlflow.drift.calibration import corrected_shares
from coos_mlflow.drift.collect import Collected
from coos_mlflow.drift.controls import with_controls
from coos_mlflow.drift.edge_wells import edge_against_inner
from coos_mlflow.drift.effect_sizes import describe, effect_sizes
from coos_mlflow.drift.estimators import estimators
from coos_mlflow.drift.mixed_wells import without_consensus
from coos_mlflow.drift.placement import PlateComparison
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.quality_shift import quality_shifts
from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.statistics.raw_figures import MOVED
from coos_mlflow.drift.well_entries import well_entries
from coos_mlflow.metrics import recalls
from coos_mlflow.plates.dataset import Dataset

SCHEMA_VERSION = 6

MAX_PLATES_WITH_EFFECTS = 8
"""Effect sizes are measured for this many plates of a file, the farthest: each takes about a
second."""

BASELINE: dict[str, Any] = {
    "key": "baseline",
    "meaning": "what one expects who trusts the test set: the figure to beat",
    "blind_to": "every change from plate to plate",
}

_DIGITS, _PLACES = 6, 9


class Assessor:
    """Compares plates with the reference of a model version.

    Parameters
    ----------
    reference : Reference
    mixed_wells : bool
        Whether wells may hold several classes, even if those of Training do not.
    """

    def __init__(self, reference: Reference, *, mixed_wells: bool = False) -> None:
        if mixed_wells or not reference.calibration.pure_wells:
            reference = without_consensus(reference)
        self._reference = reference
        self._one_class = reference.calibration.label_rates is not None
        self._comparison = PlateComparison(reference, one_class=self._one_class)
        self._known = self._comparison.reference_plates()
        self._allowance = verdict.allowance(reference.training_predictions)
        self._judge = verdict.Judge(
            self._known,
            allowance=self._allowance,
            usual_errors=1 - np.nan_to_num(recalls(reference.confusions["training"]), nan=1.0),
        )
        self._sensitivity = self._judge.sensitivity()
        self._far = self._comparison.far_well()

    @property
    def sensitivity(self) -> dict[str, Any]:
        """What the verdict can find; see `verdict.Judge.sensitivity`."""
        return self._sensitivity

    def assess(
        self,
        collected: Collected,
        *,
        has_plate_ids: bool,
        has_well_ids: bool,
        known_classes: Mapping[tuple[str, str], int] | None = None,
        effects: bool = True,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Compare the plates of a file with the reference.

        Parameters
        ----------
        collected : Collected
            The scored plates.
        has_plate_ids, has_well_ids : bool
            Whether the file named them. Without either there are distances, but no verdict.
        known_classes : mapping of (str, str) to int, optional
            By plate and well, the label of the class that it holds, or `layout.NONE`.
        effects : bool
            Measure effect sizes, which take about a second for each plate.
        seed : int
            For the bootstrap and for the cells drawn for effect sizes.

        Returns
        -------
        dict
            JSON-ready, as docs/drift.md describes it, with numbers rounded to six significant
            digits. Distances are relative to the expected distance of a plate of the reference's
            own population: 1 is ordinary.
        """
        reference = self._reference
        compared = self._comparison.compare(collected.profile, known=False)
        plates = [
            self._judge.judge(
                plate,
                has_plate_ids=has_plate_ids,
                has_well_ids=has_well_ids,
                n_plates=len(compared),
            )
            for plate in compared
        ]
        for plate in plates:
            plate["reason"] = verdict.named_reason(plate, reference.dataset.class_names)
        file_verdict, reason = verdict.overall(plates)
        wells = well_entries(reference, self._comparison, collected, self._far, plates)
        confusions = _confusions(reference, collected, has_well_ids)
        known = _reference_entry(self._known, reference.training_predictions)
        assessment = {
            "schema_version": SCHEMA_VERSION,
            "dataset": _dataset_entry(reference.dataset),
            "seed": seed,
            "verdict": file_verdict,
            "reason": reason,
            "n_cells": int(collected.profile.counts.sum()),
            "has_plate_ids": has_plate_ids,
            "has_well_ids": has_well_ids,
            "plates": plates,
            "expected_by_chance": verdict.ALPHA * len(plates),
            "error": _add_figures(plates, reference, collected, confusions, has_well_ids, seed),
            "error_record": error_record(reference, has_wells=has_well_ids),
            "model_errors": _model_errors(reference),
            "class_shares": _class_shares(reference, collected.profile),
            "effects": {"statistics": describe(), "reference": reference.effects},
            "reference": known | {"sensitivity": self._sensitivity},
            "raw_moves": quality_shifts(
                compared,
                self._known["training"],
                kept_share=reference.kept_share,
                has_ids=has_plate_ids and has_well_ids,
            ),
            "wells": wells,
            "edge_wells": edge_against_inner(wells),
            "wells_have_classes": self._one_class,
            "settings": _settings(self._allowance) | {"far_well": self._far},
        }
        _add_effects(plates, reference, collected, seed, measured=effects)
        chosen = reference.calibration.chosen(has_wells=has_well_ids)
        assessment = with_controls(
            assessment,
            known_classes or {},
            _estimated_wells(confusions, collected, chosen) if has_well_ids else {},
            reference.calibration.margin[chosen],
            reference.confusions.get("training"),
        )
        found: dict[str, Any] = rounded(assessment)
        return found


def assess(
    reference: Reference,
    collected: Collected,
    *,
    has_plate_ids: bool,
    has_well_ids: bool,
    known_classes: Mapping[tuple[str, str], int] | None = None,
    mixed_wells: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the plates of a file with the reference of a model version; see `Assessor`."""
    return Assessor(reference, mixed_wells=mixed_wells).assess(
        collected,
        has_plate_ids=has_plate_ids,
        has_well_ids=has_well_ids,
        known_classes=known_classes,
        seed=seed,
    )


def _dataset_entry(dataset: Dataset) -> dict[str, Any]:
    """Return what pages say of the model's data set."""
    return {
        "name": dataset.name,
        "crop": dataset.crop,
        "wells": dataset.wells,
        "classes": [
            {"name": one.name, "short": one.short, "colour": one.colour} for one in dataset.classes
        ],
        "splits": [
            {"key": key, "title": split.name, "meaning": split.meaning}
            for key, split in dataset.by_split.items()
        ],
    }


def _confusions(
    reference: Reference, collected: Collected, has_well_ids: bool
) -> dict[str, error.Confusions]:
    """Return the estimated confusions of the wells of each plate."""
    return {
        plate: reference.calibration.confusions(
            probabilities, collected.wells[plate] if has_well_ids else None
        )
        for plate, probabilities in collected.probabilities.items()
    }


def _estimated_wells(
    confusions: dict[str, error.Confusions], collected: Collected, estimator: str
) -> dict[tuple[str, str], np.ndarray]:
    """Return the confusions by one estimator for each plate and well."""
    return {
        (plate, well): own
        for plate, by_estimator in confusions.items()
        for well, own in zip(collected.well_names[plate], by_estimator[estimator], strict=True)
    }


def _add_figures(
    plates: list[dict[str, Any]],
    reference: Reference,
    collected: Collected,
    confusions: dict[str, error.Confusions],
    has_well_ids: bool,
    seed: int,
) -> dict[str, Any]:
    """Add error and class shares to each plate; return the error of the file."""
    for plate in plates:
        name = plate["plate"]
        plate["error"] = _estimate(reference, [confusions[name]], [plate], has_well_ids, seed)
        plate["class_shares"] = _class_shares(reference, collected.profile.of_plate(name))
    return _estimate(reference, list(confusions.values()), plates, has_well_ids, seed)


def _add_effects(
    plates: list[dict[str, Any]],
    reference: Reference,
    collected: Collected,
    seed: int,
    *,
    measured: bool,
) -> None:
    for plate in plates:
        plate["effects"] = {}
    for plate in _farthest(plates) if measured else ():
        plate["effects"] = effect_sizes(collected.samples[plate["plate"]], reference.sample, seed)


def _settings(allowance: dict[str, float]) -> dict[str, Any]:
    return {
        "alpha": verdict.ALPHA,
        "allowance": allowance,
        "least_cells": MIN_CELLS_PER_PLATE,
        "least_wells": verdict.MIN_WELLS,
        "least_reference_plates": verdict.MIN_REFERENCE_PLATES,
        "most_noise": verdict.MAX_NOISE_SHARE,
        "moved_at": MOVED,
    }


def error_record(reference: Reference, *, has_wells: bool) -> dict[str, Any]:
    """Return the error of each estimator on the reference splits, the baseline last."""
    truths = {split: error for split, error in reference.errors.items() if split != "training"}
    entries = []
    for key, estimator in estimators().items():
        # A reference older than the estimator has no record of it.
        if key in reference.record:
            names = {
                "key": key,
                "title": estimator.title,
                "meaning": estimator.meaning,
                "blind_to": estimator.blind_to,
            }
            entries.append(names | {"splits": _offs(reference.record[key], truths)})
    if truths:
        nearest = next(iter(truths))
        everywhere = dict.fromkeys(truths, truths[nearest])
        entries.append(
            BASELINE
            | {
                "title": f"The error of {reference.dataset.title(nearest)}, everywhere",
                "splits": _offs(everywhere, truths),
            }
        )
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
    confusions: list[error.Confusions],
    plates: list[dict[str, Any]],
    has_well_ids: bool,
    seed: int,
) -> dict[str, Any]:
    return error.estimate(
        confusions,
        reference.calibration,
        has_wells=has_well_ids,
        obstacle=_obstacle(plates, reference.calibration.chosen(has_wells=has_well_ids)),
        no_upper_end=_no_upper_end(plates),
        seed=seed,
    )


def _obstacle(plates: list[dict[str, Any]], estimator: str) -> str | None:
    """Return why an estimate for these plates would not be reliable, in one sentence, or None."""
    limit = error.MAX_DOUBTFUL_SHARE * sum(plate["n_cells"] for plate in plates)
    if sum(plate["n_cells"] for plate in plates if plate["beyond"]) > limit:
        return (
            "No plate of Training or the test sets lies as far from Training, so that nothing "
            "tells whether an estimate could be believed."
        )
    unjudged = [plate for plate in plates if not plate["judged"]]
    if sum(plate["n_cells"] for plate in unjudged) > limit:
        return f"An estimate holds for plates that can be judged. {unjudged[0]['reason']}"
    # Confidence is not reliable on shifted plates; the labels within wells are.
    shifted = [plate for plate in plates if plate["verdict"] == SHIFTED]
    if (
        not estimators()[estimator].needs_wells
        and sum(plate["n_cells"] for plate in shifted) > limit
    ):
        return (
            "Only the model's confidence tells of the error here, and confidence misleads on "
            "plates unlike those of Training."
        )
    return None


def _no_upper_end(plates: list[dict[str, Any]]) -> str | None:
    """Return why nothing vouches for an upper end of the error, in one sentence, or None."""
    limit = error.MAX_DOUBTFUL_SHARE * sum(plate["n_cells"] for plate in plates)
    unlike = [plate for plate in plates if plate["verdict"] != IN_RANGE]
    if sum(plate["n_cells"] for plate in unlike) > limit:
        return (
            "On plates unlike those of Training whole wells may be misread, which no estimate "
            "without labels can see."
        )
    odd = sum(len(plate["odd_wells"]) for plate in plates)
    if odd:
        wells = "1 well looks" if odd == 1 else f"{odd} wells look"
        return f"{wells} like none of the classes, and may be misread as a whole."
    return None


def _farthest(plates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the plates whose effect sizes are measured."""
    far = sorted(plates, key=lambda plate: np.inf if plate["score"] is None else -plate["score"])
    return far[:MAX_PLATES_WITH_EFFECTS]


def _model_errors(reference: Reference) -> dict[str, Any]:
    return {
        split: {
            "balanced_error": reference.errors[split],
            "recalls": error.nan_to_none(recalls(reference.confusions[split])),
        }
        for split in reference.profiles
        if split in reference.errors
    }


def _class_shares(reference: Reference, profile: Profile) -> dict[str, Any]:
    counts = profile.class_counts()
    confusion = reference.confusions.get("training", np.eye(reference.dataset.n_classes))
    return {
        "classes": list(reference.dataset.class_names),
        "cells": counts.tolist(),
        "predicted": (counts / counts.sum()).tolist(),
        "corrected": corrected_shares(counts, confusion).tolist(),
    }


def _reference_entry(known: verdict.ReferencePlates, training_predictions: str) -> dict[str, Any]:
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


def rounded(value: Any) -> Any:
    """Round every float, because the last bits of sums can differ between computers."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{round(value, _PLACES):.{_DIGITS}g}")
    return value
