"""The command `coos label`: the link, the end, a kill, a second one, and its first errors."""

from __future__ import annotations

import _thread
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import requests
from forks import Forked, Forks
from typer.testing import CliRunner
from waiting import wait_until

from coos_mlflow.audit.labels_file import read_labels
from coos_mlflow.cli import label as command
from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError
from coos_mlflow.scoring.scorer import Scorer

IMPORTED = [
    *("coos_mlflow.cli.main", "coos_mlflow.cli.tables", "coos_mlflow.labelling.app"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
]

LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]+)")


@pytest.fixture(scope="module")
def results(trained, new_plate, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("labelled")
    return Scorer.load("texture-lr").score(new_plate, out, log=False).folder


@pytest.fixture
def folder(results, tmp_path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "scores" / results.name))


def ask(link: str, path: str, body: object = None) -> dict:
    match = LINK.search(link)
    assert match
    url = f"http://127.0.0.1:{match[1]}/api/{path}"
    method = "GET" if body is None else "POST"
    said = requests.request(method, url, json=body, headers={"X-Token": match[2]}, timeout=60)
    return said.json()


def label_some(link: str, n: int) -> dict:
    """Label the next n cells, and return the state after."""
    state = ask(link, "start")["state"]
    for _ in range(n):
        state = ask(link, "label", {"cell": state["cell"]["number"], "answer": "Golgi"})
    return state


@pytest.fixture
def label(monkeypatch, folder) -> Callable[..., str]:
    """Factory ``label(do, *options)``: run the command, with a person who does `do(link)`."""

    def run(do: Callable[[str], object], *options: str) -> str:
        def opened(address: str) -> bool:
            file = Path(url2pathname(urlsplit(address).path))
            assert file.stat().st_mode & 0o777 == 0o600  # it holds the token
            link = LINK.search(file.read_text())[0]
            threading.Thread(target=do, args=(link,)).start()
            return True

        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr("webbrowser.open", opened)
        done = CliRunner().invoke(app, ["label", str(folder), *options])
        assert done.exit_code == 0, (done.output, done.exception)
        assert not [*folder.parent.glob(".*.html")]
        return done.output

    return run


def test_the_page_opens_and_its_end_is_printed(label, folder):
    def do(link: str) -> None:
        label_some(link, 12)
        ask(link, "close", {})

    said = label(do, "--labeller", "Ada", "--cells", "12")
    assert LINK.search(said) and "labels cells as Ada" in said
    assert "measured on 12 cells" in said and str(folder / "report.html") in said
    assert {one.labeller for one in read_labels(folder / "audit.csv")} == {"Ada"}
    assert "measured on 12 cells" in (folder / "report.md").read_text()


def test_ctrl_c_ends_it_and_more_goes_on(label, folder):
    def stop(link: str) -> None:
        label_some(link, 3)
        _thread.interrupt_main()

    assert "measured on 3 cells" in label(stop)
    seen = {}

    def look(link: str) -> None:
        seen.update(ask(link, "start")["state"])
        ask(link, "close", {})

    label(look, "--more", "4")
    assert (seen["done"], seen["target"]) == (3, 7)


def test_a_small_plate_is_labelled_as_a_whole_and_said(label, results):
    said = label(lambda link: ask(link, "close", {}), "--cells", "5000")
    assert "5,000 cells asked for; all 160" in said and "no cell is labelled" in said


def test_the_browser_stays_closed_where_it_would_open_in_the_terminal(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not command._has_windows()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "drift.json").unlink(), "no drift.json"),
        (lambda folder: (folder / "drift.json").write_text("[]"), "no drift.json"),
        (lambda folder: (folder / "drift.json").write_text("{"), "no drift.json"),
        (
            lambda folder: (folder / "drift.json").write_text('{"plate_path": "/gone/away.h5"}'),
            "/gone/away.h5: the plate file is not there",
        ),
    ],
)
def test_what_is_not_there_is_one_sentence(folder, change, words):
    change(folder)
    done = CliRunner().invoke(app, ["label", str(folder)])
    assert isinstance(done.exception, DataError)
    assert words in str(done.exception) and "\n" not in str(done.exception)


def test_another_plate_file_is_refused(folder, make_plate):
    done = CliRunner().invoke(app, ["label", str(folder), "--plate", str(make_plate())])
    assert isinstance(done.exception, DataError)
    assert "is not the file that was scored" in str(done.exception)


def test_what_is_not_there_is_said_before_anything_heavy_is_imported(tmp_path):
    code = (
        "import sys; from typer.testing import CliRunner; from coos_mlflow.cli.main import app; "
        f"CliRunner().invoke(app, ['label', {str(tmp_path)!r}]); "
        "sys.exit('numpy' in sys.modules or 'mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def processes() -> Iterator[Forks]:
    with Forks(IMPORTED) as forks:
        yield forks


@pytest.mark.slow
def test_a_kill_loses_no_label_and_a_second_page_is_refused(processes, folder, tmp_path):
    def start(name: str) -> Forked:
        files = {"said": tmp_path / f"{name}.said", "errors": tmp_path / f"{name}.errors"}
        words = ["coos", "label", folder, "--no-browser", "--labeller", "Ada"]
        code = "from coos_mlflow.cli.main import coos; coos()"
        return processes.start(code, words, folder=tmp_path, **files)

    def link_of(name: str, process: Forked) -> str:
        said, errors = tmp_path / f"{name}.said", tmp_path / f"{name}.errors"
        wait_until(lambda: said.exists() and bool(LINK.search(said.read_text()) or process.poll()))
        assert process.poll() is None, errors.read_text()
        return said.read_text()

    first = start("first")
    link = link_of("first", first)
    label_some(link, 5)
    second = start("second")
    assert second.wait() == 7
    (sentence,) = (tmp_path / "second.errors").read_text().splitlines()
    assert "its cells are being labelled" in sentence
    first.kill()
    first.wait()
    assert len(read_labels(folder / "audit.csv")) == 5
    again = start("again")
    assert label_some(link_of("again", again), 1)["done"] == 6
    os.kill(again.pid, 2)
    assert again.wait() == 0, (tmp_path / "again.errors").read_text()
    assert "measured on 6 cells" in (tmp_path / "again.said").read_text()
