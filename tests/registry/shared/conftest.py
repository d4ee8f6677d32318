"""One suite, two stores: a bare SQLite file, and a server on PostgreSQL with its artifacts."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import pytest
from stores import forget_experiment
from waiting import PATIENCE, free_port, wait_until


@dataclass(frozen=True)
class Store:
    """A tracking store and registry.

    Parameters
    ----------
    kind : str
        sqlite or postgresql.
    uri : str
        What MLFLOW_TRACKING_URI holds.
    artifacts : str
        How the address of every artifact begins.
    """

    kind: str
    uri: str
    artifacts: str


def postgres_program(name: str) -> Path:
    """Find a program of Debian's, the newest version first, or skip the test."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    on_path = shutil.which(name)
    if not found and not on_path:
        pytest.skip("PostgreSQL is not installed; apt-get install postgresql")
    return found[0] if found else Path(str(on_path))


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[str], str]]:
    """Factory of fresh databases in a PostgreSQL server on loopback; gives their addresses."""
    psycopg2 = pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed")
    initdb, pg_ctl = postgres_program("initdb"), postgres_program("pg_ctl")
    # Not below pytest's own folder, which nobody but its owner may enter; initdb refuses root.
    with tempfile.TemporaryDirectory(prefix="coos-postgres-") as folder:
        who = {"user": "postgres", "group": "postgres", "extra_groups": []}
        who = who if os.geteuid() == 0 else {}
        if who:
            shutil.chown(folder, "postgres", "postgres")

        def call(*command: object) -> None:
            with (Path(folder) / "log").open("ab") as log:
                done = subprocess.run(
                    list(map(str, command)), cwd=folder, stdout=log, stderr=log, check=False, **who
                )
            assert done.returncode == 0, (Path(folder) / "log").read_text()

        password, port, data = secrets.token_hex(16), free_port(), Path(folder) / "data"
        word = Path(folder) / "password"
        word.write_text(password)
        how = ["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256"]
        call(initdb, *how, "--username=coos", f"--pwfile={word}", data)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        call(pg_ctl, "start", "-w", "-D", data, "-l", f"{folder}/server.log", "-o", options)

        def make(name: str) -> str:
            address = f"coos:{password}@127.0.0.1:{port}"
            connection = psycopg2.connect(f"postgresql://{address}/postgres")
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name}")
            connection.close()
            # SQLAlchemy 2.1 takes a bare postgresql:// for psycopg 3.
            return f"postgresql+psycopg2://{address}/{name}"

        try:
            yield make
        finally:
            call(pg_ctl, "stop", "-D", data, "-m", "immediate")


class MlflowServer:
    """An `mlflow server` with one worker, which keeps artifacts in a folder of its own."""

    def __init__(self, database: str, folder: Path) -> None:
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self._log = folder / "server.log"
        options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        options += ["--backend-store-uri", database, "--serve-artifacts"]
        options += ["--artifacts-destination", str(folder / "artifacts")]
        light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                cwd=folder,
                env=os.environ | light,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        wait_until(lambda: self._healthy() or self._process.poll() is not None, self._log.read_text)
        assert self._process.poll() is None, self._log.read_text()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=PATIENCE):
                return True
        except (URLError, OSError):
            return False

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def start_server() -> Iterator[Callable[[str, Path], MlflowServer]]:
    """Factory ``start_server(database, folder)`` of servers that are up."""
    started = []

    def start(database: str, folder: Path) -> MlflowServer:
        started.append(MlflowServer(database, folder))
        started[-1].wait()
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, trained: object
) -> Iterator[Store]:
    """A fresh store that every MLflow call of the test and its children goes to.

    `trained` is asked for so that it is made before, in the store of the other tests.
    """
    folder = tmp_path_factory.mktemp(request.param)
    server = None
    if request.param == "postgresql":
        new_database = request.getfixturevalue("new_database")
        server = MlflowServer(new_database("tracking"), folder)
    uri = server.uri if server else f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        forget_experiment(patch)
        patch.chdir(folder)
        try:
            if server:
                server.wait()
            yield Store(request.param, uri, "mlflow-artifacts:" if server else str(folder))
        finally:
            if server:
                server.end()
