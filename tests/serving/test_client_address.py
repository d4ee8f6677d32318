"""The address of a server, as it is typed or copied, and what is none."""

from pathlib import Path

import pytest

from coos_mlflow.errors import DataError, ServerError
from coos_mlflow.scoring.remote import score_plate


@pytest.mark.parametrize(
    "written",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "127.0.0.1:{port}/",
        "127.0.0.1:{port}/invocations",
        "http://127.0.0.1:{port}/invocations/",
        "HTTP://127.0.0.1:{port}//",
        "  http://127.0.0.1:{port} \n",
    ],
)
def test_an_address_is_taken_in_any_spelling(server, make_plate, written):
    port = server.url.rpartition(":")[2]
    assert len(score_plate(make_plate(n=2), written.format(port=port))) == 2


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("https://lab.example/models/texture/", "https://lab.example/models/texture/invocations"),
        ("[::1]:5001", "http://[::1]:5001/invocations"),
        ("lab.example:5001?key=a/b", "http://lab.example:5001/invocations?key=a/b"),
    ],
)
def test_a_path_and_a_query_are_kept(make_plate, monkeypatch, written, asked):
    def answer(_session, url, **_options):
        raise ConnectionError(url)

    monkeypatch.setattr("requests.Session.post", answer)
    with pytest.raises(ConnectionError) as told:
        score_plate(make_plate(n=2), written)
    assert str(told.value) == asked


@pytest.mark.parametrize(
    "written",
    [
        "",
        "http://",
        "ftp://127.0.0.1:5001",
        "file:///plate.h5",
        "http:/127.0.0.1:5001",
        "http:127.0.0.1:5001",
        "127.0.0.1:port",
        "127.0.0.1:99999",
        "127.0.0.1 :5001",
        "127.0.0.1:5001 5002",
        "::1",
        "http://[::1",
        ":5001",
        "my plate.h5",
    ],
)
def test_what_is_no_address_is_said_before_the_plate_is_read(written):
    with pytest.raises(DataError, match=r"' found, expected the address of a server, such as"):
        score_plate(Path("no_such_plate.h5"), written)


def test_the_client_says_no_password(make_plate):
    with pytest.raises(ServerError) as caught:
        score_plate(make_plate(), "http://lab:sec(ret@127.0.0.1:1")
    assert str(caught.value).startswith("http://***@127.0.0.1:1/invocations: no answer")


@pytest.mark.parametrize("written", ["lab:secret@127.0.0.1:port", "http://lab:secret@[::1"])
def test_a_wrong_address_is_repeated_without_its_password(written):
    with pytest.raises(DataError) as caught:
        score_plate(Path("no_such_plate.h5"), written)
    assert "secret" not in str(caught.value) and caught.value.__suppress_context__
