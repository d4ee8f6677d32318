"""Digests of the sources that results depend on, so that a change makes results anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import coos_mlflow

PACKAGE, SCRIPTS = Path(coos_mlflow.__file__).parent, Path(__file__).parent

_SIMULATED = (PACKAGE / "simulate", SCRIPTS / "kinds.py", SCRIPTS / "causes.py")
_DRIFT = PACKAGE / "drift"
_TRAINED = (
    *(
        PACKAGE / name
        for name in (
            *("simulate", "representations", "classifiers", "model", "plates", "metrics.py"),
            *("training/features.py", "training/reference.py", "training/row.py"),
        )
    ),
    *(
        _DRIFT / name
        for name in (
            *("calibration.py", "collect.py", "effect_sizes.py", "error_estimate.py"),
            *("estimators", "image_quality.py", "plate_distance.py", "profile.py"),
            *("reference.py", "statistics", "variance_components.py"),
        )
    ),
)


def digest(*sources: Path) -> str:
    """Return eight hexadecimal digits of the SHA-256 of Python files and of those in folders."""
    files = [
        path
        for source in sources
        for path in (sorted(source.rglob("*.py")) if source.is_dir() else [source])
    ]
    sha = hashlib.sha256()
    for path in files:
        sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()[:8]


def of_data() -> str:
    """Return the digest of the simulator."""
    return digest(PACKAGE / "simulate")


def of_plates() -> str:
    """Return the digest of the simulator, the kinds of plates and the figures of raw images.

    The representation has a version of its own.
    """
    return digest(*_SIMULATED, PACKAGE / "drift" / "image_quality.py")


def of_registries() -> str:
    """Return the digest of what a registered model depends on."""
    return digest(*_TRAINED, SCRIPTS / "registries.py")


def of_looks() -> str:
    """Return the digest of what a look depends on, beside its registry's."""
    edits = (SCRIPTS / "plates.py", SCRIPTS / "looks.py")
    return digest(*_TRAINED, _DRIFT, *_SIMULATED, *edits)


def of_names(names: Iterable[str]) -> str:
    """Return eight hexadecimal digits of the SHA-256 of names."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
