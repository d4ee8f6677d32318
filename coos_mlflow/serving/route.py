"""The route by which MLflow's scoring server asks a model of this package."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd

from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.plates.schema import CELL_SHAPE, CLASSES
from coos_mlflow.serving.decoding import decode, media_type
from coos_mlflow.serving.gzip_bodies import CODINGS, is_gzip
from coos_mlflow.serving.json_cells import TENSOR_KEYS
from coos_mlflow.serving.limits import (
    COUNTS,
    JSON,
    MAX_BYTES,
    MAX_CELLS,
    PARQUET,
    RefusedRequestError,
    too_large,
)

if TYPE_CHECKING:
    import numpy as np
    from fastapi import Request, Response

PATH = "/invocations"

MAX_AT_ONCE = 32
"""Requests that may wait for an answer in one process, each with a body of up to 64 MiB."""

_DECODED_AT_ONCE = 2
"""Bodies; 16 MiB of empty lists take 0.4 GB while they are, 2,048 cells of doubles 0.5 GB."""

_DRAINED = 16
"""Bodies that are too large are read, and forgotten, up to so many times the limit: whoever sends
one then reads the sentence instead of a broken connection."""

_SERVER = "mlflow.pyfunc.scoring_server"

_log = logging.getLogger(__name__)

Score = Callable[["np.ndarray"], pd.DataFrame]


def take_over(score: Score) -> bool:
    """Make the scoring server that is starting in this process, if one is, ask `score`.

    `mlflow models serve` imports a module that loads the model and then makes a FastAPI app, whose
    `/invocations` becomes ours. MLflow has no hook for it, so the class of the next app is.

    Parameters
    ----------
    score : callable
        Turns cells, checked, uint16 or float32 (n, 2, 64, 64), into a table of one row a cell.

    Returns
    -------
    bool
        Whether a server is starting.
    """
    if f"{_SERVER}.app" not in sys.modules:
        return False
    import fastapi

    # A model may be loaded twice before the app is made.
    plain = getattr(fastapi.FastAPI, "plain", fastapi.FastAPI)

    class GuardedApp(plain):  # type: ignore[misc, valid-type]
        plain: Any

        def __init__(self, **options: Any) -> None:
            fastapi.FastAPI = plain  # type: ignore[misc]
            super().__init__(title="Classifier of COOS-7", **options)

        def post(self, path: str, **options: Any) -> Callable[..., Any]:
            add = super().post
            if path != PATH:
                return add(path, **options)
            return lambda theirs: add(PATH, **_documented())(answerer(score))

    GuardedApp.plain = plain
    fastapi.FastAPI = GuardedApp  # type: ignore[misc]
    # Should another MLflow make its app in another way, it must not answer unguarded.
    sys.modules[_SERVER].invocations = _unguarded  # type: ignore[attr-defined]
    return True


def _unguarded(*_: Any) -> None:
    raise RegistryError(
        "This MLflow's scoring server is not one that coos-mlflow can guard; serve the model with "
        "the version in its requirements.txt."
    )


def answerer(score: Score) -> Callable[..., Any]:
    """Return the function that FastAPI calls with a request."""
    # Imported here: only where a server starts is it needed.
    from fastapi import Request

    invocations = _Invocations(score)

    async def answer(request: Request) -> Any:
        return await invocations(request)

    answer.__annotations__ = {"request": Request}  # FastAPI cannot see a name of this function
    return answer


def _documented() -> dict[str, Any]:
    return {
        "summary": "Classify cells",
        "responses": _RESPONSES,
        "openapi_extra": _BODY,
        "response_model": None,
    }


class _Work:
    """A body on its way to an answer, which nobody waits for after MLflow's time limit."""

    def __init__(self, body: bytes, kind: str, gzipped: bool, until: float) -> None:
        self.body, self.kind, self.gzipped = body, kind, gzipped
        self._until = until

    @property
    def abandoned(self) -> bool:
        """Whether its sender was told already that there is no answer."""
        return time.monotonic() > self._until

    def cells(self) -> np.ndarray:
        """Return the cells in the body, checked."""
        return decode(self.body, self.kind, self.gzipped)


