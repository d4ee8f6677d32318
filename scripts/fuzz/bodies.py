"""Malformed requests to a real scoring server: it refuses each, and lives. In `scripts`:

    python -m fuzz.bodies http://127.0.0.1:5001 --pid PID --requests 10000

The last line is one JSON object: how many of each status came, what must not have come, and what
the server's memory was before and after. Each body follows from its seed and number.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests

from fuzz.npy_lies import LIES

JSON, NPY = "application/json", "application/x-npy"

REVEALING = re.compile(r"Traceback|File \"|\.py\b|site-packages|/(home|usr|tmp|root|work)/|\n")
"""What a refusal must not hold: stack traces, paths, several lines."""

MOST_SENTENCE = 500

Request = tuple[bytes, str | None, *tuple[str, ...]]
"""A body, its Content-Type, and its Content-Encoding where it has one."""

Maker = Callable[[np.random.Generator], Request]


def cells(rng: np.random.Generator, n: int = 1) -> np.ndarray:
    """Return noise that may be scored, uint16 (n, 2, 64, 64)."""
    return rng.poisson(300, (n, 2, 64, 64)).astype(np.uint16)


def as_json(values: Any) -> bytes:
    return json.dumps({"inputs": values}).encode()


def as_npy(images: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, images)
    return sink.getvalue()


def mutated(body: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, repeat, drop or insert some bytes."""
    out = bytearray(body)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(0, len(out) + 1))
        length = int(rng.integers(1, 2 ** rng.integers(1, 12)))
        what = rng.integers(0, 5)
        if what == 0 and out:
            out[at % len(out)] ^= 1 << int(rng.integers(0, 8))
        elif what == 1:
            del out[at : at + length]
        elif what == 2:
            out[at:at] = out[at : at + length]
        elif what == 3:
            out[at:at] = rng.bytes(length)
        else:
            del out[at:]
    return bytes(out)


def noise(rng: np.random.Generator) -> Request:
    return rng.bytes(int(rng.integers(0, 5000))), str(rng.choice([JSON, NPY]))


def broken_json(rng: np.random.Generator) -> Request:
    return mutated(as_json(cells(rng).tolist()), rng), JSON


def broken_npy(rng: np.random.Generator) -> Request:
    return mutated(as_npy(cells(rng, 2)), rng), NPY


def broken_header(rng: np.random.Generator) -> Request:
    """Replace characters of a header by others that headers hold, or by any."""
    body = bytearray(as_npy(cells(rng)))
    for _ in range(rng.integers(1, 5)):
        likely = rng.choice(list(b"0123456789-+,.()[]{}'<>|OVSbiufcU :LeTF"))
        body[int(rng.integers(6, 72))] = likely if rng.random() < 0.7 else int(rng.integers(256))
    return bytes(body), NPY


def header_lies(rng: np.random.Generator) -> Request:
    names = sorted(LIES)
    return LIES[names[rng.integers(len(names))]](), NPY


def broken_lie(rng: np.random.Generator) -> Request:
    return mutated(header_lies(rng)[0][:20_000], rng), NPY


def bad_values(rng: np.random.Generator) -> Request:
    images = cells(rng, 3).astype(float)
    value = rng.choice([np.nan, np.inf, -np.inf, -1.0, 65536.0, 1e300, -1e-9])
    images[rng.integers(3), rng.integers(2), rng.integers(64), rng.integers(64)] = value
    if rng.random() < 0.5:
        return as_json(images.tolist()), JSON
    return as_npy(images), NPY


def bad_scale(rng: np.random.Generator) -> Request:
    return as_json((cells(rng) / rng.choice([65535.0, 4095.0 * 4])).tolist()), JSON


def bad_shape(rng: np.random.Generator) -> Request:
    shape = tuple(int(n) for n in rng.integers(0, 9, rng.integers(1, 6)))
    if rng.random() < 0.5:
        return as_json(np.ones(shape).tolist()), JSON
    return as_npy(np.ones(shape)), NPY


def bad_structure(rng: np.random.Generator) -> Request:
    return json.dumps(_structure(rng, 0)).encode(), JSON


def _structure(rng: np.random.Generator, depth: int) -> Any:
    leaves: list[Any] = [None, True, "text", 10**30, 1.5, -7, "\u0000", ""]
    kind = rng.integers(0, 3) if depth < 5 else 0
    if kind == 0:
        return leaves[rng.integers(len(leaves))]
    if kind == 1:
        return [_structure(rng, depth + 1) for _ in range(rng.integers(0, 5))]
    keys = ["inputs", "instances", "dataframe_split", "params", "messages", "predictions", "x"]
    return {str(rng.choice(keys)): _structure(rng, depth + 1) for _ in range(rng.integers(0, 3))}


def deep(rng: np.random.Generator) -> Request:
    depth = int(rng.integers(60, 100_000))
    opened = rng.choice(["[", '{"inputs":'])
    closed = {"[": "]", '{"inputs":': "}"}[str(opened)]
    whole = str(opened) * depth + "1" + closed * (depth if rng.random() < 0.5 else 0)
    return b'{"inputs":' + whole.encode() + b"}", JSON


