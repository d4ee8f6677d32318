"""The verdict on files with several plates."""

import numpy as np
import pytest

from coos_mlflow.drift import IN_RANGE, SHIFTED
from coos_mlflow.drift.plate_test import PRIOR_FREEDOM, NullPlates
from coos_mlflow.drift.verdict import ALPHA, overall


def plates(*exceedances: float) -> list[dict]:
    return [
        {
            "plate": str(number),
            "verdict": SHIFTED if p < 0.05 else IN_RANGE,
            "reason": "The plate ...",
            "t_p": p,
            "beyond": False,
            "score": 1 / p,
            "n_cells": 100,
        }
        for number, p in enumerate(exceedances)
    ]


@pytest.mark.parametrize(
    ("exceedances", "verdict"),
    [
        ([0.003] + [0.5] * 19, IN_RANGE),  # 20 * 0.003 = 0.06
        ([0.04] + [0.5] * 19, IN_RANGE),  # one in twenty is what chance brings
        ([0.0008] + [0.5] * 19, SHIFTED),  # one far out is not
        ([0.015] * 15 + [0.9] * 2, SHIFTED),  # 17 * 0.015 / 15 = 0.017: many, a little each
        ([0.5] * 20, IN_RANGE),
    ],
)
def test_a_file_is_shifted_by_more_than_chance_explains(exceedances, verdict):
    file_verdict, reason = overall(plates(*exceedances))
    assert file_verdict == verdict
    assert f"of {len(exceedances)} plates" in reason.lower()


@pytest.mark.parametrize("n", [20, 50])
@pytest.mark.parametrize("m", [5, 20])
def test_files_of_ordinary_plates_are_rarely_shifted(n, m):
    """Plates of a file share the error of the reference; the farthest lies beyond all of it."""
    null = NullPlates(m, m - 1 + PRIOR_FREEDOM, np.eye(3), (1.0,), (), (0, 2))
    rng = np.random.default_rng([n, m])
    files, limit = 400, null.limits(ALPHA)["plate"]
    shifted = 0
    for _ in range(files):
        reference = rng.normal(size=3) / np.sqrt(m)
        deviation = np.sqrt(rng.chisquare(null.freedom, 3) / null.freedom)
        scores = ((rng.normal(size=(n, 3)) + reference) / deviation / null.expected).max(axis=1)
        p = null.view_p(scores)
        file = plates(*p)
        for plate, score in zip(file, scores, strict=True):
            plate["verdict"] = SHIFTED if score > limit else IN_RANGE
            plate["beyond"] = bool(score == scores.max())
        shifted += overall(file)[0] == SHIFTED
    assert shifted / files <= 0.06
