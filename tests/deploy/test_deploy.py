"""deploy/: what its files promise, and nginx with TLS before MLflow with passwords, for real."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import textwrap
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import mlflow
import pytest
import requests
import yaml
from stores import forget_experiment
from waiting import PATIENCE, free_port, wait_until

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
MADE_THERE = {"./tls", "./scoring"}
"""What README.md has its reader make: certificates, and the image of a model."""

VARIABLE = re.compile(r"\$\{(\w+)(:\?[^}]*)?\}")
PASSWORD = "of-this-test-alone"


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def test_every_image_is_pinned(services):
    images = [service["image"] for service in services.values()]
    from_ = re.findall(r"^FROM (\S+)", (DEPLOY / "mlflow/Dockerfile").read_text(), re.MULTILINE)
    for image in images + from_:
        assert re.search(r":(RELEASE\.)?\d+[\d.-]+\d", image), image


def test_every_file_that_is_mounted_or_built_from_exists(services):
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists() or source in MADE_THERE
        build = service.get("build", {})
        if isinstance(build, dict) and build:
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
        else:
            assert not build or build in MADE_THERE
    copied = re.search(r"^COPY (.+) ", (DEPLOY / "mlflow/Dockerfile").read_text(), re.MULTILINE)
    for name in copied[1].split():
        assert (REPOSITORY / name).is_file()
        assert f"!{name}" in (DEPLOY / "mlflow/Dockerfile.dockerignore").read_text().splitlines()


def test_every_variable_must_be_set_and_is_in_the_example():
    used = VARIABLE.findall((DEPLOY / "compose.yaml").read_text())
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert {name for name, _ in used} == set(example)
    assert all(insists for _, insists in used)
    assert set(example.values()) == {""}


def test_no_secret_is_in_the_repository(services):
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    assert {".env", "/tls/"} <= set(ignored)
    secret = re.compile(r"PASSWORD$|SECRET|KEY$")
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if secret.search(name) and name != "AWS_ACCESS_KEY_ID":  # which is a user's name
                assert VARIABLE.fullmatch(value), name
    for file in DEPLOY.rglob("*"):
        if file.is_file() and file.relative_to(DEPLOY).parts[0] not in {".env", "tls", "scoring"}:
            text = file.read_text()
            assert "PRIVATE KEY" not in text and not re.search(r"^admin_password", text, re.M)
            assert not re.search(r"://[^:/\s$]+:[^$@\s]+@", text), file


def test_the_steps_of_the_page_keep_secrets_and_let_nginx_read_what_it_must(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    shutil.copy(DEPLOY / ".env.example", tmp_path)
    page = (DEPLOY / "README.md").read_text()
    indented = re.findall(r"(?:^ {4,}.*\n)+", page, re.MULTILINE)
    blocks = [textwrap.dedent(block) for block in indented]
    for beginning in ("(umask", "mkdir -m", "printf"):
        (block,) = [block for block in blocks if block.startswith(beginning)]
        asked = block.replace("-apr1)", "-apr1 -stdin <<< secret)").partition("mlflow")[0]
        bash = ["bash", "-euc", f"umask 022\n{asked}"]
        subprocess.run(bash, cwd=tmp_path, capture_output=True, check=True)
    values = dict(
        line.split("=", 1)
        for line in (tmp_path / ".env").read_text().splitlines()
        if not line.startswith("#")
    )
    assert values.pop("REGISTRY_HOST") == "registry.lab.example"
    assert len({value for value in values.values() if len(value) == 48}) == len(values)
    modes = {".env": 0o600, "tls": 0o755, "tls/server.key": 0o600, "tls/scoring.htpasswd": 0o644}
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in modes} == modes


def test_only_the_proxy_is_reached_from_outside(services):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["networks"]["inside"]["internal"] is True
    for name, service in services.items():
        assert ("ports" in service) == ("outside" in service["networks"]) == (name == "proxy")


def test_the_server_has_the_versions_of_the_lock():
    lock = dict(
        line.split("==")
        for line in (REPOSITORY / "requirements.lock").read_text().splitlines()
        if "==" in line
    )
    pins = (DEPLOY / "mlflow/requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in pins if not line.startswith("#"))
    assert pinned.pop("mlflow[auth]") == lock["mlflow"]
    assert {name: lock.get(name, number) for name, number in pinned.items()} == pinned


@dataclass(frozen=True)
class Proxy:
    """nginx on loopback, and the certificate that it shows."""

    port: int
    certificate: Path

    def answer(
        self, path: str, *, password: str | None = None, body: bytes | None = None, host: str = ""
    ) -> tuple[int, bytes]:
        """Return status and body; `password` is that of admin."""
        request = urllib.request.Request(f"https://localhost:{self.port}{path}", data=body)
        if password:
            word = b64encode(f"admin:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        if host:
            request.add_header("Host", host)
        trusted = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(request, context=trusted, timeout=PATIENCE) as found:
                return found.status, found.read()
        except HTTPError as error:
            return error.code, error.read()


INSIDE = """
import socket

