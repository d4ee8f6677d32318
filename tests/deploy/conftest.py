"""nginx on loopback with the files of deploy/nginx."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import free_port

NGINX = Path(__file__).parents[2] / "deploy" / "nginx"


@dataclass(frozen=True)
class Front:
    """A proxy that is up.

    Parameters
    ----------
    port : int
        Of https.
    certificate : Path
        That it shows, for localhost.
    folder : Path
        Of its configuration.
    """

    port: int
    certificate: Path
    folder: Path


@pytest.fixture(scope="module")
def front() -> Iterator[Callable[[str, dict[str, str]], Front]]:
    """Factory ``front("registry.conf", {old: new})``; nothing but addresses is replaced."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed; apt-get install nginx-light")
    running = []

    def start(name: str, replaced: dict[str, str]) -> Front:
        # Not below pytest's own folder, which nginx's workers may not enter.
        place = tempfile.TemporaryDirectory(prefix="coos-deploy-")
        folder, https = Path(place.name), free_port()
        folder.chmod(0o755)
        certificate(folder / "tls")
        (folder / "conf.d").mkdir()
        plain = {"listen 443 ": f"listen 127.0.0.1:{https} "}
        site = with_replaced((NGINX / "conf.d" / name).read_text(), plain | replaced)
        (folder / "conf.d" / name).write_text(site)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        temporary = {
            "pid /tmp/nginx.pid;": f"pid {folder}/nginx.pid;",
            "    include conf.d": f"{own}    include conf.d",
        }
        whole = with_replaced((NGINX / "nginx.conf").read_text(), temporary)
        (folder / "nginx.conf").write_text(whole)
        files = str(folder / "nginx.conf")
        tested = subprocess.run([nginx, "-t", "-c", files], capture_output=True, check=False)
        assert tested.returncode == 0 and b"warn" not in tested.stderr, tested.stderr
        command = [nginx, "-c", files, "-g", "daemon off;"]
        with (folder / "errors.log").open("wb") as errors:  # a pipe that nobody reads gets full
            running.append((subprocess.Popen(command, stderr=errors), place))
        return Front(https, folder / "tls/server.crt", folder)

    yield start
    for process, place in running:
        process.terminate()
        process.wait()
        place.cleanup()


def with_replaced(text: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def certificate(folder: Path) -> None:
    folder.mkdir()
    key, crt = folder / "server.key", folder / "server.crt"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    how = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(["openssl", "req", "-x509", *how, *names], check=True, capture_output=True)
