"""One run of `coos-score` on two cores; the last line is its peak memory in MiB. For Linux."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CORES = 2


def main() -> None:
    """Run `coos-score` with the arguments of this script."""
    # Libraries start as many threads as there are cores, so that this precedes their import.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    from coos_mlflow.cli.main import coos_score

    sys.argv[0] = "coos-score"
    try:
        coos_score()
    finally:
        print(peak_mib())


def peak_mib() -> float:
    """Return the peak memory of this process.

    `resource.getrusage` would return the peak of the parent process if that is larger.
    """
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines()
    )
    return int(status["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
