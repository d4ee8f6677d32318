"""A small scored plate, made by hand, for the report's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coos_mlflow.data.cells import SPLITS
from coos_mlflow.drift.views import RAW_FIGURE_TABLE, VIEWS
from coos_mlflow.report.summary import EXAMPLE_ROLES


def plate_entry(name: str = "P7", verdict: str = "in range", distance: float = 0.9) -> dict:
    known = verdict != "cannot tell"
    return {
        "plate": name,
        "verdict": verdict,
        "reason": f"Because of {distance}.",
        "n_cells": 300,
        "n_wells": 4,
        "classes": [0, 2],
        "smallest_p": 0.047619,
        "p": 0.52381 if known else None,
        "score": distance if known else None,
        "limit": 2.0 if known else None,
        "noise_share": 0.2,
        "known_plates": 30,
        "known_nearer": 30 if distance > 10 else 12,
        "distances": dict.fromkeys(VIEWS, distance if known else None),
        "usual": dict.fromkeys(VIEWS, 1.6 if known else None),
        "stands_out_in": "raw" if known else None,
    }


def assessment_of(plates: list[dict], wells: list[tuple[str, str]]) -> dict[str, Any]:
    verdicts = {plate["verdict"] for plate in plates}
    order = ("shifted", "cannot tell", "in range")
    reference = [
        {"plate": f"r{number}", "distances": dict.fromkeys(VIEWS, 0.5 + number / 10)}
        for number in range(6)
    ]
    return {
        "verdict": next(verdict for verdict in order if verdict in verdicts),
        "reason": plates[0]["reason"],
        "n_cells": 300 * len(plates),
        "has_plate_ids": True,
        "has_well_ids": True,
        "plates": plates,
        "expected_by_chance": 0.05 * len(plates),
        "reference": {
            "m": 20,
            "smallest_p": 0.047619,
            "ladder": dict.fromkeys(SPLITS, reference),
        },
        "class_shares": {
            "predicted": [0.6, 0, 0.37, 0, 0, 0.03, 0],
            "corrected": [0.62, 0, 0.38, 0, 0, 0, 0],
        },
        "raw_moves": [
            {
                "plate": plates[0]["plate"],
                "figure": figure.name,
                "channel": figure.channel,
                "z": 7.5 if number == 0 else -0.4,
                "moved": number == 0,
                "change": 1.8 if figure.scale == "log" else 0.05,
                "change_is": "factor" if figure.scale == "log" else "difference",
            }
            for number, figure in enumerate(RAW_FIGURE_TABLE)
        ],
        "wells": [
            {"plate": plate, "well": well, "n_cells": 75, "distance": 1.1} for plate, well in wells
        ],
        "settings": {"moved_at": 3.5},
    }


@pytest.fixture
def scored(random_cells) -> Callable[..., dict[str, Any]]:
    """Factory of the arguments of `summarise`."""

    def make(
        plates: list[dict] | None = None,
        wells: list[str] | None = None,
        *,
        plate_simulated: bool = False,
        model_simulated: bool = False,
        errors: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        plates = [plate_entry()] if plates is None else plates
        names = ["A01", "B02", "C03", "P24"] if wells is None else wells
        places = [(plate["plate"], well) for plate in plates for well in names]
        table = pd.DataFrame(places, columns=["plate", "well"])
        understood = wells is None
        table["row"] = np.tile([1, 2, 3, 16], len(plates)) if understood else 0
        table["column"] = np.tile([1, 2, 3, 24], len(plates)) if understood else 0
        table["n_cells"] = 75
        table["confidence"] = 0.8
        table["distance"] = 1.1
        table.loc[0, "distance"] = np.nan
        for label, share in enumerate([0.6, 0, 0.37, 0, 0, 0.03, 0]):
            table[f"share_{label}"] = share
        images = random_cells(8)
        cells = [
            {
                "image": images[number],
                "label": label,
                "role": role,
                "plate": plates[0]["plate"],
                "well": names[0],
                "index": number,
                "confidence": 0.5,
                "distance": 2.0,
            }
            for role in EXAMPLE_ROLES
            for label in (0, 2)
            for number in range(4)
        ]
        for cell in cells:
            if cell["role"] == "reference":
                del cell["confidence"]
                cell["split"] = "training"
        return {
            "assessment": assessment_of(plates, places),
            "wells": table,
            "cells": cells,
            "model": {
                "name": "texture-lr",
                "version": "3",
                "alias": None,
                "trained_on": "COOS-7",
                "simulated": model_simulated,
                "errors": {"training": 6.0, "test1": 4.0, "test2": 5.0}
                if errors is None
                else errors,
                "recalls": {"test1": [0.9] * 7, "test2": [0.7, float("nan")] + [0.9] * 5},
            },
            "plate_name": "new_plate.h5",
            "plate_simulated": plate_simulated,
            "provenance": {"plate_file": {"sha256": "ab" * 32}, "seconds": 4.25, "command": "x"},
        }

    return make


@pytest.fixture
def make_entry() -> Callable[..., dict]:
    return plate_entry
