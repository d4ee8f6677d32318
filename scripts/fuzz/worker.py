"""Commands run in forked children with limits, which have all imported and loaded already."""

from __future__ import annotations

import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True)
class Limits:
    """What a command may use of the machine.

    Parameters
    ----------
    megabytes : int
        Of memory beyond what the process held before the command began.
    seconds : int
        Of the processor; four times as long by the clock.
    """

    megabytes: int = 1024
    seconds: int = 15


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Parameters
    ----------
    code : int
        Of its exit; of a child that a signal ended, minus the signal.
    stdout, stderr : bytes
    seconds : float
        By the clock.
    megabytes : float
        Highest memory beyond what the process held before the command began.
    """

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    megabytes: float


def run_forked(
    command: Callable[[], object], argv: Sequence[str], folder: Path, limits: Limits
) -> Ended:
    """Run a command of this package in a child of this process, in a folder."""
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.perf_counter()
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        places = [file.fileno() for file in files]
        child = os.fork()
        if child == 0:
            _become(command, argv, folder, limits, places)
        code, peak = _wait(child, 4 * limits.seconds)
        out, err, held = (os.pread(place, 2**24, 0) for place in places)
    return Ended(code, out, err, time.perf_counter() - began, peak - float(held or peak))


def _become(
    command: Callable[[], object],
    argv: Sequence[str],
    folder: Path,
    limits: Limits,
    places: list[int],
) -> NoReturn:
    """Be the child: never return to what the parent was doing."""
    code = 1
    try:
        faulthandler.disable()
        os.chdir(folder)
        for place, number in zip(places, (1, 2), strict=False):
            os.dup2(place, number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8") for n in (1, 2))
        sys.argv = list(argv)
        _limit(limits)
        os.write(places[-1], str(_held("VmRSS")).encode())
        try:
            command()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _limit(limits: Limits) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted from here
    data = int((_held("VmData") + limits.megabytes) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    used = time.process_time()
    allowed = int(used) + limits.seconds
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _wait(child: int, seconds: float) -> tuple[int, float]:
    """Return the exit code and highest memory in MB of a child, which is killed when late."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024


def _held(name: str) -> float:
    """Return a figure of this process' memory in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status does not say {name}")
