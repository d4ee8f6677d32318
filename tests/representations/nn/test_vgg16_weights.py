"""Published weights: cut, damaged and refused downloads, and files of another kind."""

import hashlib
import io
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from coos_mlflow.errors import DataError, DownloadError, OutputError
from coos_mlflow.plates import download
from coos_mlflow.representations.nn.vgg16_weights import Published, obtain

SHAPES = {"features.0.weight": (64, 3, 3, 3), "features.0.bias": (64,)}


def state_dict(**others):
    generator = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in SHAPES.items()}
    return tensors | {"classifier.0.weight": torch.full((10, 10), float("nan"))} | others


def saved(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def published(content, url="http://127.0.0.1:9/weights-1234.pth"):
    return Published(
        key="vgg16",
        title="VGG16",
        url=url,
        sha256=hashlib.sha256(content).hexdigest()[:8],
        megabytes=1,
        licence="",
        citation="",
        shapes=SHAPES,
    )


class Server(ThreadingHTTPServer):
    """One file, sent with faults that a test asks for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = saved(state_dict())
        self.published = published(
            self.content, f"http://127.0.0.1:{self.server_address[1]}/models/weights-1234.pth"
        )
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


def assert_all_there(tensors):
    expected = state_dict()
    assert tensors.keys() == SHAPES.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in SHAPES)


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.name != ".download.lock"]


def test_the_wanted_tensors_arrive_and_the_download_goes(server, tmp_path):
    came = []
    assert_all_there(obtain(server.published, tmp_path / "new", on_progress=came.append))
    assert sum(came) == len(server.content)
    assert left_in(tmp_path / "new") == []


def test_a_cut_connection_is_resumed_at_once(server, tmp_path):
    server.cut_after = [2000, 0]
    assert_all_there(obtain(server.published, tmp_path))
    assert server.ranges == [None, "bytes=2000-", "bytes=2000-"]


def test_a_cut_download_is_resumed_by_the_next_one(server, tmp_path):
    server.cut_after = [2000, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"cut after 2,000 of .* run the command again"):
        obtain(server.published, tmp_path)
    server.cut_after = []
    server.ranges.clear()
    assert_all_there(obtain(server.published, tmp_path))
    assert server.ranges == ["bytes=2000-"]
    assert left_in(tmp_path) == []


def test_a_damaged_download_leaves_nothing(server, tmp_path):
    whole = server.content
    server.content = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(DownloadError, match="arrived damaged") as caught:
        obtain(server.published, tmp_path)
    assert caught.value.exit_code == 6
    assert left_in(tmp_path) == []
    server.content = whole
    assert_all_there(obtain(server.published, tmp_path))


def test_a_download_that_holds_something_else_leaves_nothing(server, tmp_path):
    server.content = saved([1, 2])
    with pytest.raises(DataError, match="list found"):
        obtain(published(server.content, server.published.url), tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses(server, tmp_path, status):
    server.status = status
    with pytest.raises(DownloadError, match=rf"status {status} .*, expected 200; `coos weights"):
        obtain(server.published, tmp_path)


def test_a_server_that_does_not_say_the_size(server, tmp_path):
    server.says_length = False
    with pytest.raises(DownloadError, match="Content-Length '' found"):
        obtain(server.published, tmp_path)


def test_no_network(tmp_path):
    with pytest.raises(DownloadError, match=r"no answer .*`coos weights vgg16 --from FILE`"):
        obtain(published(b""), tmp_path)


def test_two_downloads_at_once(server, tmp_path):
    with (
        download.alone_in(tmp_path),
        pytest.raises(DownloadError, match="another download into it is running"),
    ):
        obtain(server.published, tmp_path)
    assert_all_there(obtain(server.published, tmp_path))


def test_too_little_space_is_said_before(server, tmp_path, monkeypatch):
    space = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: space)
    with pytest.raises(OutputError, match=r"1e-07 GB free, .* GB needed; .*COOS_CACHE"):
        obtain(server.published, tmp_path)
    assert server.ranges == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        obtain(server.published, tmp_path / "file" / "weights")


def read(folder, content, expected=None):
    file = folder / "given.pth"
    file.write_bytes(content)
    return obtain(published(content if expected is None else expected), folder / "none", file)


def test_a_given_file_needs_no_network_and_stays(tmp_path):
    assert_all_there(read(tmp_path, saved(state_dict())))
    assert left_in(tmp_path) == ["given.pth"]


def test_half_precision_becomes_single(tmp_path):
    halves = {key: tensor.half() for key, tensor in state_dict().items()}
    assert {t.dtype for t in read(tmp_path, saved(halves)).values()} == {torch.float32}


def test_a_given_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"none\.pth: no such file, expected a copy of http"):
        obtain(published(b""), tmp_path, tmp_path / "none.pth")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_given_file_that_is_cut_or_another(tmp_path, keep):
    whole = saved(state_dict())
    with pytest.raises(DataError, match=r"given\.pth: SHA-256 .* found, expected .*: it is cut"):
        read(tmp_path, whole[:keep], expected=whole)


class Harmful:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be read, expected a state dict"),
        (b"no weights", "cannot be read, expected a state dict"),
        (saved(state_dict())[:-100], "cannot be read, expected a state dict"),
        (saved({"features.0.weight": Harmful()}), "cannot be read, expected a state dict"),
        (saved(torch.zeros(3)), "Tensor found, expected a state dict"),
        (saved({}), r"features\.0\.weight is missing, expected a tensor of shape \(64, 3, 3, 3\)"),
        (saved(state_dict(**{"features.0.weight": 3})), "weight is int, expected a tensor"),
        (
            saved(state_dict(**{"features.0.weight": torch.zeros(64, 1, 3, 3)})),
            r"weight is of shape \(64, 1, 3, 3\), expected",
        ),
        (
            saved(state_dict(**{"features.0.bias": torch.zeros(64, dtype=torch.int64)})),
            "bias holds values that are not finite",
        ),
        (
            saved(state_dict(**{"features.0.bias": torch.full((64,), float("inf"))})),
            "bias holds values that are not finite",
        ),
    ],
)
def test_files_that_hold_no_such_weights(tmp_path, content, sentence, capsys):
    with pytest.raises(DataError, match=sentence) as caught:
        read(tmp_path, content)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert "code was run" not in capsys.readouterr().out
