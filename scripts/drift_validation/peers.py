"""Other packages on the same plates: what they call shifted, and what error they estimate.

They run in an environment of their own, since they need other versions of libraries than this
package. They are told more than the drift report is: the reference holds other unshifted plates
with their true labels, and of it only the classes that the plate really has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from coos_mlflow._utils.files import write_whole
from coos_mlflow.drift import SHIFTED
from coos_mlflow.drift.assessment import Assessor
from drift_validation import kinds, peer_tests, plates
from drift_validation.bank import Bank
from drift_validation.kinds import Entry
from drift_validation.plates import Scored
from drift_validation.registries import Judging

REQUIREMENTS = Path(__file__).with_name("peers_requirements.txt")

JUDGED = {"unshifted": kinds.PLAIN[2], "like Test3": kinds.TEST3[2]}
"""Kinds of plates that are judged, by their words."""

MOST_PLATES = 20
"""Plates of each kind."""

SILENT = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
"""Environment by which NannyML and Evidently report nothing of their use to their makers."""

OURS = "drift report"


def compare(
    console: Console, judging: Judging, bank: Bank, entries: Sequence[Entry], work: Path
) -> dict[str, Any]:
    """Let other packages judge plates, print a table, and return its figures by package."""
    model = judging.load()

    def scored(kind: str) -> list[Scored]:
        own = [entry for entry in entries if entry.kind.name == kind]
        return [plates.score(model, bank.load(entry)) for entry in own[:MOST_PLATES]]

    by_kind = {words: scored(kind) for words, kind in JUDGED.items()}
    folder = work / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    export, said = folder / "cells.npz", folder / "said.json"
    np.savez(
        export, **_columns(scored(kinds.PLAIN[7]), [one for own in by_kind.values() for one in own])
    )
    python, remark = _python(folder)
    command = [str(python), "-W", "ignore", peer_tests.__file__, str(export), str(said)]
    subprocess.run(command, check=True, env=os.environ | SILENT, stdout=subprocess.DEVNULL)
    by_plate = json.loads(said.read_text("utf-8"))
    assessor = Assessor(model.reference)
    ours = [_ours(assessor, cells) for own in by_kind.values() for cells in own]
    figures = _figures({OURS: ours} | by_plate, by_kind)
    console.print(_table(figures, f"{remark}{_versions(by_plate)}"))
    return figures


def _columns(reference: Sequence[Scored], judged: Sequence[Scored]) -> dict[str, Any]:
    """Return the arrays that `peer_tests` reads."""
    arrays: dict[str, Any] = {}
    numbered = {f"plate {i}": cells for i, cells in enumerate(judged)}
    for name, own in {"reference": reference, **{n: [c] for n, c in numbered.items()}}.items():
        arrays |= {
            f"{name} probabilities": np.concatenate([cells.probabilities for cells in own]),
            f"{name} figures": np.concatenate(
                [np.hstack([cells.features, cells.raw]) for cells in own]
            ),
            f"{name} labels": np.concatenate([cells.labels for cells in own]),
            f"{name} wells": np.concatenate(
                [np.char.add(f"{i} ", cells.wells) for i, cells in enumerate(own)]
            ),
        }
    return arrays


def _python(folder: Path) -> tuple[Path, str]:
    """Return the Python of the peers' environment, made if it is missing, and a remark.

    Where packages cannot be installed it is the Python of this process: `peer_tests` then does
    what it can by hand.
    """
    environment, wanted = folder / "environment", REQUIREMENTS.read_bytes()
    python, stamp = environment / "bin" / "python", environment / "made_of.txt"
    if not stamp.exists() or stamp.read_bytes() != wanted:
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
            subprocess.run(install, check=True)
        except subprocess.CalledProcessError as error:
            return Path(
                sys.executable
            ), f"No environment for other packages could be made: {error} "
        write_whole(stamp, wanted)
    return python, ""


def _ours(assessor: Assessor, cells: Scored) -> dict[str, Any]:
    said = assessor.assess(
        plates.collected({"plate": cells}), has_plate_ids=True, has_well_ids=True, effects=False
    )
    return {"shifted": said["verdict"] == SHIFTED, "error": said["error"]["balanced_error"]}


def _figures(
    by_test: dict[str, Any], by_kind: dict[str, list[Scored]]
) -> dict[str, dict[str, Any]]:
    """Return by test and kind the share called shifted, and by how much errors are off."""
    figures: dict[str, dict[str, Any]] = {}
    kind_of = np.repeat(list(by_kind), [len(own) for own in by_kind.values()])
    truths = np.array([cells.true_error for own in by_kind.values() for cells in own])
    for test, said in by_test.items():
        if test == "versions":
            continue
        figures[test] = {}
        for kind in by_kind:
            rows = [i for i in range(len(said)) if kind_of[i] == kind]
            shifted = [said[i]["shifted"] for i in rows if said[i].get("shifted") is not None]
            off = [
                abs(said[i]["error"] - truths[i]) for i in rows if said[i].get("error") is not None
            ]
            figures[test][kind] = {
                "shifted": float(np.mean(shifted)) if shifted else None,
                "off": float(np.mean(off)) if off else None,
                "answered": len(off),
                "plates": len(rows),
            }
    return figures


def _versions(by_plate: dict[str, Any]) -> str:
    versions = by_plate["versions"]
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    absent = ", ".join(name for name, version in versions.items() if not version)
    return f"{there}." + (
        f" Not installed, and done by hand or left out: {absent}." if absent else ""
    )


def _table(figures: dict[str, dict[str, Any]], caption: str) -> Table:
    table = Table(title="Other packages on the same plates", caption=caption)
    table.add_column("test")
    for kind in JUDGED:
        table.add_column(f"{kind}: called shifted", justify="right")
        table.add_column("error off by, points (answered)", justify="right")
    for test, by_kind in figures.items():
        cells = []
        for own in by_kind.values():
            cells.append("" if own["shifted"] is None else f"{own['shifted']:.0%}")
            off = own["off"]
            cells.append("" if off is None else f"{off:.2f} ({own['answered']} of {own['plates']})")
        table.add_row(test, *cells)
    return table
