"""Connect to a Dask cluster or start one, check its workers, and explain its errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import platform
import socket
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coos_mlflow._utils.progress import progress, say
from coos_mlflow._utils.versions import PACKAGE, package_versions
from coos_mlflow.errors import ClusterError, CoosError

if TYPE_CHECKING:
    from distributed import Client, KilledWorker

LOCAL = "local"
"""The address that stands for worker processes on this machine."""

CONNECT_SECONDS = 20
"""Seconds after which an unresponsive scheduler is given up, at the start and during the work."""

CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
"""Exceptions that Dask raises for cancelled work; the class depends on the caller."""

_spread_over: ContextVar[Client | None] = ContextVar("_spread_over", default=None)

SHOWN = 3
"""Most differing versions that a message names."""


@contextmanager
def connect(address: str, workers: int | None = None) -> Iterator[Client]:
    """Connect to a Dask scheduler, or start workers on this machine.

    Parameters
    ----------
    address : str
        Such as ``tcp://host:8786``, or ``local``.
    workers : int or None
        With ``local``: number of processes, one for each core by default. Otherwise: number of
        workers to wait for.

    Raises
    ------
    ClusterError
        When Dask is not installed, the scheduler does not respond, the cluster is lost during the
        work, or the same work kills one worker after the other.
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            "--dask needs dask.distributed, which is not installed; "
            "install it with pip install 'coos-mlflow[cluster]'."
        ) from error
    # Dask uses these limits for reconnecting too, else it would wait for a lost scheduler forever.
    limits = {
        "distributed.comm.timeouts.connect": CONNECT_SECONDS,
        "distributed.client.scheduler-info-interval": "2s",
    }
    import dask

    with dask.config.set(limits), _explained(address), _client(address, workers) as client:
        say(f"Dask: {client.scheduler.address}, dashboard {client.dashboard_link}")
        _check_dask(client, distributed.__version__)
        if workers and address != LOCAL:
            with progress(f"Waiting for {workers} workers"):
                client.wait_for_workers(workers)
        elif not client.scheduler_info()["workers"]:
            say("Dask: no worker is there yet; the work waits until one joins")
        _check_package(client)
        yield client


