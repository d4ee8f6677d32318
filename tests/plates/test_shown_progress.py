"""Progress on a terminal and without one."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console
from waiting import PATIENCE

from coos_mlflow._utils import progress as module
from coos_mlflow._utils.progress import progress


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
    # 600 cells in the 7.5 s since the first call, then 1,200 in 18 s.
    assert shown(out) == (
        "Reading [x]: 900 of 2,000 cells, 80 cells/s, 0:00:14 left\n"
        "Reading [x]: 1,500 of 2,000 cells, 67 cells/s, 0:00:08 left\n"
    )


def test_what_was_done_before_says_nothing_of_the_time_left(clock: list[float]) -> None:
    out = console(terminal=False)
    with progress("Training", total=60, unit="iterations", console=out) as advance:
        advance(10)  # of a training that was stopped
        for clock[0] in (20.0, 40.0):
            advance(1, "loss 0.5")
    assert shown(out) == (
        "Training: 11 of 60 iterations, 0:16:20 left, loss 0.5\n"
        "Training: 12 of 60 iterations, 0:16:00 left, loss 0.5\n"
    )


def test_nothing_is_said_of_the_time_left_while_nobody_knows(clock: list[float]) -> None:
    out = console(terminal=False)
    with progress("Fitting", total=5, unit="forests", console=out) as advance:
        clock[0] = 11.0
        advance(1)
    with progress("Looking", console=out) as advance:
        for clock[0] in (20.0, 30.0):
            advance(1, "still")
    assert shown(out) == "Fitting: 1 of 5 forests\nLooking: 2, still\n"


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
        deadline = time.time() + PATIENCE
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
