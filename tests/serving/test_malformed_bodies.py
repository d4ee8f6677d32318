"""A part of what `scripts/fuzz/bodies.py` sends, and that its judge notices what must not come."""

import importlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


@pytest.fixture
def bodies(serving):
    yield importlib.import_module("fuzz.bodies")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fuzz"]:
        del sys.modules[name]


@pytest.mark.slow
def test_the_server_refuses_them_and_lives_and_keeps_its_size(bodies, server):
    found = bodies.ask(server.url, 500, seed=2, pid=server.answering_pid)
    assert found["faults"] == [] and found["n_faults"] == 0
    assert sum(n for of in found["statuses"].values() for n in of.values()) == 500
    early, late = found["rss_mib"]
    assert early > 150 and late < early + 150


@pytest.mark.parametrize(
    ("status", "said", "named"),
    [
        (500, {"message": "No."}, "status 500"),
        (400, {"message": "Traceback (most recent call last)."}, "no clean sentence"),
        (400, {"message": "In /home/somebody/model it failed."}, "no clean sentence"),
        (400, {"detail": "Bad."}, "no sentence"),
        (200, {"predictions": []}, "answered without an answer"),
        (200, {"predictions": [{f"p_{i}": 1.0 for i in range(7)}]}, "answered without an answer"),
    ],
)
def test_the_judge_notices(bodies, status, said, named):
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(status, json.dumps(said).encode())

        def do_GET(self):
            self._say(200, b"")

        def _say(self, code, body):
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        found = bodies.ask(f"http://127.0.0.1:{server.server_address[1]}", 3)
        server.shutdown()
    assert found["n_faults"] == 3 and all(named in fault for fault in found["faults"])