@contextmanager
def _client(address: str, workers: int | None) -> Iterator[Client]:
    from distributed import Client, LocalCluster
    from distributed.versions import VersionMismatchWarning
    from joblib import cpu_count

    with warnings.catch_warnings():
        # `_check_dask` and `check_versions` report mismatches in one sentence.
        warnings.simplefilter("ignore", VersionMismatchWarning)
        if address != LOCAL:
            try:
                client = Client(address, timeout=CONNECT_SECONDS)
            except OSError as error:
                raise ClusterError(
                    f"{address}: no Dask scheduler answers there ({_first_line(error)})."
                ) from error
            except ValueError as error:
                raise ClusterError(
                    f"--dask {address!r} found, expected {LOCAL} or an address such as "
                    f"tcp://host:8786 ({_first_line(error)})."
                ) from error
            with client:
                yield client
            return
        with (
            _own_environment(),
            LocalCluster(
                n_workers=workers or cpu_count(),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


@contextmanager
def _own_environment() -> Iterator[None]:
    """Restore the variables that Dask sets in this process for its workers, as OMP_NUM_THREADS."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn Dask's exceptions into a ClusterError with one sentence."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except CoosError:
        raise
    except KilledWorker as error:
        raise ClusterError(f"{address}: {fate(error)}") from error
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"{address}: a worker lacks {error.name or 'a package'} ({_first_line(error)}); "
            "install coos-mlflow with the same requirements.lock where workers run."
        ) from error
    except (*CANCELLED, CommClosedError, TimeoutError) as error:
        raise ClusterError(
            f"{address}: the Dask scheduler does not answer, or was lost ({_first_line(error)}); "
            "what was done is kept, and the same command goes on, with or without --dask."
        ) from error


def fate(error: KilledWorker) -> str:
    """Return the sentence for workers that were killed by the same piece of work."""
    return (
        f"{error.allowed_failures + 1} workers died one after the other with the same work, the "
        f"last one {error.last_worker.address}; look for what it does to them, or give workers "
        "more memory. What was done is kept, and the same command goes on from there."
    )


def result_of(future: Any) -> Any:
    """Return a future's result.

    Raises
    ------
    ClusterError
        When the scheduler or too many workers were lost.
    Exception
        The exception of the work itself.
    """
    if future.status in ("lost", "cancelled"):
        raise asyncio.CancelledError(f"{future.key} was {future.status}")
    return future.result()


def here() -> str:
    """Return the name of this process for messages: a worker's address, and its machine."""
    from distributed import get_worker

    try:
        return f"worker {get_worker().address} on {socket.gethostname()}"
    except ValueError:
        return socket.gethostname()


def versions() -> dict[str, str]:
    """Return the versions on which results depend: Python's, this package's, its requirements'.

    A local version such as 2.13.0+cpu is the same release as 2.13.0.
    """
    packages = {name: number.partition("+")[0] for name, number in package_versions().items()}
    return {"python": platform.python_version()} | packages


def check_versions(expected: dict[str, str]) -> None:
    """Refuse to work in a worker whose packages differ from those of the client.

    Raises
    ------
    ClusterError
        Naming the worker and the versions that differ.
    """
    own = versions()
    wrong = [
        f"{name} {own.get(name, 'missing')} instead of {number}"
        for name, number in expected.items()
        if own.get(name) != number
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ClusterError(
            f"{here()} has {', '.join(wrong[:SHOWN])}{more}; install the same requirements.lock "
            "where workers run."
        )


def check_reach(path: Path, n_bytes: int | None = None) -> None:
    """Refuse to work in a worker that does not see a path as the client does.

    Parameters
    ----------
    path : Path
        A file or folder.
    n_bytes : int or None
        Expected size of the file.

    Raises
    ------
    ClusterError
        Naming the worker and the path.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ClusterError(
            f"{here()} cannot read {path} ({error.strerror}); plates and results must lie on "
            "storage that this machine and all workers share, under the same path."
        ) from error
    if n_bytes not in (None, status.st_size):
        raise ClusterError(
            f"{here()} finds {status.st_size:,} bytes at {path}, expected {n_bytes:,}; plates must "
            "lie on storage that this machine and all workers share."
        )


def keep_to_own_cores() -> None:
    """Let each piece of work use one core, unless OMP_NUM_THREADS says otherwise.

    Dask itself sets that variable for workers under a nanny, since the threads of a worker already
    run in parallel. Call this before torch is loaded, which reads the variable.
    """
    cores = os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", cores)


@contextmanager
def spreading_over(client: Client) -> Iterator[None]:
    """Let `spread` use a cluster instead of threads."""
    token = _spread_over.set(client)
    try:
        yield
    finally:
        _spread_over.reset(token)


def is_spreading() -> bool:
    """Tell whether `spread` uses a cluster."""
    return _spread_over.get() is not None


def spread(
    work: Callable[..., Any], shared: Any, items: Sequence[tuple[Any, ...]], *, ordered: bool
) -> Generator[Any]:
    """Do independent pieces of work in parallel: in threads, or on the cluster in use.

    Parameters
    ----------
    work : callable
        Called as ``work(shared, *item)``.
    shared : object
        Sent to each worker once.
    items : sequence of tuple
    ordered : bool
        Whether to yield results in the order of the items, or as they are done.
    """
    from joblib import Parallel, delayed, parallel_config

    client = _spread_over.get()
    jobs = (delayed(work)(shared, *item) for item in items)
    how = "generator" if ordered else "generator_unordered"
    if client is None:
        yield from _results(Parallel(n_jobs=-1, prefer="threads", return_as=how)(jobs))
        return
    with parallel_config(backend="dask", client=client, scatter=[shared]):
        yield from _results(Parallel(n_jobs=-1, return_as=how)(jobs))


def _results(results: Generator[Any]) -> Generator[Any]:
    """Yield joblib's results; where the caller stops early, give up the rest without a warning."""
    try:
        # `yield from` would close `results` before the filter is set.
        for result in results:  # noqa: UP028
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _check_dask(client: Client, own: str) -> None:
    """Refuse a scheduler with another version of Dask, whose protocol may differ."""
    theirs = client.get_versions()["scheduler"]["packages"]["distributed"]
    if theirs != own:
        raise ClusterError(
            f"{client.scheduler.address} runs dask.distributed {theirs}, here it is {own}; install "
            "the same version in both places."
        )


def _check_package(client: Client) -> None:
    """Refuse workers without this package, which could not unpickle their tasks."""
    results = client.run(version, PACKAGE, on_error="return")
    lacking = [worker for worker, result in results.items() if isinstance(result, Exception)]
    if lacking:
        raise ClusterError(
            f"{len(lacking)} of {len(results)} workers lack {PACKAGE}, the first is {lacking[0]}; "
            "install it with the same requirements.lock where workers run."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
