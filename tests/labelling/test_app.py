"""The server of the page: who may ask, what it tells, and what it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fastapi.routing import APIRoute

from coos_mlflow.audit.labels_file import NONE_WORDS, read_labels
from coos_mlflow.errors import DataError, RunNotLoggedError
from coos_mlflow.labelling import app
from coos_mlflow.labelling.publish import publish_from
from coos_mlflow.plates.dataset import coos7

STATE = {"done", "target", "all", "cell", "last", "width"}
CELL = {"number", "pictures"}
PICTURES = {"composite", "protein", "nucleus"}
START = {"plate", "labeller", "none", "unseen", "classes", "state"}
CLASS = {"name", "short", "key", "fill", "ink", "pictures"}


def routes(page: app.Page) -> Iterator[tuple[str, str]]:
    """Every method and path that the server answers."""
    for route in app.make_app(page).routes:
        assert isinstance(route, APIRoute)
        for method in route.methods:
            yield method, route.path.replace("{cell}", "0")


def test_every_path_needs_the_token_and_the_servers_own_name(client):
    base = f"http://127.0.0.1:{client.page.port}"
    asked = list(routes(client.page))
    assert {("GET", "/"), ("GET", "/report"), ("POST", "/api/label")} < {*asked}
    for method, path in asked:
        in_address = path in ("/", "/report")
        token = client.page.token
        right = {"params": {"token": token}} if in_address else {"headers": {"X-Token": token}}
        other = {"headers": {"X-Token": token}} if in_address else {"params": {"token": token}}
        wrong: list[dict[str, Any]] = [
            {},
            other,
            {"params": {"token": token[:-1]}, "headers": {"X-Token": f"{token}x"}},
            right | {"headers": right.get("headers", {}) | {"Host": "evil.example"}},
            right | {"headers": right.get("headers", {}) | {"Host": "127.0.0.1"}},
        ]
        for keywords in wrong:
            said = requests.request(method, base + path, **keywords, timeout=60)
            assert said.status_code == 403, (method, path, keywords)
            assert token not in said.text and said.json()["error"].endswith(".")
    assert not client.page.closed.is_set() and not client.page.session.n_labelled
    named = {"Host": f"localhost:{client.page.port}"}
    assert client.ask("start", **named).status_code == 200


def test_it_is_served_to_this_machine_alone(client):
    port = client.page.port
    assert client.page.address.startswith(f"http://127.0.0.1:{port}/?token=")
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_the_page_loads_nothing_and_leaves_no_trace(client):
    page = requests.get(client.page.address, timeout=60)
    policy = page.headers["Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["connect-src"] == "'self'" and rules["frame-ancestors"] == "'none'"
    for kind in ("script-src", "style-src"):
        assert rules[kind].startswith("'sha256-") and " " not in rules[kind]
    for said in (page, client.ask("start"), client.ask("nowhere")):
        assert said.headers["Cache-Control"] == "no-store"
        assert said.headers["Referrer-Policy"] == "no-referrer"
        assert said.headers["X-Content-Type-Options"] == "nosniff"
    assert client.page.token not in page.text
    assert "http://" not in page.text and "https://" not in page.text


def test_nothing_tells_the_models_label_before_the_end(client, truths):
    start = client.ask("start").json()
    assert set(start) == START
    assert [set(one) for one in start["classes"]] == [CLASS] * 7
    assert [one["name"] for one in start["classes"]] == list(coos7().class_names)
    state = start["state"]
    for _ in range(12):
        assert set(state) == STATE
        assert set(state["cell"]) == CELL and set(state["cell"]["pictures"]) == PICTURES
        cell = state["cell"]["number"]
        assert set(client.ask(f"neighbours/{cell}").json()) == {"pictures"}
        state = client.label(cell, truths[cell]).json()
        assert state["last"] == truths[cell]


def test_keys_of_classes_are_those_that_nothing_else_has():
    assert app.KEYS[:9] == "123456789" and len({*app.KEYS}) == len(app.KEYS)
    assert not {*"0xun"} & {*app.KEYS}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"cell": "the first", "answer": "Golgi"}, 400),
        ({"answer": "Golgi"}, 400),
        ([], 400),
        ({"cell": 10**9, "answer": "Golgi"}, 400),
        ({"cell": None, "answer": "mitochondrion"}, 400),
        ({"cell": -2, "answer": "Golgi"}, 409),
    ],
)
def test_a_wrong_label_is_one_sentence_and_the_cell_that_is_asked_for(client, body, status):
    done = client.ask("start").json()["state"]["cell"]["number"]
    state = client.label(done, "Golgi").json()
    if isinstance(body, dict) and body.get("cell") in (None, -2) and "cell" in body:
        body = body | {"cell": done if body["cell"] == -2 else state["cell"]["number"]}
    said = client.ask("label", body)
    assert said.status_code == status
    assert said.json()["error"].count("\n") == 0 and said.json()["error"].endswith(".")
    assert said.json()["state"] == state
    assert len(read_labels(client.page.session.folder / "audit.csv")) == 1


def test_a_label_that_cannot_be_written_is_said(client, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cell = client.ask("start").json()["state"]["cell"]["number"]
    monkeypatch.setattr("coos_mlflow.audit.labels_file.write_whole", full)
    said = client.label(cell, "Golgi")
    assert said.status_code == 500 and "No space left" in said.json()["error"]
    assert said.json()["state"]["cell"]["number"] == cell


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DataError("plate.h5: cannot be read."), 400, "plate.h5: cannot be read."),
        (KeyError("all"), 500, "The program failed (KeyError: 'all'). Your labels are kept."),
    ],
)
def test_a_picture_that_cannot_be_read_is_said_and_its_label_kept(
    client, monkeypatch, error, status, words
):
    cell = client.ask("start").json()["state"]["cell"]["number"]

    def broken(_: int) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(client.page.session, "picture", broken)
        said = client.label(cell, "Golgi")
    assert said.status_code == status and said.json() == {"error": words}
    assert client.page.session.said == {cell: "Golgi"}
    assert client.ask("start").json()["state"]["done"] == 1


def test_the_end_without_a_label_is_refused(client):
    said = client.ask("finish", {})
    assert said.status_code == 409 and "No cell is labelled yet" in said.json()["error"]


@pytest.fixture
def published(client, session, label) -> dict[str, Any]:
    """What the page gets at the end of 40 cells, of which a person says 4 to be of no class."""
    label(session, 36)
    for _ in range(4):
        session.record(session.progress()["cell"], NONE_WORDS)
    return client.ask("finish", {}).json()


def test_the_end_shows_the_error_that_the_report_shows(client, session, published, truths):
    drift = json.loads((session.folder / "drift.json").read_text())
    audit = drift["audit"]
    assert audit["n_cells"] == 40
    assert published["title"] == "Balanced error, measured on 40 cells"
    report = requests.get(client.page.address.replace("/?", "/report?"), timeout=60)
    assert report.text == (session.folder / "report.html").read_text()
    assert published["report"] == str(session.folder / "report.html")
    for page in (published["value"], published["range"].rpartition(": ")[2]):
        assert page in report.text
    counts = published["confusion"]
    assert [row["name"] for row in counts["rows"]][-1] == NONE_WORDS
    assert sum(map(sum, (row["cells"] for row in counts["rows"]))) == 40
    assert sum(counts["rows"][-1]["cells"]) == 4
    (row,) = [row for row in counts["rows"] if row["name"] == truths[0]]
    predicted = dict(zip(session.frame.cells, session.frame.labels, strict=True))
    own = [predicted[cell] for cell, said in session.said.items() if said == truths[0]]
    assert row["cells"] == [own.count(label) for label in counts["columns"]]


def test_after_the_end_more_cells_can_be_labelled_but_none_changed(client, session, published):
    assert published["state"]["last"] is None
    assert client.ask("undo", {}).status_code == 409
    more = client.ask("more", {}).json()
    assert (more["done"], more["target"]) == (40, 100)
    cell = more["cell"]["number"]
    assert client.label(cell, "Golgi").json()["last"] == "Golgi"
    assert client.ask("undo", {}).json()["done"] == 40


def test_two_people_see_their_agreement(begin, label):
    label(begin("Ada"), 20)
    second = begin("Bo")
    label(second, 19)
    second.record(second.progress()["cell"], NONE_WORDS)
    with app.served(second) as page:
        found = page.finish()
    (words,) = [fact for fact in found["facts"] if "kappa" in fact]
    assert "95" in words and "20 labels" in words


def test_with_the_store_away_the_report_is_written_and_the_rest_is_said(
    client, session, label, monkeypatch
):
    def away(*arguments: Any) -> None:
        publish_from(*arguments)
        raise RunNotLoggedError("the run could not be logged.")

    monkeypatch.setattr(app, "publish_from", away)
    label(session, 12)
    found = client.ask("finish", {}).json()
    assert found["title"].endswith("measured on 12 cells")
    assert found["facts"][-1] == "the run could not be logged."
    assert isinstance(client.page.unlogged, RunNotLoggedError)


def test_the_error_is_measured_once_for_the_same_labels(client, session, label, monkeypatch):
    calls: list[Any] = []
    monkeypatch.setattr(app, "publish_from", lambda *given: calls.append(given) or {"audit": None})
    label(session, 2)
    assert client.ask("finish", {}).json()["value"] == "Cannot tell"
    client.page.publish()
    assert len(calls) == 1
    label(session, 1)
    client.page.publish()
    assert len(calls) == 2


def test_a_port_in_use_is_said_at_once(session, client):
    with (
        pytest.raises(DataError, match=f"--port {client.page.port}"),
        app.served(session, client.page.port),
    ):
        raise AssertionError
