"""A small scored plate whose cells are labelled by a script that knows what they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from coos_mlflow.labelling.app import Page, served
from coos_mlflow.labelling.session import Session, open_session
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.scoring.scorer import Scorer

CELLS = 50


@pytest.fixture(scope="session")
def results(trained, new_plate, tmp_path_factory) -> Path:
    """Results that no test changes."""
    out = tmp_path_factory.mktemp("labelled")
    return Scorer.load("texture-lr").score(new_plate, out, log=False).folder


@pytest.fixture
def folder(results, tmp_path) -> Path:
    """A copy of the results, to label."""
    return Path(shutil.copytree(results, tmp_path / "scores" / results.name))


@pytest.fixture(scope="session")
def truths(new_plate) -> list[str]:
    """The class of each cell of the plate."""
    names = coos7().class_names
    with open_plate(new_plate) as plate:
        assert plate.labels is not None
        return [names[label] for label in plate.labels.tolist()]


@pytest.fixture
def begin(folder) -> Iterator[Callable[..., Session]]:
    """Factory ``begin(labeller="Ada", cells=50)`` of sessions, one at a time."""
    with ExitStack() as stack:

        def begin(labeller: str = "Ada", cells: int = CELLS) -> Session:
            stack.close()
            session = stack.enter_context(open_session(folder, None, labeller))
            session.ask_for(cells)
            return session

        yield begin


@pytest.fixture
def session(begin) -> Session:
    return begin()


@pytest.fixture
def label(truths) -> Callable[..., list[int]]:
    """Function ``label(session, n)`` that labels the next n cells rightly, and returns them."""

    def label(session: Session, n: int) -> list[int]:
        done = []
        for _ in range(n):
            cell = session.progress()["cell"]
            session.record(cell, truths[cell])
            done.append(cell)
        return done

    return label


@dataclass(frozen=True)
class Client:
    """What the script of the page does."""

    page: Page

    def ask(self, path: str, body: Any = None, **headers: str) -> requests.Response:
        method = "GET" if body is None else "POST"
        url = f"http://127.0.0.1:{self.page.port}/api/{path}"
        headers = {"X-Token": self.page.token} | headers
        return requests.request(method, url, json=body, headers=headers, timeout=60)

    def label(self, cell: Any, answer: Any) -> requests.Response:
        return self.ask("label", {"cell": cell, "answer": answer})


@pytest.fixture
def client(session) -> Iterator[Client]:
    with served(session) as page:
        yield Client(page)
