"""."""

from __future__ import annotations

from typing import Any


def compare(*arguments: Any) -> Any:
    return None
