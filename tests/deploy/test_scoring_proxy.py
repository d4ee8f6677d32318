"""The proxy before a served model: TLS, a password, limits; and the client through it."""

from __future__ import annotations

import subprocess

import pandas as pd
import pytest
import requests
from waiting import PATIENCE, wait_until

from coos_mlflow.errors import ServerError
from coos_mlflow.scoring.remote import packed, retrying_session, score_plate
from coos_mlflow.serving.limits import JSON, NPY

PASSWORD = "of-this-test-alone"


@pytest.fixture
def proxied(front, served_here, trained):
    """Address and certificate of nginx before a served texture-lr, which lab may ask."""
    model = served_here(trained.row("texture-lr").model.uri)
    addresses = {
        "http://scoring:8080": model,
        "server_name scoring.*;": "server_name localhost scoring.*;",
        "rate=50r/s": "rate=1r/s",
        "burst=50": "burst=20",
    }
    started = front("scoring.conf", addresses)
    made = subprocess.run(
        ["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True
    )
    (started.folder / "tls" / "scoring.htpasswd").write_text(f"lab:{made.stdout}")
    url = f"https://localhost:{started.port}"

    def up() -> bool:
        try:
            return requests.get(f"{url}/ping", verify=started.certificate, timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    wait_until(up)
    return url, str(started.certificate)


@pytest.mark.slow
def test_the_client_goes_through_with_a_password_and_nobody_without(
    proxied, new_plate, cells, served_here, trained
):
    url, certificate = proxied
    with retrying_session() as session:
        session.verify, session.auth = certificate, ("lab", PASSWORD)
        through = score_plate(new_plate, url, session=session)
    direct = score_plate(new_plate, served_here(trained.row("texture-lr").model.uri))
    pd.testing.assert_frame_equal(through, direct, check_exact=True)

    with requests.Session() as session:
        session.verify = certificate
        with pytest.raises(ServerError, match="answers 401"):
            score_plate(new_plate, url, session=session)

    def post(body, kind, password=PASSWORD, path="/invocations"):
        headers = {"Content-Type": kind}
        auth = ("lab", password)
        return requests.post(
            url + path, data=body, headers=headers, auth=auth, verify=certificate, timeout=PATIENCE
        ).status_code

    assert post(packed(cells), NPY, password="another") == 401
    assert post(packed(cells), NPY) == 200
    assert post(b"{}", JSON) == 400
    assert post(bytes(65 * 2**20 + 1), NPY) == 413
    for path in ("/docs", "/version", "/openapi.json", "/invocations/more"):
        assert post(b"", JSON, path=path) == 404
    got = requests.get(
        f"{url}/invocations", auth=("lab", PASSWORD), verify=certificate, timeout=PATIENCE
    )
    assert got.status_code == 403
    assert 429 in {post(b"{}", JSON) for _ in range(60)}


def test_the_certificate_is_looked_at(proxied, new_plate):
    url, _ = proxied
    with pytest.raises(ServerError, match="SSLError"):
        score_plate(new_plate, url)