known = socket.getaddrinfo
socket.getaddrinfo = lambda host, *how, **more: known(
    "127.0.0.1" if host == "storage" else host, *how, **more
)
"""
"""Lets the registry alone find the storage by its name, as in the network of the compose file."""


def start_registry(
    folder: Path, port: int, https: int, storage: int | None
) -> subprocess.Popen[bytes]:
    """Start MLflow by the command of the Dockerfile, on SQLite files and, if any, S3."""
    ini = (DEPLOY / "mlflow/basic_auth.ini").read_text()
    ini = re.sub(
        "^database_uri = .*", f"database_uri = sqlite:///{folder}/auth.db", ini, flags=re.M
    )
    (folder / "basic_auth.ini").write_text(ini)
    settings = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": f"{folder}/artifacts",
        "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/basic_auth.ini",
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"localhost:{https}",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"https://localhost:{https}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if storage:
        (folder / "sitecustomize.py").write_text(INSIDE)
        settings |= {
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow",
            "MLFLOW_S3_ENDPOINT_URL": f"http://storage:{storage}",
            "AWS_ACCESS_KEY_ID": "storage",
            "AWS_SECRET_ACCESS_KEY": "of this test",
            "PYTHONPATH": str(folder),
        }
    written = re.search(r"^CMD (\[.+\])$", (DEPLOY / "mlflow/Dockerfile").read_text(), re.MULTILINE)
    assert written
    command = [sys.executable, "-m", *yaml.safe_load(written[1])]
    command[command.index("--host") + 1] = "127.0.0.1"
    command[command.index("--port") + 1] = str(port)
    with (folder / "registry.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=folder,
            env=os.environ | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def storage() -> Iterator[int | None]:
    """The port of an S3 with the bucket of the compose file; none where moto is not installed."""
    if not all(map(importlib.util.find_spec, ("moto", "boto3"))):
        yield None
        return
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "storage", "aws_secret_access_key": "of this test"}
    where = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    boto3.client("s3", **keys, **where).create_bucket(Bucket="mlflow")
    yield port
    server.stop()


@pytest.fixture(scope="module")
def proxy(
    front: Callable[..., Any], storage: int | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    pytest.importorskip("flask_wtf", reason="Flask-WTF, of MLflow's basic-auth, is not installed")
    port, plain = free_port(), free_port()
    addresses = {
        "listen 80 default_server": f"listen 127.0.0.1:{plain} default_server",
        "server registry:5000;": f"server 127.0.0.1:{port};",
        "server_name registry.*;": "server_name localhost registry.*;",
    }
    started = front("registry.conf", addresses)
    folder = tmp_path_factory.mktemp("registry")
    server = start_registry(folder, port, started.port, storage)
    try:
        found = Proxy(started.port, started.certificate)
        log = folder / "registry.log"
        wait_until(lambda: _healthy(found) or server.poll() is not None, log.read_text)
        assert server.poll() is None, log.read_text()
        yield found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _healthy(found: Proxy) -> bool:
    try:
        return found.answer("/health")[0] == 200
    except (URLError, OSError):
        return False


EXPERIMENTS = "/api/2.0/mlflow/experiments/search?max_results=1"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", EXPERIMENTS, ARTIFACTS])
def test_nothing_is_shown_without_the_password(proxy, path):
    assert proxy.answer(path)[0] == 401
    assert proxy.answer(path, password="wrong")[0] == 401
    assert proxy.answer(path, password=PASSWORD)[0] == 200


@pytest.mark.slow
def test_only_what_tells_nothing_is_open(proxy):
    for path in ("/version", "/graphql", "/api/2.0/mlflow/users/current", "/ajax-api/3.0/jobs"):
        assert proxy.answer(path)[0] == 401, path
    for prefix in ("api", "ajax-api"):
        assert proxy.answer(f"/{prefix}/3.0/mlflow/server-info")[0] == 404
    assert proxy.answer("/health")[0] == 200


@pytest.mark.slow
def test_artifacts_come_and_go_through_the_server_alone(proxy, storage, monkeypatch, tmp_path):
    """MLflow 3.17.2 sends clients to the storage itself, where its server-info is answered."""
    if storage is None:
        pytest.skip("the storage is played by moto and boto3, which are not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://localhost:{proxy.port}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(proxy.certificate))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    forget_experiment(monkeypatch)
    with pytest.raises(OSError, match="storage"):
        requests.get(f"http://storage:{storage}", timeout=PATIENCE)
    with mlflow.start_run() as run:
        mlflow.log_text("a model", "bundle/model.txt")
    uri = f"runs:/{run.info.run_id}/bundle"
    folder = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    assert (Path(folder) / "model.txt").read_text() == "a model"
    assert proxy.answer("/api/3.0/mlflow/server-info", password=PASSWORD)[0] == 404


@pytest.mark.slow
def test_a_body_over_the_limit_does_not_reach_the_server(proxy):
    body = bytes(8 * 1024**2 + 1)
    assert proxy.answer("/api/2.0/mlflow/runs/log-batch", password=PASSWORD, body=body)[0] == 413


@pytest.mark.slow
def test_a_stranger_to_the_certificate_gets_no_connection(proxy):
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://localhost:{proxy.port}/health", timeout=PATIENCE)


@pytest.mark.slow
def test_a_host_that_is_not_allowed_is_refused(proxy):
    status, said = proxy.answer(EXPERIMENTS, password=PASSWORD, host="registry.elsewhere.example")
    assert status == 403 and b"Invalid Host header" in said
    with pytest.raises(RemoteDisconnected):
        proxy.answer(EXPERIMENTS, password=PASSWORD, host="elsewhere.example")