class _Invocations:
    """Reads, decodes and answers requests; scores one at a time."""

    def __init__(self, score: Score) -> None:
        from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT

        self._score = score
        self._limit = float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())
        self._in_flight = 0  # counted in the event loop alone
        # A thread for each request that may wait, so that none waits in a queue that nobody counts.
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, "invocations")
        self._decoding = threading.Semaphore(_DECODED_AT_ONCE)
        # One after the other: the cores are shared, and so is torch's number of threads.
        self._turn = threading.Lock()

    async def __call__(self, request: Request) -> Response:
        from starlette.requests import ClientDisconnect

        if self._in_flight >= MAX_AT_ONCE:
            return _refusal(
                f"{MAX_AT_ONCE} requests are waiting for an answer; try again in a second.", 503
            )
        try:
            return await self._answered(request)
        except RefusedRequestError as refused:
            return _refusal(str(refused), refused.status)
        except DataError as error:
            return _refusal(str(error), 400)
        except ClientDisconnect:
            return _refusal("The request ended before its body did.", 400)
        except Exception:
            _log.exception("A request could not be answered.")
            return _refusal("The server failed on this request; its log says why.", 500)

    async def _answered(self, request: Request) -> Response:
        kind = media_type(request.headers.get("content-type"))
        gzipped = is_gzip(request.headers.get("content-encoding"))
        until = time.monotonic() + self._limit
        self._in_flight += 1
        answer = None
        try:
            work = _Work(await _body(request, kind), kind, gzipped, until)
            answer = self._threads.submit(self._predictions, work)
        finally:
            if answer is None:
                self._in_flight -= 1
        loop = asyncio.get_running_loop()
        # MLflow's time limit ends the waiting, not the thread, which counts until its end.
        answer.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return _json(await asyncio.wrap_future(answer), 200)

    def _leave(self) -> None:
        self._in_flight -= 1

    def _predictions(self, work: _Work) -> str:
        with self._decoding:
            images = None if work.abandoned else work.cells()
        work.body = b""
        with self._turn:
            if images is None or work.abandoned:
                raise RefusedRequestError(
                    f"No answer within {self._limit:g} s; send fewer cells at once.", 503
                )
            table = self._score(images)
        return json.dumps({"predictions": table.to_dict("records")})


async def _body(request: Request, kind: str) -> bytes:
    """Read a body, of which no more is kept than may come."""
    most, came = MAX_BYTES[kind], 0
    chunks: list[bytes] = []
    async for chunk in request.stream():
        came += len(chunk)
        if came > _DRAINED * most:
            break
        if came > most:
            chunks.clear()
        else:
            chunks.append(chunk)
    if came > most:
        raise too_large(kind)
    return b"".join(chunks)


def _refusal(sentence: str, status: int) -> Response:
    code = {500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}.get(
        status, "INVALID_PARAMETER_VALUE"
    )
    return _json(json.dumps({"error_code": code, "message": sentence}), status)


def _json(content: str, status: int) -> Response:
    from fastapi.responses import Response

    headers = {"Retry-After": "1"} if status == 503 else None
    return Response(content, status, headers, JSON)


def _numbers(lengths: tuple[int, ...]) -> dict[str, Any]:
    """Return the JSON schema of lists in lists; their lengths are said in words alone.

    Tools that make up requests from a schema give up on lists of exactly 8,192 numbers.
    """
    if not lengths:
        return {"type": "number", "minimum": 0, "maximum": 65535}
    return {"type": "array", "items": _numbers(lengths[1:])}


_TENSOR = {
    **_numbers((MAX_CELLS, *CELL_SHAPE)),
    "description": f"(N, {', '.join(map(str, CELL_SHAPE))}): cells, [protein, nucleus], height, "
    f"width; raw camera counts, at most {MAX_CELLS} cells",
}


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with one name, whatever it is."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": schema,
    }


_ROWS = {
    "type": "array",
    "items": _named(_numbers(CELL_SHAPE)),
    "description": "a cell in each row, all under the same name",
}
_CELLS = {"anyOf": [_TENSOR, _named(_TENSOR), _ROWS]}
_BODY = {
    "parameters": [
        {
            "name": "Content-Encoding",
            "in": "header",
            "description": "gzip: the body is one gzip stream. What it unpacks to is bounded as "
            "a plain body is.",
            "schema": {"type": "string", "enum": list(CODINGS)},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "properties": {
                        **dict.fromkeys(TENSOR_KEYS, _CELLS),
                        "params": {"type": ["object", "null"], "maxProperties": 0},
                    },
                    "oneOf": [{"required": [key]} for key in TENSOR_KEYS],
                    "additionalProperties": False,
                }
            },
            PARQUET: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": f"one column of flat lists of {COUNTS} counts, one list a "
                    "cell; columns without lists, such as wells, are ignored",
                }
            },
        },
    },
}
_PREDICTION = {
    "type": "object",
    "properties": {
        "label": {"type": "integer", "minimum": 0, "maximum": len(CLASSES) - 1},
        "class_name": {"type": "string", "enum": list(CLASSES)},
        **{
            f"p_{label}": {"type": "number", "minimum": 0, "maximum": 1}
            for label in range(len(CLASSES))
        },
    },
    "required": ["label", "class_name", *(f"p_{label}" for label in range(len(CLASSES)))],
}
_PREDICTIONS = {
    "type": "object",
    "properties": {"predictions": {"type": "array", "items": _PREDICTION}},
    "required": ["predictions"],
}
_SENTENCE = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _response("A row for each cell, in their order", _PREDICTIONS),
    400: _response("No cells that can be scored; one sentence says why", _SENTENCE),
    413: _response("Too many cells, or too many bytes", _SENTENCE),
    415: _response("Neither JSON nor Parquet, or packed otherwise than by gzip", _SENTENCE),
    500: _response("A defect", _SENTENCE),
    503: _response("Too many requests at once", _SENTENCE),
}
