"""A served model under load: JSON and .npy, requests of few and many cells, one and two workers.

Clients are threads of one process that send the next request when the last is answered; they share
the machine with the server. Each row is a whole number of requests, so few for large ones that the
time fits; p50 and p99 are of the time from sending to the last byte of the answer. Cells are
simulated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests

from benches._scoring import all_images, own_place, texture_lr, write_plates
from benches._serving import served
from coos_mlflow.scoring.remote import packed
from coos_mlflow.serving.limits import JSON, NPY

SIZES = (1, 16, 256)
"""Cells of a request."""

WORKERS = (1, 2)

CLIENTS = 4
"""Requests on their way at any moment."""

FORMATS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "JSON": (JSON, lambda images: json.dumps({"inputs": images.tolist()}).encode()),
    ".npy": (NPY, packed),
}


@dataclass(frozen=True)
class Load:
    """What a server bore.

    Parameters
    ----------
    seconds : ndarray, shape (n_requests,)
        From sending a request to the end of its answer.
    cells : int
        Of a request.
    wall : float
        Seconds from the first request to the last answer.
    """

    seconds: np.ndarray
    cells: int
    wall: float

    def figures(self) -> dict[str, float]:
        """Return cells and requests a second, and percentiles in milliseconds."""
        n = len(self.seconds)
        p50, p99 = (1000 * np.percentile(self.seconds, [50, 99])).tolist()
        return {
            "requests": n,
            "cells_per_second": round(n * self.cells / self.wall, 1),
            "requests_per_second": round(n / self.wall, 1),
            "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1),
        }


def run(cells: int = 8192, rounds: int = 1) -> dict[str, Any]:
    """Send `cells` cells, but 50 to 400 requests, in each format and size; take the last round."""
    found: dict[str, Any] = {}
    with own_place() as folder:
        scorer = texture_lr()
        images = all_images(write_plates(folder / "plate.h5", max(SIZES)))
        for workers in WORKERS:
            place = folder / f"workers-{workers}"
            place.mkdir()
            with served(scorer.model.uri, place, workers) as server:
                for name, (kind, body) in FORMATS.items():
                    for size in SIZES:
                        row = f"{name} {size} {workers}"
                        found[row] = _measure(
                            server.invocations, kind, body, images[:size], cells, rounds
                        )
                        print(f"{row:16}", found[row])
    binary, plain = (found[f"{name} {max(SIZES)} 1"] for name in (".npy", "JSON"))
    ratio = binary["cells_per_second"] / plain["cells_per_second"]
    print(f"ratio {ratio:.2f}: .npy to JSON, {max(SIZES)} cells a request, one worker")
    return {"ratio": round(ratio, 2), "clients": CLIENTS, "rows": found}


def _measure(
    url: str,
    kind: str,
    body: Callable[[np.ndarray], bytes],
    images: np.ndarray,
    cells: int,
    rounds: int,
) -> dict[str, float]:
    n = min(400, max(50, cells // len(images))) if cells > len(images) else 2
    sent = body(images)
    load(url, kind, sent, len(images), CLIENTS)  # every worker has compiled what it compiles
    for _ in range(rounds):
        found = load(url, kind, sent, len(images), n)
    return {"body_kb": round(len(sent) / 1000, 1), **found.figures()}


def load(url: str, kind: str, body: bytes, cells: int, n_requests: int) -> Load:
    """Send a body some times by `CLIENTS` clients; every answer must be one."""

    def client(share: int) -> list[float]:
        taken = []
        with requests.Session() as session:
            for _ in range(share):
                began = time.perf_counter()
                answer = session.post(url, body, headers={"Content-Type": kind}, timeout=120)
                taken.append(time.perf_counter() - began)
                answer.raise_for_status()
                assert answer.text.count('"label"') == cells
        return taken

    shares = [len(part) for part in np.array_split(np.arange(n_requests), CLIENTS)]
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        seconds = np.concatenate([np.array(taken) for taken in pool.map(client, shares)])
    return Load(seconds, cells, time.perf_counter() - began)
