"""Made-up fields.json of any size, and pictures of its overlays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coos_mlflow.plates.wells import PLATE_SIZES, Well

Made = tuple[dict[str, Any], dict[tuple[str, str, int, int], bytes]]

FIELD_RULES = [
    {"key": "out_of_focus", "title": "out of focus", "figure": "focus",
     "meaning": "Sharpness of the nuclei; 1 is a sharp one.", "limit": 0.25, "above": False},
    {"key": "saturated", "title": "saturated", "figure": "saturated_share",
     "meaning": "Share of pixels at the largest count.", "limit": 0.002, "above": True},
    {"key": "debris", "title": "debris", "figure": "debris_share",
     "meaning": "Share of objects that are too small.", "limit": 0.4, "above": True},
]  # fmt: skip
WELL_RULES = [
    {"key": "empty", "title": "empty", "figure": "nuclei_per_field",
     "meaning": "Nuclei in the middle field.", "limit": 1.0, "above": False},
    {"key": "few_cells", "title": "few cells", "figure": "n_cells",
     "meaning": "Cells of the well.", "limit": 30.0, "above": False},
]  # fmt: skip


def one_picture(kind: str = "WEBP") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (20, 90, 20)).save(buffer, format=kind)
    return buffer.getvalue()


def broken(figures: dict[str, float | None], rules: list[dict[str, Any]]) -> list[str]:
    def breaks(value: float | None, rule: dict[str, Any]) -> bool:
        if value is None:
            return False
        return value > rule["limit"] if rule["above"] else value < rule["limit"]

    return [rule["key"] for rule in rules if breaks(figures[rule["figure"]], rule)]


def field_of(
    rng: np.random.Generator, plate: str, well: str, number: int, mean: float, error: str | None
) -> dict[str, Any]:
    n = 0 if error else int(rng.poisson(mean))
    blurred = rng.random() < 0.06
    figures = {
        "focus": round(float(rng.normal(0.1 if blurred else 0.8, 0.03)), 4),
        "saturated_share": round(float(rng.exponential(0.0004)), 6),
        "debris_share": round(float(rng.beta(2, 20)), 4),
    }
    if error:
        figures = dict.fromkeys(figures)
    flags = broken(figures, FIELD_RULES)
    return {
        "plate": plate, "well": well, "field": number, "time": 1, "n_cells": n,
        "left_out": {"edge": n // 5, "small": n // 30, "large": n // 60, "field": 0},
        "figures": figures, "flags": flags, "kept": error is None, "error": error,
    }  # fmt: skip


def well_of(plate: str, name: str, place: Well | None, fields: list[dict]) -> dict[str, Any]:
    counts = [field["n_cells"] for field in fields]
    figures = {"nuclei_per_field": float(np.median(counts)), "n_cells": float(sum(counts))}
    return {
        "plate": plate, "well": name, "row": place and place.row, "column": place and place.column,
        "n_fields": len(fields), "n_failed": sum(field["error"] is not None for field in fields),
        "n_cells": sum(counts), "figures": figures, "flags": broken(figures, WELL_RULES),
    }  # fmt: skip


def places(n: int) -> list[Well]:
    rows, columns = next(size for size in PLATE_SIZES if n <= size[0] * size[1])
    return [Well(1 + k // columns, 1 + k % columns) for k in range(n)] if rows else []


@pytest.fixture
def made() -> Callable[..., Made]:
    """Factory of fields.json and its pictures; ``names`` are wells without a position."""

    def make(
        n_wells: int = 8,
        n_fields: int = 3,
        plates: tuple[str, ...] = ("P7",),
        *,
        mean: float = 40,
        empty: int = 0,
        failed: int = 0,
        names: tuple[str, ...] = (),
        n_overlays: int = 2,
        simulated: bool = False,
    ) -> Made:
        rng = np.random.default_rng(5)
        wells, fields = [], []
        for plate in plates:
            spots = [(name, None) for name in names] or [(w.name, w) for w in places(n_wells)]
            for number, (name, place) in enumerate(spots):
                own = [
                    field_of(
                        rng, plate, name, k + 1, 0 if number < empty else mean,
                        "b.tif: is truncated." if len(fields) + k < failed else None,
                    )
                    for k in range(n_fields)
                ]  # fmt: skip
                fields += own
                wells.append(well_of(plate, name, place, own))
        left = {key: sum(f["left_out"][key] for f in fields) for key in fields[0]["left_out"]}
        cells = sum(field["n_cells"] for field in fields)
        read = [field for field in fields if field["error"] is None]
        shown = [(field, "typical") for field in read[:n_overlays]]
        shown += [(field, flag) for field in read for flag in field["flags"]][:n_overlays]
        facts = {
            "schema_version": 1, "simulated": simulated, "location": "/data/lab/plate 42",
            "source": "harmony", "plates": list(plates), "shape": None, "pixel_size_um": 0.3225,
            "channels": [
                {"name": "EGFP", "excitation_nm": 488.0, "emission_nm": 522.0},
                {"name": "DRAQ5", "excitation_nm": 640.0, "emission_nm": 706.0},
                {"name": "Brightfield", "excitation_nm": None, "emission_nm": None},
            ],
            "roles": {"protein": 0, "nucleus": 1},
            "settings": {
                "protein": 0, "nucleus": 1, "crop": 64, "image_pixel_um": 0.3225,
                "crop_pixel_um": None, "z": "max", "illumination": False, "segmenter": "threshold",
                "size": {"smallest": 4.0, "largest": 30.0}, "keep": "all",
            },
            "segmenter": {"weights": "none"}, "dataset": "COOS-7",
            "rules": {"field": FIELD_RULES, "well": WELL_RULES},
            "totals": {
                "wells": len(wells), "fields": len(fields), "failed": len(fields) - len(read),
                "nuclei": cells + sum(left.values()), "cells": cells, "left_out": left,
                "touching": cells // 9, "dividing": cells // 50,
            },
            "wells": wells, "fields": fields,
            "notes": ["Protein is EGFP and nucleus is DRAQ5, guessed by their names."],
            "warnings": [],
            "overlays": [
                {key: field[key] for key in ("plate", "well", "field", "time")} | {"why": why}
                for field, why in shown
            ],
            "versions": {"coos-mlflow": "0.5.0", "scikit-image": "0.26.0"},
        }  # fmt: skip
        keys = [(o["plate"], o["well"], o["field"], o["time"]) for o in facts["overlays"]]
        pictures = {key: one_picture() for key in keys}
        return json.loads(json.dumps(facts, allow_nan=False)), pictures

    return make
