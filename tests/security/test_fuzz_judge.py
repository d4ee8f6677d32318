"""The judge of hostile plates: whatever it must notice is planted here."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest


def said(text: str, code: int = 2, stream: int = 2):
    """A command that says something and ends."""

    def command() -> None:
        os.write(stream, text.encode())
        sys.exit(code)

    return command


def fail() -> None:
    raise KeyError("data")


def spin() -> None:
    while True:
        pass


def allocate() -> None:
    np.ones(2**27)


def hold() -> None:
    """Need memory, though less than a limit on what may be asked for at all."""
    np.ones(2**24)
    sys.exit(2)


PLANTED = {
    "crash": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "crash: SIGSEGV"),
    "abort": (os.abort, "crash: SIGABRT"),
    "busy": (spin, "hang"),
    "idle": (lambda: time.sleep(60), "hang"),
    "allocation": (allocate, "memory"),
    "traceback": (fail, "traceback: KeyError: 'data'"),
    "unforeseen": (said("error: unforeseen.\n", 1), "exit code 1"),
    "partly": (said("error: some.\n", 5), "exit code 5"),
    "two sentences": (said("error: a.\nerror: b.\n"), "no single sentence"),
    "no sentence": (said(""), "no single sentence"),
    "warning before": (said("warning: x\nerror: a.\n"), "no single sentence"),
    "warning": (said("warning\n", 0), "said something though all went well"),
    "escape": (said("error: \x1b[31mred.\n"), "control characters"),
    "escape on stdout": (said("\x1b[31m", 0, 1), "control characters"),
    "endless": (said(f"error: {'x' * 2000}.\n"), "a sentence without end"),
    "internals": (said("error: <HDF5 dataset>.\n"), "internals in the sentence"),
    "secret": (said("error: CANARY-5d41c0ffee.\n"), "leak: said"),
}


def judged(fuzz, make_harness, command, limits=None, name="check"):
    """What the judge says of a command in the place of another."""

    def run(asked, argv, folder, limits):
        doing = command if asked == name else said("error: no.\n")
        return fuzz.worker.run_forked(doing, [asked, *argv], folder, limits)

    return make_harness(run, limits).judge(lambda path: path.write_bytes(b"plate"))


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_noticed(fuzz, make_harness, fault):
    command, finding = PLANTED[fault]
    # Little time for those that take for ever alone: a slow machine would make all of them such.
    limits = fuzz.worker.Limits(megabytes=500, seconds=1 if fault in ("busy", "idle") else 60)
    assert f"check: {finding}" in judged(fuzz, make_harness, command, limits).findings


def test_a_clean_refusal_is_no_finding(fuzz, make_harness):
    verdict = judged(fuzz, make_harness, said("error: p.h5: is damaged.\n"))
    assert verdict.findings == [] and verdict.outcome == "refused"


def test_memory_is_counted_beyond_what_was_held_before(fuzz, make_harness):
    ballast = np.ones(2**24)
    gc.collect()  # what a child frees of it makes room
    verdict = judged(fuzz, make_harness, hold)
    assert 125 < verdict.megabytes < 160 and ballast[0] == 1
    low = fuzz.worker.Limits(megabytes=50, seconds=5)
    assert "check: memory" in judged(fuzz, make_harness, hold, low).findings


def test_a_file_that_is_opened_elsewhere_is_noticed(fuzz, make_harness):
    trap = make_harness(None).trap

    def look(named):
        def command():
            with h5py.File(named(trap.plate)):
                said("error: no.\n")()

        return command

    for named in (os.path.abspath, os.path.relpath):  # of the folder that the command runs in
        verdict = judged(fuzz, make_harness, look(named))
        assert verdict.findings == ["check: leak: opened a file outside"], named
    assert judged(fuzz, make_harness, said("error: no.\n")).findings == []


def test_links_of_hostile_plates_would_spring_the_trap(fuzz, make_harness, random_cells, tmp_path):
    """The plates themselves must be able to do what the commands must not let them do."""
    trap = make_harness(None).trap
    builds = fuzz.structures

    def read_all():
        with h5py.File("p.h5") as file:
            for name in file:
                with suppress(OSError, KeyError, TypeError, ValueError):
                    file[name][:2]

    for build in (builds.external_links, builds.external_storage, builds.virtual_datasets):
        sprung = False
        seeds = iter(range(40))
        while not sprung and (seed := next(seeds, None)) is not None:
            with h5py.File(tmp_path / "p.h5", "w") as file:
                build(file, random_cells(8), np.random.default_rng(seed), trap)
            trap.sprung()
            # In a child: some of them end the process that reads them.
            fuzz.worker.run_forked(read_all, ["read"], tmp_path, fuzz.worker.Limits(seconds=1))
            sprung = trap.sprung()
        assert sprung, build.__name__


def test_what_is_left_behind_is_noticed(fuzz, make_harness):
    elsewhere = make_harness(None).elsewhere

    def leave(path):
        def command():
            Path(path).write_text("x")
            said("error: no.\n")()

        return command

    for path, name in (("out", "out"), (elsewhere / "t", "t"), ("plate.h5", "plate.h5")):
        verdict = judged(fuzz, make_harness, leave(path))
        assert f"check: left behind: {name}" in verdict.findings
        (elsewhere / "t").unlink(missing_ok=True)


def test_commands_that_disagree_are_noticed(fuzz, make_harness):
    assert judged(fuzz, make_harness, said("", 0)).findings == ["check and score disagree"]


def test_results_that_are_not_whole_are_noticed(fuzz, make_harness):
    def half():
        Path("out/plate").mkdir(parents=True)
        Path("out/plate/drift.json").write_text("{}")

    verdict = judged(fuzz, make_harness, half, name="score")
    assert "score: results are not whole" in verdict.findings
