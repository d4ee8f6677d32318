"""Read the installed versions of this package and its requirements; compare release series."""

from __future__ import annotations

from importlib.metadata import requires, version

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from coos_mlflow import __version__
from coos_mlflow.errors import RegistryError

PACKAGE = "coos-mlflow"


def package_versions() -> dict[str, str]:
    """Return the installed versions of this package and of its requirements."""
    needed = [Requirement(line) for line in requires(PACKAGE) or []]
    names = sorted(r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""}))
    return {name: version(name) for name in [PACKAGE, *names]}


def fits(package_version: str, installed: str = __version__) -> bool:
    """Tell whether the installed version of this package may use models of another version.

    Versions of one release series fit each other: those with the same first number, and below 1.0
    the same first two, since any 0.x may break compatibility (Semantic Versioning 2.0.0, item 4).
    Text that is no version fits none.
    """
    return bool(series(package_version)) and series(package_version) == series(installed)


def check_fits(package_version: str, what: str) -> None:
    """Refuse a model of another release series of this package.

    Raises
    ------
    RegistryError
        Naming the version to install.
    """
    if not fits(package_version):
        raise RegistryError(
            f"{what} was made by coos-mlflow {package_version or '(no version)'}, which "
            f"{__version__} does not fit: install coos-mlflow=={package_version or '...'}, or "
            "train it again with this version."
        )


def series(package_version: str) -> tuple[int, ...]:
    """Return a sort key of a release series, smaller for older; empty for text that is no version.

    All keys have three numbers, so that they sort: 0.3 is (0, 0, 3), 2.1 is (0, 2, 0).
    """
    try:
        release = Version(package_version)
    except InvalidVersion:
        return ()
    return (release.epoch, release.major, 0 if release.major else release.minor)