def too_many(rng: np.random.Generator) -> Request:
    """Bring more cells or more bytes than a request may."""
    if rng.random() < 0.5:
        return as_npy(np.zeros((int(rng.integers(2049, 4000)), 2, 64, 64), "u2")), NPY
    return as_npy(np.zeros((int(rng.integers(1041, 2048)), 2, 64, 64))), NPY


def bad_gzip(rng: np.random.Generator) -> Request:
    plain, kind = [(as_json(cells(rng).tolist()), JSON), (as_npy(cells(rng)), NPY)][rng.integers(2)]
    packed = gzip.compress(plain, mtime=0)
    what = rng.integers(0, 5)
    if what == 0:
        return packed + rng.bytes(int(rng.integers(1, 100))), kind, "gzip"
    if what == 1:
        return packed * 2, kind, "gzip"
    if what == 2:
        return gzip.compress(bytes(int(rng.integers(66, 200)) * 2**20), 1), kind, "gzip"
    if what == 3:
        return packed, kind, str(rng.choice(["br", "deflate", "zstd", "gzip, gzip", "a" * 3000]))
    return mutated(packed, rng), kind, "gzip"


def bad_type(rng: np.random.Generator) -> Request:
    kinds = [
        None,
        "text/csv",
        "text/plain",
        "",
        ";",
        "application/json; charset=utf-16",
        "a" * 5000,
    ]
    return as_json(cells(rng).tolist()), kinds[rng.integers(len(kinds))]


MAKERS: dict[str, tuple[int, Maker]] = {
    "noise": (6, noise),
    "broken JSON": (25, broken_json),
    "broken npy": (12, broken_npy),
    "broken header": (15, broken_header),
    "header lies": (11, header_lies),
    "broken lie": (5, broken_lie),
    "bad values": (6, bad_values),
    "bad scale": (2, bad_scale),
    "bad shape": (5, bad_shape),
    "bad structure": (6, bad_structure),
    "deep": (3, deep),
    "too many": (1, too_many),
    "bad gzip": (2, bad_gzip),
    "bad type": (1, bad_type),
}
"""By name: of a hundred requests so many, and what makes one."""


def ask(url: str, requests_: int, seed: int = 0, pid: int | None = None) -> dict[str, Any]:
    """Send malformed requests to a server, one after the other, and judge its answers.

    Parameters
    ----------
    url : str
    requests_ : int
    seed : int
    pid : int, optional
        Of the server, for its memory.

    Returns
    -------
    dict
        ``statuses`` by kind of request; ``faults``, what must not have come; ``rss_mib``.
    """
    names = [name for name, (share, _) in MAKERS.items() for _ in range(share)]
    statuses: dict[str, Counter[int]] = {name: Counter() for name in MAKERS}
    faults: list[str] = []
    rss: list[float] = []
    with requests.Session() as session:
        for number in range(requests_):
            if pid and number in {requests_ // 10, requests_ - 1}:
                rss.append(_rss_mib(pid))
            name = names[number % len(names)]
            body, kind, *coding = MAKERS[name][1](np.random.default_rng([seed, number]))
            headers = {"Content-Type": kind} if kind is not None else {}
            if coding:
                headers["Content-Encoding"] = coding[0]
            try:
                answer = session.post(f"{url}/invocations", data=body, headers=headers, timeout=60)
            except requests.RequestException as error:
                faults.append(f"{name} {number}: {type(error).__name__}")
                continue
            statuses[name][answer.status_code] += 1
            if fault := _fault(answer):
                faults.append(f"{name} {number}: {fault}")
        alive = session.get(f"{url}/ping", timeout=60).status_code == 200
    return {
        "requests": requests_,
        "statuses": {name: dict(sorted(found.items())) for name, found in statuses.items()},
        "faults": faults[:20],
        "n_faults": len(faults) + (not alive),
        "rss_mib": rss,
    }


def _fault(answer: requests.Response) -> str:
    """Return what is wrong with an answer, nothing where all is well."""
    if answer.status_code == 200:
        rows = answer.json()["predictions"]
        sums = [sum(row[f"p_{label}"] for label in range(7)) for row in rows]
        return "" if rows and np.allclose(sums, 1, atol=1e-5) else "answered without an answer"
    if answer.status_code not in (400, 413, 415):
        return f"status {answer.status_code}: {answer.text[:200]}"
    try:
        said = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        return f"no sentence: {answer.text[:200]}"
    clean = said.endswith(".") and len(said) <= MOST_SENTENCE and not REVEALING.search(said)
    return "" if clean and said.isprintable() else f"no clean sentence: {said[:300]!r}"


def _rss_mib(pid: int) -> float:
    """Return the resident memory of a process (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--pid", type=int, help="of the server, for its memory")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = ask(arguments.url, arguments.requests, arguments.seed, arguments.pid)
    for name, statuses in found["statuses"].items():
        print(f"{name:15}", "  ".join(f"{status}: {n}" for status, n in statuses.items()))
    print(json.dumps(found))
    sys.exit(1 if found["n_faults"] else 0)


if __name__ == "__main__":
    main()
