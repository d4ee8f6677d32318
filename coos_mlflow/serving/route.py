"""The route `/invocations`: read a request, decode it, score its cells, answer."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd

from coos_mlflow.errors import DataError
from coos_mlflow.serving.decoding import decode, media_type
from coos_mlflow.serving.gzip_bodies import is_gzip
from coos_mlflow.serving.limits import JSON, MAX_BYTES, RefusedRequestError, too_large

if TYPE_CHECKING:
    import numpy as np
    from fastapi import Request, Response

MAX_AT_ONCE = 32
"""Requests that may wait for an answer in one process, each with a body of up to 65 MiB."""

_DECODED_AT_ONCE = 2
"""Bodies; 16 MiB of empty lists take 0.4 GB while they are."""

_DRAINED = 16
"""Bodies that are too large are read, and forgotten, up to so many times the limit: whoever sends
one then reads the sentence instead of a broken connection."""

_log = logging.getLogger(__name__)

Score = Callable[["np.ndarray"], pd.DataFrame]
"""Turns cells, checked, uint16 or float32 (n, 2, 64, 64), into a table of one row a cell."""


def request_handler(score: Score) -> Callable[..., Any]:
    """Return the function that FastAPI calls with a request."""
    # Imported here: only where a server starts is it needed.
    from fastapi import Request

    invocations = _Invocations(score)

    async def answer(request: Request) -> Any:
        return await invocations(request)

    answer.__annotations__ = {"request": Request}  # FastAPI cannot see a name of this function
    return answer


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
