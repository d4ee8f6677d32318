"""What the tests of hostile input share: the harness of scripts/fuzz."""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPTS = str(Path(__file__).resolve().parents[2] / "scripts")


@pytest.fixture(scope="session")
def fuzz() -> Iterator[SimpleNamespace]:
    """Return the modules of scripts/fuzz."""
    sys.path.append(SCRIPTS)
    from fuzz import (
        bombs,
        commands,
        flips,
        harness,
        mutants,
        plates,
        seeds,
        structures,
        trap,
        worker,
    )

    yield SimpleNamespace(
        bombs=bombs,
        commands=commands,
        flips=flips,
        harness=harness,
        mutants=mutants,
        plates=plates,
        seeds=seeds,
        structures=structures,
        trap=trap,
        worker=worker,
    )
    sys.path.remove(SCRIPTS)


@pytest.fixture(scope="module")
def make_harness(
    fuzz: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Factory ``make_harness(run, limits)`` of harnesses with a trap and a watched folder."""
    folder = tmp_path_factory.mktemp("hostile")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch, fuzz.trap.Trap(folder / "trap") as trap:
        patch.setenv("TMPDIR", str(elsewhere))
        patch.setattr(tempfile, "tempdir", None)

        def make(run: Any, limits: Any = None) -> Any:
            limits = limits or fuzz.worker.Limits()
            made = fuzz.harness.Harness(folder, trap, run, [elsewhere], limits)
            made.trap, made.elsewhere = trap, elsewhere
            return made

        yield make
    gc.unfreeze()
