"""A real scoring server, and requests as a user would write them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from waiting import PATIENCE

from coos_mlflow.serving.limits import JSON

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="session")
def serving() -> Iterator[Any]:
    """`scripts/benches/_serving.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("benches._serving")
        for name in [name for name in sys.modules if name.partition(".")[0] == "benches"]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def server(serving: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`mlflow models serve` of texture-lr."""
    folder = tmp_path_factory.mktemp("server")
    with serving.served(trained.row("texture-lr").model.uri, folder) as served:
        yield served


@pytest.fixture
def ask(server: Any) -> Callable[..., requests.Response]:
    """Post a body to the server."""

    def post(body: bytes | str, content_type: str | None = JSON, **headers: str) -> Any:
        said = ({"Content-Type": content_type} if content_type else {}) | headers
        return requests.post(server.invocations, data=body, headers=said, timeout=PATIENCE)

    return post
