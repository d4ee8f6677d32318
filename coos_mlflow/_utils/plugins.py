"""Find the files of a folder that each hold one representation, statistic or estimator.

A file's stem is its key. `base.py`, files with a leading underscore and sub-folders are ignored.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_CONTRACT = "base"


def plugin_names(package: str) -> tuple[str, ...]:
    """Return the keys of all plugins of a package, in order.

    Neither a plugin nor the package is imported, so that ``--help`` can list them at once.
    """
    if package in sys.modules:
        folders = sys.modules[package].__path__
    else:
        spec = find_spec(package)
        folders = (spec and spec.submodule_search_locations) or []
    modules = pkgutil.iter_modules(folders)
    stems = (module.name for module in modules if not module.ispkg)
    return tuple(sorted(stem for stem in stems if stem[0] != "_" and stem != _CONTRACT))


def load_plugins(package: str, attribute: str) -> dict[str, Any]:
    """Return the value of `attribute` in each file of a package, by key."""
    modules = {key: import_module(f"{package}.{key}") for key in plugin_names(package)}
    return {key: getattr(module, attribute) for key, module in modules.items()}
