"""What a command may do with a plate, whatever the plate: each breach is a finding."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.registry.results import DRIFT, PREDICTIONS, REPORT, RESULTS
from fuzz.trap import SECRET
from fuzz.worker import Ended, Limits

REFUSALS = (DataError.exit_code, OutputError.exit_code)
LONGEST_SENTENCE = 1000
MARKUP = "<script>alert"
"""Stands in hostile ids, and so must not stand in a page."""

_INTERNALS = re.compile(r"Traceback|File \"|<HDF5|h5py\.| object at 0x|\(err_id|site-packages")


def findings(ended: Ended, limits: Limits) -> Iterator[str]:
    """Yield what is wrong with how a command ended and with what it said."""
    if ended.code < 0:
        killed = -ended.code in (signal.SIGKILL, signal.SIGXCPU)
        yield "hang" if killed else f"crash: {signal.Signals(-ended.code).name}"
        return
    if ended.megabytes > limits.megabytes or b"MemoryError" in ended.stderr:
        yield "memory"
    if b"Traceback" in ended.stderr:
        yield f"traceback: {ended.stderr.decode(errors='replace').strip().splitlines()[-1][:80]}"
        return
    if ended.code not in (0, *REFUSALS):
        yield f"exit code {ended.code}"
    for stream in (ended.stdout, ended.stderr):
        yield from _of_text(stream)
    yield from _of_sentence(ended)


def _of_text(stream: bytes) -> Iterator[str]:
    if SECRET.encode() in stream:
        yield "leak: said"
    try:
        text = stream.decode()
    except UnicodeDecodeError:
        yield "text that is no UTF-8"
        return
    if not all(char.isprintable() for char in text.replace("\n", "")):
        yield "control characters"


def _of_sentence(ended: Ended) -> Iterator[str]:
    text = ended.stderr.decode(errors="replace")
    if ended.code == 0:
        if text:
            yield "said something though all went well"
        return
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0].startswith("error: ") or not lines[0].endswith("."):
        yield "no single sentence"
    elif len(lines[0]) > LONGEST_SENTENCE:
        yield "a sentence without end"
    if _INTERNALS.search(text):
        yield "internals in the sentence"


def findings_of_results(folder: Path, n_cells: int | None = None) -> Iterator[str]:
    """Yield what is wrong with the results of a plate that was scored."""
    if {path.name for path in folder.iterdir()} != set(RESULTS):
        yield "results are not whole"
        return
    for name in RESULTS:
        if SECRET.encode() in (folder / name).read_bytes():
            yield f"leak: {name}"
    drift = json.loads((folder / DRIFT).read_text())
    table = pq.read_table(folder / PREDICTIONS)
    chances = np.stack([table[f"p_{label}"].to_numpy() for label in range(7)])
    if not len(table) == drift["plate_file"]["n_cells"] == (n_cells or len(table)):
        yield "cells lost or doubled"
    if not np.allclose(chances.sum(axis=0), 1, atol=1e-4):
        yield "probabilities do not add up to one"
    if MARKUP in (folder / REPORT).read_text(encoding="utf-8"):
        yield "markup of an id in the report"
