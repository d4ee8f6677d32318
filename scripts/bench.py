"""Measurements beside their peers: `scripts/bench.py NAME`. The last line is one JSON object.

Each file of `scripts/benches/` is a bench of that name.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

from joblib import cpu_count


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=names())
    parser.add_argument("--cells", type=int, help="cells that the slower side gets")
    parser.add_argument("--rounds", type=int, help="turns of each side")
    arguments = vars(parser.parse_args(argv))
    name = arguments.pop("name")
    print(json.dumps(measure(name, **{k: v for k, v in arguments.items() if v is not None})))


def names() -> list[str]:
    """Return the benches that there are."""
    files = (Path(__file__).parent / "benches").glob("[!_]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def measure(name: str, **size: int) -> dict[str, Any]:
    """Run a bench, at the size that it sets itself where none is given."""
    result = import_module(f"benches.{name.replace('-', '_')}").run(**size)
    return {"bench": name} | result | {"machine": platform.machine(), "cores": cpu_count()}


if __name__ == "__main__":
    main()
