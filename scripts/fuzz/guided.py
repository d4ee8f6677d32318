"""Let atheris look for bytes that lead where none led before.

`python -m fuzz.guided TARGET CORPUS` in `scripts`, with the extra `fuzz`. TARGET is well_ids or
request_bodies, CORPUS a folder of what was found before; behind them libFuzzer's options, such as
-max_total_time=300.
"""

from __future__ import annotations

import atexit
import importlib
import sys
from collections import Counter
from pathlib import Path


def main() -> None:
    """Run a target until libFuzzer's options end it, or a finding does."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    atheris = importlib.import_module("atheris")
    _, name, folder, *options = sys.argv
    with atheris.instrument_imports(include=["coos_mlflow"]):
        target = importlib.import_module(f"fuzz.{name}")
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(target.EXAMPLES):
        (corpus / f"example-{number}").write_bytes(example)
    taken: Counter[bool] = Counter()
    atexit.register(lambda: print(f"{taken[True]:,} taken, {taken[False]:,} refused"))
    atheris.Setup([name, folder, *options], lambda data: taken.update([target.try_bytes(data)]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
