"""A small scored plate, made by hand, for the report's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from _coos7 import CLASSES, SPLITS

from coos_mlflow.drift.assessment import _dataset_entry
from coos_mlflow.drift.edge_wells import edge_against_inner
from coos_mlflow.drift.example_cells import ROLES, WELL_ROLES
from coos_mlflow.drift.image_quality import RAW_FIGURE_TABLE, VIEWS
from coos_mlflow.drift.quality_shift import CELLS_PER_WELL
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.wells import parse_well, read_wells
from coos_mlflow.reports.plate.cells import Pictures, ReferencePicture
from coos_mlflow.reports.plate.figures.cells import cell_picture

ERRORS = {"training": 6.0, "test1": 4.1, "test2": 5.2, "test3": 17.9, "test4": 12.3}
ESTIMATORS = ("well_consensus", "confidence", "baseline")
WELLS = ("A01", "B02", "C03", "P24")
SHARES = [0.6, 0, 0.37, 0, 0, 0.03, 0]


def estimate_of(error: float | None = 6.4, classes: tuple[int, ...] = (0, 2)) -> dict[str, Any]:
    def recalls(spread: float) -> list[float | None]:
        known = {label: min(1 - error / 100 + spread, 1) for label in classes} if error else {}
        return [known.get(label) for label in range(7)]

    return {
        "balanced_error": error,
        "low": None if error is None else round(error * 0.7, 3),
        "high": None if error is None else round(error * 1.6, 3),
        "wrong_labels": None if error is None else round(error * 0.8, 3),
        "answer": "cannot tell" if error is None else "estimated",
        "reason": "Few cells: any error from 3 to 60 % would fit." if error is None
        else "It rests on how sure the model is of each cell.",
        "classes": list(classes),
        "recalls": recalls(0),
        "recall_lows": recalls(-0.04),
        "recall_highs": recalls(0.03),
        "estimators": {"well_consensus": error, "confidence": error},
        "untold": [],
        "missing": [1, 3, 4, 5, 6],
    }  # fmt: skip


def by_class_of(score: float) -> list[dict[str, Any]]:
    return [
        {"class": label, "n_cells": 120, "score": score, "limit": 3.9, "view": "raw",
         "shifted": score > 3.9}
        for label in (0, 2)
    ]  # fmt: skip


def plate_entry(
    name: str = "P7", verdict: str = "in range", distance: float = 0.9, error: float | None = 6.4
) -> dict[str, Any]:
    known = verdict != "cannot tell" or distance > 10
    return {
        "plate": name,
        "verdict": verdict,
        "reason": f"The plate differs by {distance} where up to 1.6 is usual.",
        "n_cells": 300,
        "n_wells": 4,
        "classes": [0, 2],
        "judged": verdict != "cannot tell",
        "by_class": by_class_of(distance) if known else [],
        "not_judged": [{"class": 5, "n_cells": 9}],
        "odd_wells": [],
        "exceeded": (["plate"] if verdict == "shifted" else []) if known else None,
        "disagreeing": 8.0,
        "usually_disagreeing": 6.0,
        "smallest_p": 0.047619,
        "p": 0.52381 if known else None,
        "score": distance if known else None,
        "limit": 2.0 if known else None,
        "t_p": (0.5 if verdict == "in range" else 0.00123) if known else None,
        "noise_share": 0.2,
        "known_plates": 30,
        "known_nearer": 30 if distance > 10 else 12,
        "beyond": distance > 10,
        "distances": dict.fromkeys(VIEWS, distance if known else None),
        "usual": dict.fromkeys(VIEWS, 1.6 if known else None),
        "view_p": dict.fromkeys(
            VIEWS, (0.5 if verdict == "in range" else 0.047619) if known else None
        ),
        "stands_out_in": "raw" if known else None,
        "error": estimate_of(error),
        "class_shares": {"predicted": SHARES, "corrected": SHARES},
        "effects": {"mmd": 0.031 * distance, "c2st": 0.61, "energy": None},
    }


def raw_moves_of(plate: str) -> list[dict[str, Any]]:
    figures = [*RAW_FIGURE_TABLE, CELLS_PER_WELL]
    return [
        {
            "plate": plate,
            "figure": figure.name,
            "channel": figure.channel,
            "z": 7.5 if number == 0 else -0.4 - number / 5,
            "moved": number == 0,
            "change": 1.8 if figure.scale == "log" else 0.05,
            "change_is": "factor" if figure.scale == "log" else "difference",
        }
        for number, figure in enumerate(figures)
    ]


def record_of() -> dict[str, Any]:
    def attempts(offset: float) -> dict[str, Any]:
        return {
            split: {"estimate": error + offset, "truth": error, "off": offset}
            for split, error in ERRORS.items()
            if split != "training"
        }

    offsets = zip(ESTIMATORS, (-0.7, 1.9, -2.5), strict=True)
    return {
        "chosen": "well_consensus",
        "estimators": [
            {"key": key, "title": f"Estimator {key}", "meaning": f"Meaning of {key}.",
             "blind_to": f"what {key} does not see",
             "splits": attempts(offset)}
            for key, offset in offsets
        ],
    }  # fmt: skip


def wells_of(plates: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    wells = []
    for plate in plates:
        for number, name in enumerate(names):
            place = parse_well(name)
            shares = rng.dirichlet([8, 0.05, 5, 0.05, 0.05, 0.4, 0.05]).round(4).tolist()
            wells.append(
                {
                    "plate": plate["plate"],
                    "well": name,
                    "row": place.row if place else 0,
                    "column": place.column if place else 0,
                    "n_cells": int(rng.integers(20, 90)),
                    "distance": None if number == 0 else round(float(rng.gamma(6, 0.2)), 4),
                    "confidence": round(float(rng.beta(9, 2)), 4),
                    "shares": shares,
                    "share_lows": [share / 2 for share in shares],
                    "share_highs": [(1 + share) / 2 for share in shares],
                    "label": int(np.argmax(shares)),
                    "probability": 0.987,
                    "disagree": round(1 - max(shares), 4),
                    "warnings": ["unlike every class"] if name in plate["odd_wells"] else [],
                    "layout": None,
                }
            )
    return wells


def cells_of(wells: list[dict[str, Any]], most_wells: int) -> list[dict[str, Any]]:
    """Some cells of two classes in each role, and three of each well."""

    def cell(index: int, role: str, label: int, well: dict[str, Any]) -> dict[str, Any]:
        where = {key: well[key] for key in ("plate", "well")}
        facts = {"confidence": 0.5 + index % 50 / 100, "distance": 2.0 + index % 7 / 10}
        return {"index": index, "role": role, "label": label} | facts | where

    found = [
        cell(number, role, label, wells[number % len(wells)])
        for role in ROLES
        for label in (0, 2)
        for number in range(4 * label, 4 * label + 4)
    ]
    for number, well in enumerate(wells[:most_wells]):
        label = int(np.argmax(well["shares"]))
        found += [cell(100 + 3 * number + k, r, label, well) for k, r in enumerate(WELL_ROLES)]
    return found


@pytest.fixture
def scored(random_cells) -> Callable[..., tuple[dict[str, Any], Pictures]]:
    """Factory of the arguments of `summarise`: drift.json and pictures."""

    def make(
        plates: list[dict] | None = None,
        wells: tuple[str, ...] = WELLS,
        *,
        simulated: tuple[bool, bool] = (False, False),
        training_error: float = ERRORS["training"],
        images: np.ndarray | None = None,
        most_wells: int = 1536,
    ) -> tuple[dict[str, Any], Pictures]:
        plates = [plate_entry()] if plates is None else plates
        order = ("shifted", "cannot tell", "in range")
        verdicts = {plate["verdict"] for plate in plates}
        entries = wells_of(plates, wells)
        known = [
            {"plate": f"r{number}", "n_cells": 90, "classes": [number],
             "distances": dict.fromkeys(VIEWS, 0.5 + number / 10)}
            for number in range(6)
        ]  # fmt: skip
        cells = cells_of(entries, most_wells)
        drift = {
            "schema_version": 6,
            "dataset": _dataset_entry(coos7()),
            "seed": 0,
            "verdict": next(verdict for verdict in order if verdict in verdicts),
            "reason": plates[0]["reason"],
            "n_cells": 300 * len(plates),
            "has_plate_ids": True,
            "has_well_ids": True,
            "well_ids": read_wells(np.array(wells)).facts,
            "expected_by_chance": 0.05 * len(plates),
            "plates": plates,
            "error": plates[0]["error"],
            "class_shares": {
                "classes": list(CLASSES),
                "predicted": SHARES,
                "corrected": [0.62, 0, 0.38, 0, 0, 0, 0],
            },
            "error_record": record_of(),
            "model_errors": {
                split: {
                    "balanced_error": training_error if split == "training" else error,
                    "recalls": [0.7, None, *[round(1 - error / 100, 3)] * 5],
                }
                for split, error in ERRORS.items()
            },
            "wells": entries,
            "wells_have_classes": True,
            "controls": None,
            "audit": None,
            "mixed_wells": False,
            "layout": None,
            "edge_wells": edge_against_inner(entries),
            "cells": cells,
            "left_out": {"unusable": {}, "copies": 0, "nameless": 0},
            "effects": {
                "statistics": [
                    {"key": key, "title": f"Statistic {key}", "meaning": "0 is no difference."}
                    for key in ("mmd", "c2st", "energy")
                ],
                "reference": {
                    split: {"mmd": 0.01 * n, "c2st": 0.5 + 0.04 * n, "energy": 0.2 * n}
                    for n, split in enumerate(SPLITS)
                },
            },
            "reference": {
                "m": 20,
                "smallest_p": 0.047619,
                "training_predictions": "plates",
                "sensitivity": {
                    "alarms": 1,
                    "of": 20,
                    "found": {"test1": 0.04, "test3": 0.9, "test4": 0.999},
                },
                "ladder": dict.fromkeys(SPLITS, known),
            },
            "raw_moves": raw_moves_of(plates[0]["plate"]),
            "simulated": dict(zip(("plate", "model"), simulated, strict=True)),
            "plate_file": {"name": "new_plate.h5", "sha256": "ab" * 32, "n_cells": 300},
            "model": {
                "name": "texture-lr",
                "version": "3",
                "trained_on": "COOS-7",
                "dataset_sha256": "cd" * 32,
            },
            "versions": {"coos-mlflow": "0.1.0"},
            "settings": {"alpha": 0.05, "moved_at": 3.5},
        }
        # Files hold no tuples and no NaN: what is made here must be what could be read.
        drift = json.loads(json.dumps(drift, allow_nan=False))
        some = [cell_picture(image) for image in (random_cells(8) if images is None else images)]
        reference = [
            ReferencePicture(some[n % len(some)], label, split, f"r{n}")
            for label in range(7)
            for n, split in enumerate(("training", "training", "test3", "test4"))
        ]
        pictured = {cell["index"]: some[cell["index"] % len(some)] for cell in cells}
        return drift, Pictures(pictured, reference)

    return make


@pytest.fixture
def make_entry() -> Callable[..., dict]:
    return plate_entry
