"""Wells that may hold several classes: what is left of a reference whose wells hold one.

The cells of such a well do not check each other. Only the model's confidence tells of its errors.
"""

from __future__ import annotations

from dataclasses import replace

from coos_mlflow.drift.error_estimate import MIN_MARGIN
from coos_mlflow.drift.reference import Reference


def without_consensus(reference: Reference) -> Reference:
    """Return the reference without the consensus of wells, and with wider ranges.

    Confidence misleads where plates differ from Training's. So the margin of each estimator is at
    least the most that it was off on a reference split, and that of the recalls grows by the same
    factor.
    """
    calibration = reference.calibration
    margin = {
        key: max(
            [own]
            + [
                abs(estimate - reference.errors[split])
                for split, estimate in reference.record.get(key, {}).items()
                if split in reference.errors
            ]
        )
        for key, own in calibration.margin.items()
    }
    recall_margin = {
        key: min(own * max(margin[key] / max(calibration.margin[key], MIN_MARGIN), 1.0), 100.0)
        for key, own in calibration.recall_margin.items()
    }
    return replace(
        reference,
        calibration=replace(
            calibration, pure_wells=False, margin=margin, recall_margin=recall_margin
        ),
    )
