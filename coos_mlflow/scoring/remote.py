"""Score a plate with a served model; the table has the columns of `coos-score`."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema
from urllib3 import Retry

from coos_mlflow._utils.prefetch import prefetch
from coos_mlflow.errors import DataError, ServerError, without_passwords
from coos_mlflow.plates.copies import CopyFinder, cell_digests
from coos_mlflow.plates.dataset_file import dataset_of_plate
from coos_mlflow.plates.flags import FlagCounter, with_stand_ins
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.schema import CHANNELS, CellBatch
from coos_mlflow.scoring.predictions import BATCH, prediction_table
from coos_mlflow.serving.limits import MAX_BYTES, MAX_CELLS, NPY

TIMEOUT = 120.0
"""Seconds to wait for a response; MLflow's server gives up after 60."""

_Answer = tuple[np.ndarray, list[str]]
"""Probabilities, float32 (n, classes), and the names of the classes."""

_HEADER_BYTES = 1024
_BUSY = 503
_TRIES = 6


def score_plate(
    plate: Path,
    url: str,
    *,
    session: requests.Session | None = None,
    batch: int = BATCH,
    timeout: float = TIMEOUT,
    on_progress: Callable[[int], None] = lambda n: None,
) -> pd.DataFrame:
    """Send the cells of a plate to a scoring server, and return its predictions.

    While the server scores one batch, the next is read and packed.

    Parameters
    ----------
    plate : Path
        See `coos_mlflow.plates.reader.open_plate`.
    url : str
        Address of the server, such as ``http://127.0.0.1:5001``, with or without ``http://``.
        `mlflow models serve` starts a server.
    session : requests.Session, optional
        A session with the settings that the server's proxy needs: ``auth``, ``verify``, ``cert``.
    batch : int
        Cells of a request, 1..2,048; fewer where they would be more bytes than a server takes.
    timeout : float
        Seconds to wait for a response.
    on_progress : callable
        Called with the number of cells scored since its last call.

    Returns
    -------
    DataFrame
        One row a cell, with the columns of `coos_mlflow.scoring.predictions.schema_of`.

    Raises
    ------
    DataError
        For a malformed address, and for a plate that cannot be read or that the server refuses;
        the message then repeats the server's.
    ServerError
        When the server does not respond, or does not serve a model of this package.

    Examples
    --------
    >>> table = score_plate(Path("new_plate.h5"), "http://127.0.0.1:5001")  # doctest: +SKIP
    """
    if not 1 <= batch <= MAX_CELLS:
        raise DataError(f"batch={batch} found, expected 1 to {MAX_CELLS} cells.")
    address = _address(url)
    tables, copies = [], CopyFinder()
    described = dataset_of_plate(plate)
    channels = CHANNELS if described is None else described.channels
    opening = open_plate(plate, channels=channels, check_labels=False)
    with session or retrying_session() as client, opening as opened:
        counter = FlagCounter(opened.n_cells, f"{plate}:/data")
        cell_bytes = len(CHANNELS) * opened.crop**2 * opened.dtype.itemsize
        batch = min(batch, (MAX_BYTES[NPY] - _HEADER_BYTES) // cell_bytes)
        bodies = _bodies(opened.batches(batch, keep_unusable=True))
        scored = prefetch(_responses(client, address, prefetch(bodies), timeout))
        with closing(scored):
            for cells, (probabilities, class_names) in scored:
                origins = opened.origins(cells.start, cells.start + len(cells))
                counter.add(cells.flags, cells)
                flags = copies.flagged(cells.flags, cell_digests(cells.images))
                tables.append(prediction_table(origins, probabilities, flags, class_names))
                on_progress(len(cells))
    predictions: pd.DataFrame = pa.Table.from_batches(tables).to_pandas()
    return predictions


def _bodies(batches: Iterable[CellBatch]) -> Iterator[tuple[CellBatch, bytes]]:
    for cells in batches:
        yield cells, packed(with_stand_ins(cells.images, cells.flags))


def packed(images: np.ndarray) -> bytes:
    """Return cells as the body of a request, in NumPy's `.npy` format.

    Parameters
    ----------
    images : ndarray, shape (n, 2, crop, crop)
        Raw counts; their dtype is kept.
    """
    sink = io.BytesIO()
    np.save(sink, images, allow_pickle=False)
    return sink.getvalue()


def retrying_session() -> requests.Session:
    """Return a session that retries requests to a busy server (status 503)."""
    again = Retry(
        total=None,
        connect=0,
        read=0,
        redirect=0,
        other=0,
        status=_TRIES,
        status_forcelist=[_BUSY],
        allowed_methods=["POST"],
        backoff_factor=0.5,
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    return session


def _address(url: str) -> str:
    """Return the URL for requests to a server, from its address as typed by a user.

    Raises
    ------
    DataError
        For a malformed address.
    """
    written = url.strip()
    if "://" not in written and not written.startswith(("http:", "https:")):  # http:/localhost
        written = f"http://{written}"
    try:
        parts = urlsplit(written)
        if parts.scheme not in ("http", "https"):
            raise InvalidSchema
        path = parts.path.rstrip("/").removesuffix("/invocations") + "/invocations"
        address = parts._replace(path=path).geturl()
        requests.Request("POST", address).prepare()
    except ValueError:
        # `from None`, since the original message may hold a password.
        raise DataError(
            f"{without_passwords(written)!r} found, expected the address of a server, such as "
            "http://127.0.0.1:5001."
        ) from None
    return address


def _responses(
    session: requests.Session,
    url: str,
    bodies: Generator[tuple[CellBatch, bytes]],
    timeout: float,
) -> Iterator[tuple[CellBatch, _Answer]]:
    with closing(bodies):
        for cells, body in bodies:
            yield cells, _probabilities_of(session, url, body, len(cells), timeout)


def _probabilities_of(
    session: requests.Session, url: str, body: bytes, n_cells: int, timeout: float
) -> _Answer:
    place = without_passwords(url)
    try:
        # `verify` is passed again, since requests prefers REQUESTS_CA_BUNDLE to the session's.
        response = session.post(
            url,
            data=body,
            headers={"Content-Type": NPY},
            timeout=timeout,
            verify=session.verify,
        )
    except requests.RequestException as error:
        raise ServerError(
            f"{place}: no answer ({type(error).__name__}); is `mlflow models serve` running there?"
        ) from error
    if response.status_code != requests.codes.ok:
        raise _refusal(place, response)
    return _probabilities(place, response, n_cells)


def _refusal(place: str, response: requests.Response) -> DataError | ServerError:
    try:
        sentence = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{response.status_code} {response.reason}"
    if response.status_code in (400, 413):
        return DataError(f"{place}: {sentence}")
    return ServerError(f"{place} answers {response.status_code}: {sentence[:300]}")


def _probabilities(place: str, response: requests.Response, n_cells: int) -> _Answer:
    """Return the probabilities in a response, float32 (n_cells, classes), and the class names."""
    try:
        answer = response.json()
        rows, names = answer["predictions"], list(map(str, answer["class_names"]))
        probabilities = np.array(
            [[row[f"p_{label}"] for label in range(len(names))] for row in rows], np.float32
        )
    except (ValueError, KeyError, TypeError):
        probabilities, names = np.empty((0, 0), np.float32), []
    if probabilities.shape != (n_cells, len(names)):
        raise ServerError(
            f"{place}: the answer is not {n_cells} rows of p_0, p_1, ... with the names of the "
            "classes; is a model of this coos-mlflow served there?"
        )
    return probabilities, names
