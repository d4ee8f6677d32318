"""A plate by `coos-score` against MLflow's own ways of asking the same registered model.

- `mlflow models serve` is asked in JSON, the cells of `REQUEST` at a time, by as many requests at
  once as keep every worker of the server at work.
- `mlflow models predict` reads one JSON file and writes another; its start is what it takes for
  one cell.
- `pyfunc.predict` gets the plate as one array.

Each is counted from the plate's file to the labels, what a user writes and reads in between
included. `coos-score` also writes its results, drift and report among them. The first two get few
cells, and their speed is that of a cell. Starts of servers and commands are left out first, and
then counted on all sides. Cells are simulated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import requests
from joblib import cpu_count

from benches import in_turn
from benches._scoring import (
    ONE_STEP,
    WARM_UP,
    all_images,
    command,
    network_data,
    own_place,
    registered,
    texture_lr,
    write_plates,
)
from benches._serving import PATIENCE, served
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry.results import PREDICTIONS
from coos_mlflow.scoring.scorer import Scorer

TIMES, TIMES_PREDICT = 20, 4
"""Cells of the plate, which `coos-score` and `pyfunc.predict` get whole, and of those that `mlflow
models predict` gets, for each one that the server gets."""

REQUEST = 64
"""Cells of a request: 3 MB of JSON."""

AT_ONCE = 2
"""Requests for each worker of the server: one is answered while another is read and sent."""

FEW = "few.h5"


def models() -> Iterator[Scorer]:
    """Yield texture-lr, whose own work is least, and a network at full width."""
    yield texture_lr()
    yield registered("deeploc", "own", network_data(), {"crops": 1, **ONE_STEP})


def run(cells: int = 512, rounds: int = 3) -> dict[str, Any]:
    """Ask the server for `cells` cells of a plate of `TIMES` as many."""
    with own_place() as folder:
        write_plates(folder / FEW, WARM_UP)
        plate = write_plates(folder / "plate.h5", TIMES * cells)
        found = {s.model.name: _measure(_Sides(s, plate), cells, rounds) for s in models()}
    return {"ratio": next(iter(found.values()))["serve"]["ratio"], "cells": cells} | found


class _Sides:
    """The ways to the labels of one plate by one model, and the labels that they gave last."""

    def __init__(self, scorer: Scorer, plate: Path) -> None:
        self.scorer, self.plate, self.folder = scorer, plate, plate.parent
        self.model = scorer.model.uri
        self.labels: dict[str, list[int]] = {}
        self._loaded = mlflow.pyfunc.load_model(self.model)

    def warm_up(self) -> None:
        """Let everything be compiled that is compiled once."""
        few = self.folder / FEW
        self.scorer.score(few, self.folder / "scores", force=True)
        self._loaded.predict(all_images(few))

    def coos_score(self) -> None:
        scored = self.scorer.score(self.plate, self.folder / "scores", force=True)
        table = pd.read_parquet(scored.folder / PREDICTIONS, columns=["label"])
        self.labels["coos-score"] = table["label"].tolist()

    def command(self) -> None:
        options = ["--model", self.model, "--out", str(self.folder / "again"), "--force"]
        command("coos-score", [str(self.plate), *options])

    def serve(self, address: str, cells: int) -> None:
        self.labels["serve"] = _asked(address, self.plate, cells)

    def predict(self, cells: int) -> None:
        with open_plate(self.plate) as opened:
            images = next(opened.batches(cells)).images
        self.labels["predict"] = _predicted(self.model, images, self.folder)

    def pyfunc(self) -> None:
        self.labels["pyfunc"] = self._loaded.predict(all_images(self.plate))["label"].tolist()

    def same_labels(self, side: str) -> float:
        """Return the share of a side's cells whose labels are those of `coos-score`."""
        ours, theirs = self.labels["coos-score"], self.labels[side]
        return float(np.mean(np.equal(ours[: len(theirs)], theirs)))


def _measure(sides: _Sides, cells: int, rounds: int) -> dict[str, Any]:
    sides.warm_up()
    many = TIMES_PREDICT * cells
    with served(sides.model, sides.folder, workers=cpu_count()) as server:
        address, start = server.invocations, server.start
        sides.serve(address, cells)
        ours, whole, serve, one, some, pyfunc = in_turn(
            [
                sides.coos_score,
                sides.command,
                lambda: sides.serve(address, cells),
                lambda: sides.predict(1),
                lambda: sides.predict(many),
                sides.pyfunc,
            ],
            rounds,
        )
    n_cells = len(sides.labels["coos-score"])
    print(
        f"{sides.scorer.model}: coos-score {n_cells / ours:,.0f} cells/s, "
        f"the command {whole:.1f} s for {n_cells:,} cells"
    )
    of_a_cell = {
        "serve": serve / cells,
        "predict": (some - one) / (many - 1),
        "pyfunc": pyfunc / n_cells,
    }
    starts = {"serve": start, "predict": one}
    found: dict[str, Any] = {
        "cells_per_second": round(n_cells / ours, 1),
        "command_seconds": round(whole, 2),
    }
    for side, seconds in of_a_cell.items():
        found[side] = {
            "ratio": round(seconds * n_cells / ours, 2),
            "cells_per_second": round(1 / seconds, 1),
            "same_labels": round(sides.same_labels(side), 4),
        }
        if side in starts:
            with_start = starts[side] + seconds * n_cells
            found[side]["ratio_with_starts"] = round(with_start / whole, 2)
        print(f"  {side:8}{', '.join(f'{name} {value}' for name, value in found[side].items())}")
    return found


def _body(images: np.ndarray) -> bytes:
    return json.dumps({"inputs": images.tolist()}).encode()


def _labels(answer: dict[str, Any]) -> list[int]:
    return [int(row["label"]) for row in answer["predictions"]]


def _predicted(model: str, images: np.ndarray, folder: Path) -> list[int]:
    asked, answer = folder / "asked.json", folder / "answer.json"
    asked.write_bytes(_body(images))
    files = ["--input-path", str(asked), "--output-path", str(answer), "--content-type", "json"]
    command("mlflow", ["models", "predict", "-m", model, "--env-manager", "local", *files])
    return _labels(json.loads(answer.read_bytes()))


def _asked(address: str, plate: Path, cells: int) -> list[int]:
    """Ask a server for the first cells of a plate, several requests at a time."""

    def answer(start: int) -> list[int]:
        with open_plate(plate) as opened:
            images = next(opened.batches(REQUEST, start, cells)).images
        sent = requests.post(
            address, _body(images), headers={"Content-Type": "application/json"}, timeout=PATIENCE
        )
        sent.raise_for_status()
        return _labels(sent.json())

    with ThreadPoolExecutor(AT_ONCE * cpu_count()) as pool:
        return [label for some in pool.map(answer, range(0, cells, REQUEST)) for label in some]
