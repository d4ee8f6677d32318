"""Progress on a terminal and without one."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from coos_mlflow import progress as module
from coos_mlflow.progress import progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_line_every_ten_seconds_without_a_terminal(clock: list[float]) -> None:
    out = console(terminal=False)
    with progress("Reading [x]", total=2000, unit="cells", console=out) as advance:
        for clock[0] in (3.0, 9.9, 10.5, 15.0, 21.0):
            advance(300)
    assert shown(out) == ("Reading [x]: 900 of 2,000 cells\nReading [x]: 1,500 of 2,000 cells\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_short_work_shows_nothing(clock: list[float], terminal: bool) -> None:
    out = console(terminal)
    with progress("Reading", total=100, console=out) as advance:
        for clock[0] in (0.5, 1.0, 1.9):
            advance(30)
    assert shown(out) == ""


@pytest.mark.parametrize(("unit", "count"), [("cells", "60/200 cells"), ("bytes", "60/200 bytes")])
def test_a_bar_on_a_terminal_after_a_while(monkeypatch, unit: str, count: str) -> None:
    monkeypatch.setattr(module, "SHOW_AFTER_SECONDS", 0.05)
    out = console(terminal=True)
    with progress("Reading", total=200, unit=unit, console=out) as advance:
        deadline = time.time() + 10
        while "Reading" not in shown(out) and time.time() < deadline:
            time.sleep(0.02)
        assert "Reading" in shown(out)  # before the first unit is done
        advance(60)
    plain = shown(out)
    assert "Reading" in plain
    assert count in plain.replace("\x1b[32m", "").replace("\x1b[0m", "")


def test_an_error_passes_through(clock: list[float]) -> None:
    with pytest.raises(ValueError, match="inside"), progress("Reading", console=console(True)):
        raise ValueError("inside")
