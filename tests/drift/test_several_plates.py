"""The verdict on files with several plates."""

import pytest

from coos_mlflow.drift import IN_RANGE, SHIFTED
from coos_mlflow.drift.verdict import overall


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


def test_a_plate_beyond_all_that_is_known_makes_the_file_shifted():
    file = plates(0.04, *[0.5] * 19)
    file[0]["beyond"] = True
    assert overall(file)[0] == SHIFTED


@pytest.mark.parametrize(
    ("exceedances", "verdict"),
    [
        ([0.04] + [0.5] * 19, IN_RANGE),  # one in twenty is what chance brings
        ([0.001] + [0.5] * 19, SHIFTED),  # one far out is not
        ([0.04] * 15 + [0.9] * 2, SHIFTED),  # 17 * 0.04 / 15 = 0.0453: many, a little each
        ([0.5] * 20, IN_RANGE),
    ],
)
def test_a_file_is_shifted_by_more_than_chance_explains(exceedances, verdict):
    file_verdict, reason = overall(plates(*exceedances))
    assert file_verdict == verdict
    assert f"of {len(exceedances)} plates" in reason.lower()
