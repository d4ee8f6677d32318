"""The route `/invocations`: read a request, decode it, score its cells, send the predictions.

Open this module to change how many requests are handled at once.
"""

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
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.serving.decoding import decode, media_type
from coos_mlflow.serving.gzip_bodies import is_gzip
from coos_mlflow.serving.limits import JSON, MAX_BYTES, RefusedRequestError, too_large

if TYPE_CHECKING:
    import numpy as np
    from fastapi import Request, Response

MAX_AT_ONCE = 32
"""Largest number of requests in one process at once, each with a body of up to 65 MiB."""

_DECODED_AT_ONCE = 2
"""Number of bodies decoded at once. 16 MiB of empty lists take 0.4 GB during decoding."""

_DRAINED = 16
"""A body that is too large is read and discarded up to this multiple of the limit. The client then
gets the error message instead of a broken connection."""

_log = logging.getLogger(__name__)

Score = Callable[["np.ndarray"], pd.DataFrame]
"""Turns checked cells, uint16 or float32 (n, 2, crop, crop), into a table with a row per cell."""


def request_handler(score: Score, dataset: Dataset) -> Callable[..., Any]:
    """Return the function that FastAPI calls with a request, for cells of a data set."""
    # Imported here because only a starting server needs it.
    from fastapi import Request

    invocations = _Invocations(score, dataset)

    async def answer(request: Request) -> Any:
        return await invocations(request)

    # FastAPI cannot resolve the annotation by name, since `Request` is local to this function.
    answer.__annotations__ = {"request": Request}
    return answer


class _Work:
    """A request body with the time after which MLflow's server no longer waits for a response."""

    def __init__(self, body: bytes, kind: str, crop: int, gzipped: bool, until: float) -> None:
        self.body, self.kind, self.crop, self.gzipped = body, kind, crop, gzipped
        self._until = until

    @property
    def abandoned(self) -> bool:
        """Whether the time limit is over, so that the client was sent an error already."""
        return time.monotonic() > self._until

    def cells(self) -> np.ndarray:
        """Decode and check the cells in the body."""
        return decode(self.body, self.kind, self.crop, self.gzipped)


class _Invocations:
    """Handle requests, and score the cells of one request at a time."""

    def __init__(self, score: Score, dataset: Dataset) -> None:
        from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT

        self._score, self._dataset = score, dataset
        self._limit = float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())
        self._in_flight = 0  # changed only in the event loop
        # As many threads as requests, so that no request waits in the uncounted queue of the pool.
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, "invocations")
        self._decoding = threading.Semaphore(_DECODED_AT_ONCE)
        # Score one request at a time: they share the cores and torch's number of threads.
        self._turn = threading.Lock()

    async def __call__(self, request: Request) -> Response:
        from starlette.requests import ClientDisconnect

        if self._in_flight >= MAX_AT_ONCE:
            return _refusal(
                f"{MAX_AT_ONCE} requests are waiting for an answer; try again in a second.", 503
            )
        try:
            return await self._handle(request)
        except RefusedRequestError as refused:
            return _refusal(str(refused), refused.status)
        except DataError as error:
            return _refusal(str(error), 400)
        except ClientDisconnect:
            return _refusal("The request ended before its body did.", 400)
        except Exception:
            _log.exception("A request could not be answered.")
            return _refusal("The server failed on this request; its log says why.", 500)

    async def _handle(self, request: Request) -> Response:
        kind = media_type(request.headers.get("content-type"))
        gzipped = is_gzip(request.headers.get("content-encoding"))
        until = time.monotonic() + self._limit
        self._in_flight += 1
        future = None
        try:
            work = _Work(await _body(request, kind), kind, self._dataset.crop, gzipped, until)
            future = self._threads.submit(self._predictions, work)
        finally:
            if future is None:
                self._in_flight -= 1
        loop = asyncio.get_running_loop()
        # MLflow's time limit does not end the thread, so the request counts until the thread ends.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return _json(await asyncio.wrap_future(future), 200)

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
        answer = {"predictions": table.to_dict("records")}
        return json.dumps(answer | {"class_names": self._dataset.class_names})


async def _body(request: Request, kind: str) -> bytes:
    """Read a body, and keep no more than the size limit."""
    most, received = MAX_BYTES[kind], 0
    chunks: list[bytes] = []
    async for chunk in request.stream():
        received += len(chunk)
        if received > _DRAINED * most:
            break
        if received > most:
            chunks.clear()
        else:
            chunks.append(chunk)
    if received > most:
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
