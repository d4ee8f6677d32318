"""The page on which a person labels cells, served to this machine alone.

Open this to change what the page may ask for. Who asks must know the token of the link and must
have reached the server under its own name, so that no other page or program of this machine reads
or labels cells.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel

from coos_mlflow.audit.labels_file import CANNOT_SEE, NONE_WORDS
from coos_mlflow.errors import CoosError, DataError, RunNotLoggedError
from coos_mlflow.labelling.outcome import outcome
from coos_mlflow.labelling.publish import drift_of, publish_from
from coos_mlflow.labelling.session import NotAskedError, Session
from coos_mlflow.registry.results import REPORT
from coos_mlflow.reports.plate.dataset import class_styles
from coos_mlflow.reports.plate.figures.cells import data_uri
from coos_mlflow.scoring.audited import audit_entry

HOST = "127.0.0.1"

TOKEN = "x-token"
"""Header in which the page's own requests have the token. Pages have it in the address."""

MORE = 50
"""Cells that the page asks for in addition when a person wants to go on."""

KEYS = "123456789abcdefghijklmopqrstvwyz"
"""Keys of the classes. n, u and x do something else; further classes have their button alone."""

_WITHOUT_HEADER = ("/", "/report")

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(BaseModel):
    """What a person says of a cell."""

    cell: int
    answer: str


@dataclass
class Page:
    """One session as a page.

    Parameters
    ----------
    session : Session
    port : int
        On which it is served.
    token : str
        That every request must have.
    """

    session: Session
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    closed: threading.Event = field(default_factory=threading.Event)
    unlogged: RunNotLoggedError | None = None
    """Why the last published error is not in the tracking store, if it is not."""
    _publishing: threading.Lock = field(default_factory=threading.Lock)
    _published: tuple[dict[int, str], dict[str, Any]] | None = None
    """The labels of the last publication, and the drift.json that it wrote."""

    @property
    def address(self) -> str:
        """The link to the page."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def publish(self) -> dict[str, Any]:
        """Measure the error with all labels, unless that was done since the last one.

        Returns
        -------
        dict
            Content of drift.json.
        """
        with self._publishing:
            said = self.session.said
            if self._published is None or self._published[0] != said:
                self._published = said, self._written()
                self.session.shown()
            return self._published[1]

    def _written(self) -> dict[str, Any]:
        folder = self.session.folder
        self.unlogged = None
        try:
            return publish_from(folder, self.session.plate.path)
        except RunNotLoggedError as error:
            # The report may have been written before the store was found to be away.
            drift = drift_of(folder)
            if drift.get("audit") != audit_entry(folder, drift):
                raise
            self.unlogged = error
            return drift

    def start(self) -> dict[str, Any]:
        """Return all that the page needs to begin."""
        dataset, pictures = self.session.dataset, self.session.references()
        styles = class_styles([one.colour for one in dataset.classes])
        return {
            "plate": self.session.plate.path.name,
            "labeller": self.session.labeller,
            "none": NONE_WORDS,
            "unseen": CANNOT_SEE,
            "classes": [
                {
                    "name": one.name,
                    "short": one.short[:2],
                    "key": KEYS[number : number + 1],
                    **styles[number],
                    "pictures": [data_uri(picture) for picture in pictures[number]],
                }
                for number, one in enumerate(dataset.classes)
            ],
            "state": self.state(),
        }

    def state(self) -> dict[str, Any]:
        """Return the progress, and the cell that is asked for with its pictures."""
        found = self.session.progress()
        if (cell := found["cell"]) is not None:
            pictures = self.session.picture(cell)
            found["cell"] = {
                "number": cell,
                "pictures": {name: data_uri(picture) for name, picture in pictures.items()},
            }
        return found

    def label(self, said: Answer) -> dict[str, Any]:
        """Keep a label."""
        self.session.record(said.cell, said.answer)
        return self.state()

    def undo(self) -> dict[str, Any]:
        """Take back the last label."""
        self.session.undo()
        return self.state()

    def more(self) -> dict[str, Any]:
        """Ask for more cells."""
        self.session.ask_for(self.session.progress()["target"] + MORE)
        return self.state()

    def finish(self) -> dict[str, Any]:
        """Measure the error, and show it with the model's labels."""
        if not self.session.n_labelled:
            raise NotAskedError("No cell is labelled yet; label one first.")
        found = outcome(self.session, self.publish())
        found["facts"] += [str(self.unlogged)] if self.unlogged else []
        report = str((self.session.folder / REPORT).resolve())
        return found | {"report": report, "state": self.state()}


