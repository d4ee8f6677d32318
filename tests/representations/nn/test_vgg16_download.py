"""Downloads of published weights: cut, damaged and refused ones."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from vgg16_files import sha256

from coos_mlflow.errors import DownloadError, OutputError
from coos_mlflow.plates import download
from coos_mlflow.representations.nn.vgg16_download import PublishedFile, fetched, sha256_of

CONTENT = bytes(range(256)) * 40


def published(content=CONTENT, site="http://127.0.0.1:9"):
    return PublishedFile("weights", "", f"{site}/models/weights-1234.pth", sha256(content)[:8], 1)


class Server(ThreadingHTTPServer):
    """One file, sent with faults that a test asks for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.published = published(site=f"http://127.0.0.1:{self.server_address[1]}")
        self.status = 200
        self.says_length = True
        self.cut_after = []
        self.ranges = []


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.begin(self.server.status, len(self.server.content))

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked else 0
        whole = len(self.server.content)
        headers = {"Content-Range": f"bytes {start}-{whole - 1}/{whole}"} if asked else {}
        self.begin(206 if asked else 200, whole - start, headers)
        keep = self.server.cut_after.pop(0) if self.server.cut_after else whole
        self.wfile.write(self.server.content[start : start + keep])

    def begin(self, status, length, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.server.says_length:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(download, "BLOCK_BYTES", 1000)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(published, folder, on_progress=None):
    with fetched(published, folder, on_progress) as file:
        return file.name, file.read_bytes()


WHOLE = ("weights-1234.pth", CONTENT)


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.name != ".download.lock"]


def test_the_file_arrives_and_goes(server, tmp_path):
    came = []
    assert fetch(server.published, tmp_path / "new", came.append) == WHOLE
    assert sum(came) == len(CONTENT)
    assert left_in(tmp_path / "new") == []


def test_a_cut_connection_is_resumed_at_once(server, tmp_path):
    server.cut_after = [2000, 0]
    assert fetch(server.published, tmp_path) == WHOLE
    assert server.ranges == [None, "bytes=2000-", "bytes=2000-"]


def test_a_cut_download_is_resumed_by_the_next_one(server, tmp_path):
    server.cut_after = [2000, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"cut after 2,000 of .* run the command again"):
        fetch(server.published, tmp_path)
    server.cut_after = []
    server.ranges.clear()
    assert fetch(server.published, tmp_path) == WHOLE
    assert server.ranges == ["bytes=2000-"]
    assert left_in(tmp_path) == []


def test_a_damaged_download_leaves_nothing(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match="arrived damaged") as caught:
        fetch(server.published, tmp_path)
    assert caught.value.exit_code == 6
    assert left_in(tmp_path) == []
    server.content = CONTENT
    assert fetch(server.published, tmp_path) == WHOLE


def test_a_download_that_cannot_be_used_leaves_nothing(server, tmp_path):
    with pytest.raises(ZeroDivisionError), fetched(server.published, tmp_path):
        raise ZeroDivisionError
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses(server, tmp_path, status):
    server.status = status
    with pytest.raises(DownloadError, match=rf"status {status} .*, expected 200; `coos weights"):
        fetch(server.published, tmp_path)


def test_a_server_that_does_not_say_the_size(server, tmp_path):
    server.says_length = False
    with pytest.raises(DownloadError, match="Content-Length '' found"):
        fetch(server.published, tmp_path)


def test_no_network(tmp_path):
    with pytest.raises(DownloadError, match=r"no answer .*`coos weights vgg16 --from FILE`"):
        fetch(published(), tmp_path)


def test_two_downloads_at_once(server, tmp_path):
    with (
        download.alone_in(tmp_path),
        pytest.raises(DownloadError, match="another download into it is running"),
    ):
        fetch(server.published, tmp_path)
    assert fetch(server.published, tmp_path) == WHOLE


def test_too_little_space_is_said_before(server, tmp_path, monkeypatch):
    space = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: space)
    with pytest.raises(OutputError, match=r"1e-07 GB free, .* GB needed; .*COOS_CACHE"):
        fetch(server.published, tmp_path)
    assert server.ranges == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(server.published, tmp_path / "file" / "weights")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, B.1
    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == published
