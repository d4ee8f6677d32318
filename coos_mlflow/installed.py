"""What is installed: the versions of this package and of all that it requires."""

from __future__ import annotations

from importlib.metadata import requires, version

from packaging.requirements import Requirement

PACKAGE = "coos-mlflow"


def package_versions() -> dict[str, str]:
    """Return the installed versions of this package and of all that it requires."""
    needed = [Requirement(line) for line in requires(PACKAGE) or []]
    names = sorted(r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""}))
    return {name: version(name) for name in [PACKAGE, *names]}