def make_app(page: Page) -> FastAPI:
    """Return the app that serves a page."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    html, policy = _first_page()

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = _refusal(request, page)
        response = JSONResponse({"error": refused}, 403) if refused else await go_on(request)
        response.headers.update(_HEADERS)
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'")
        return response

    @app.exception_handler(CoosError)
    def refuse(_: Request, error: CoosError) -> Response:
        status = 409 if isinstance(error, NotAskedError) else 500
        status = 400 if type(error) is DataError else status
        return JSONResponse({"error": str(error)} | _state_of(page), status)

    @app.exception_handler(RequestValidationError)
    def misread(_: Request, __: RequestValidationError) -> Response:
        error = "Something else found, expected the number of a cell and an answer."
        return JSONResponse({"error": error} | _state_of(page), 400)

    @app.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> Response:
        said = f"The program failed ({type(error).__name__}: {error}). Your labels are kept."
        return JSONResponse({"error": said}, 500)

    @app.get("/")
    def first() -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @app.get("/report")
    def report() -> Response:
        # Its own policy stands in it.
        own = {"Content-Security-Policy": "frame-ancestors 'none'"}
        return FileResponse(page.session.folder / REPORT, media_type="text/html", headers=own)

    @app.get("/api/neighbours/{cell}")
    def neighbours(cell: int) -> dict[str, Any]:
        return {"pictures": [data_uri(one) for one in page.session.neighbours(cell)]}

    @app.post("/api/close")
    def close() -> dict[str, Any]:
        page.closed.set()
        return {}

    app.get("/api/start")(page.start)
    app.post("/api/label")(page.label)
    app.post("/api/undo")(page.undo)
    app.post("/api/more")(page.more)
    app.post("/api/finish")(page.finish)
    return app


def _state_of(page: Page) -> dict[str, Any]:
    """Return the state under its name; nothing where a picture cannot be read."""
    try:
        return {"state": page.state()}
    except CoosError:
        return {}


def _refusal(request: Request, page: Page) -> str | None:
    """Return why a request is refused, or None."""
    # A page of another server may have a name that now leads here (DNS rebinding).
    if request.headers.get("host") not in (f"{HOST}:{page.port}", f"localhost:{page.port}"):
        return "This server answers under its own address alone; open the link of coos label."
    in_address = request.url.path in _WITHOUT_HEADER and request.method == "GET"
    given = request.query_params.get("token") if in_address else request.headers.get(TOKEN)
    if not secrets.compare_digest((given or "").encode(), page.token.encode()):
        return "The token is missing or of an earlier start; open the link of coos label."
    return None


def _first_page() -> tuple[str, str]:
    """Return the page with its style and script, and the policy that allows these alone."""
    folder = files("coos_mlflow.labelling").joinpath("page")
    html = folder.joinpath("index.html").read_text("utf-8")
    allowed = {}
    for kind, name in (("style", "label.css"), ("script", "label.js")):
        text = folder.joinpath(name).read_text("utf-8")
        html = html.replace("{{ " + kind + " }}", text)
        digest = hashlib.sha256(text.encode()).digest()
        allowed[kind] = base64.b64encode(digest).decode("ascii")
    return html, (
        f"default-src 'none'; style-src 'sha256-{allowed['style']}'; "
        f"script-src 'sha256-{allowed['script']}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@contextmanager
def served(session: Session, port: int = 0) -> Iterator[Page]:
    """Serve a page until the block ends, in a thread.

    Parameters
    ----------
    session : Session
    port : int
        0 for any that is free.

    Raises
    ------
    DataError
        When the port is not free.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise DataError(
            f"--port {port}: cannot be used ({error.strerror}); name another one, or none."
        ) from error
    with listener:
        page = Page(session, listener.getsockname()[1])
        config = uvicorn.Config(
            make_app(page),
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="critical",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield page
        finally:
            server.should_exit = True
            thread.join()
