"""The download of COOS-7, against a local server that speaks Zenodo's API."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from coos_mlflow.cli.plates import register
from coos_mlflow.errors import DownloadError, OutputError
from coos_mlflow.plates import coos7
from coos_mlflow.plates import download as _download

FILES = {
    "COOS7_v1.1_training.hdf5": bytes(range(256)) * 9000,
    "COOS7_v1.1_test1.hdf5": b"test one" * 1000,
    "README.txt": b"",
}


class Server(ThreadingHTTPServer):
    """A record whose behaviour a test can spoil."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.record_url = f"{self.url}/api/records/3386336"
        self.files = dict(FILES)
        self.record: bytes | None = None
        self.record_status = 200
        self.cut_after: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.ignores_range = False
        self.wrong_range = False
        self.requests: list[tuple[str, str | None]] = []

    def entries(self) -> list[dict[str, Any]]:
        return [
            {
                "id": "0b5c",
                "key": name,
                "size": len(content),
                "checksum": "md5:" + hashlib.md5(content).hexdigest(),
                "links": {"self": f"{self.record_url}/files/{name}/content"},
            }
            for name, content in FILES.items()
        ]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/api/records/3386336":
            body = self.server.record
            if body is None:
                body = json.dumps({"id": 3386336, "files": self.server.entries()}).encode()
            self.answer(self.server.record_status, body)
        else:
            self.send_file(self.path.split("/")[-2])

    def send_file(self, name: str) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((name, asked))
        if statuses := self.server.statuses.get(name):
            self.answer(statuses.pop(0), b"")
            return
        content = self.server.files[name]
        start = 0 if asked is None or self.server.ignores_range else int(asked[6:-1])
        headers = {}
        if start or (asked and not self.server.ignores_range):
            said = 0 if self.server.wrong_range else start
            headers["Content-Range"] = f"bytes {said}-{len(content) - 1}/{len(content)}"
        cuts = self.server.cut_after.get(name)
        keep = cuts.pop(0) if cuts else len(content)
        self.answer(206 if headers else 200, content[start:], headers, keep)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, keep: int = 2**40
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:keep])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(_download, "RETRY_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(_download, "BLOCK_BYTES", 1000)
    with Server() as running:
        monkeypatch.setenv("COOS7_RECORD_URL", running.record_url)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def download(folder: Path, on_progress: Callable[[int], None] | None = None) -> list[Path]:
    return coos7.fetch(coos7.plan_download(folder), on_progress)


def assert_complete(folder: Path) -> None:
    assert {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"
    } == (FILES)


def test_all_files_arrive(server: Server, tmp_path) -> None:
    came: list[int] = []
    plan = coos7.plan_download(tmp_path / "new/coos7")
    assert plan.bytes_wanted == sum(map(len, FILES.values()))
    fetched = coos7.fetch(plan, came.append)
    assert [path.name for path in fetched] == list(FILES)
    assert_complete(tmp_path / "new/coos7")
    assert sum(came) == plan.bytes_wanted
    assert fetched[0].stat().st_mode & 0o044, "others on the machine may read it"


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path) -> None:
    download(tmp_path)
    (tmp_path / "COOS7_v1.1_test1.hdf5").write_bytes(b"test two" * 1000)
    server.requests.clear()
    plan = coos7.plan_download(tmp_path)
    assert [file.name for file in plan.present] == ["COOS7_v1.1_training.hdf5", "README.txt"]
    assert plan.bytes_wanted == 8000
    coos7.fetch(plan)
    assert server.requests == [("COOS7_v1.1_test1.hdf5", None)]
    assert_complete(tmp_path)


def test_a_cut_connection_is_resumed_at_once(server: Server, tmp_path) -> None:
    name = "COOS7_v1.1_training.hdf5"
    server.cut_after[name] = [1000, 70_000, 0]
    came: list[int] = []
    download(tmp_path, came.append)
    assert server.requests[:4] == [
        (name, None),
        (name, "bytes=1000-"),
        (name, "bytes=71000-"),
        (name, "bytes=71000-"),
    ]
    assert sum(came) == sum(map(len, FILES.values()))
    assert_complete(tmp_path)


def test_a_cut_download_is_resumed_by_the_next_one(server: Server, tmp_path) -> None:
    name = "COOS7_v1.1_training.hdf5"
    server.cut_after[name] = [5000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"cut after 5,000 of 2,304,000 bytes; run the comm"):
        download(tmp_path)
    assert not (tmp_path / name).exists()
    plan = coos7.plan_download(tmp_path)
    assert plan.bytes_wanted == sum(map(len, FILES.values())) - 5000
    server.cut_after.clear()
    server.requests.clear()
    coos7.fetch(plan)
    assert server.requests[0] == (name, "bytes=5000-")
    assert_complete(tmp_path)


def test_a_server_that_ignores_ranges_starts_over(server: Server, tmp_path) -> None:
    name = "COOS7_v1.1_training.hdf5"
    server.ignores_range = True
    server.cut_after[name] = [3000]
    came: list[int] = []
    download(tmp_path, came.append)
    assert server.requests[1] == (name, "bytes=3000-")
    assert sum(came) == sum(map(len, FILES.values()))
    assert_complete(tmp_path)


def test_a_server_that_sends_another_range(server: Server, tmp_path) -> None:
    server.wrong_range = True
    server.cut_after["COOS7_v1.1_training.hdf5"] = [3000]
    with pytest.raises(DownloadError, match="another part of the file came"):
        download(tmp_path)


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path) -> None:
    name = "COOS7_v1.1_test1.hdf5"
    server.files[name] = b"test 1.0" * 1000
    with pytest.raises(DownloadError, match="arrived damaged") as error:
        download(tmp_path)
    assert error.value.exit_code == 6
    assert [path.name for path in tmp_path.glob("*test1*")] == []
    server.files = dict(FILES)
    download(tmp_path)
    assert_complete(tmp_path)


def test_more_bytes_than_the_record_says(server: Server, tmp_path) -> None:
    server.files["COOS7_v1.1_test1.hdf5"] *= 2
    with pytest.raises(DownloadError, match="more than 8,000 bytes came"):
        download(tmp_path)
    server.files = dict(FILES)
    download(tmp_path)
    assert_complete(tmp_path)


def test_a_passing_fault_of_the_server(server: Server, tmp_path) -> None:
    server.statuses["COOS7_v1.1_test1.hdf5"] = [503, 429]
    download(tmp_path)
    assert_complete(tmp_path)


def test_a_file_that_is_gone(server: Server, tmp_path) -> None:
    server.statuses["COOS7_v1.1_test1.hdf5"] = [404]
    with pytest.raises(DownloadError, match=r"test1\.hdf5/content: status 404 Not Found"):
        download(tmp_path)
    assert not (tmp_path / "COOS7_v1.1_test1.hdf5").exists()


@pytest.mark.parametrize("status", [404, 500])
def test_a_record_that_is_gone(server: Server, tmp_path, status: int) -> None:
    server.record_status = status
    with pytest.raises(DownloadError, match=f"records/3386336: status {status} .*, expected 200"):
        coos7.plan_download(tmp_path)


def test_no_server(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COOS7_RECORD_URL", "http://127.0.0.1:9/record")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/record: no answer"):
        coos7.plan_download(tmp_path)


@pytest.mark.parametrize(
    "record",
    [
        b"<html>busy</html>",
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"files": {"a": 1}}',
        b'{"files": [{"key": "a"}]}',
        b'{"files": [{"key": "a", "size": "x", "checksum": "", "links": {"self": ""}}]}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_no_record(server: Server, tmp_path, record: bytes) -> None:
    server.record = record
    with pytest.raises(DownloadError, match="is no record of files"):
        coos7.plan_download(tmp_path)


def test_a_record_without_files(server: Server, tmp_path) -> None:
    server.record = b'{"files": []}'
    with pytest.raises(DownloadError, match="lists no files"):
        coos7.plan_download(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("key", "../escape.hdf5", "file name '../escape.hdf5' refused"),
        ("key", "/etc/passwd", "file name '/etc/passwd' refused"),
        ("key", "a\\b", "refused, expected a plain name"),
        ("key", ".hidden", "refused, expected a plain name"),
        ("key", "..", "refused, expected a plain name"),
        ("key", "a\n", "refused, expected a plain name"),
        ("key", "", "refused, expected a plain name"),
        ("key", "x" * 300, "refused, expected a plain name"),
        ("checksum", "md5:123", "expected md5 of 32 hexadecimal digits"),
        ("checksum", "sha256:" + "a" * 64, "expected md5 of 32 hexadecimal digits"),
        ("size", -1, "expected md5 of 32 hexadecimal digits and a number of bytes"),
        ("links", {"self": "file:///etc/passwd"}, "address 'file:///etc/passwd' refused"),
        ("links", {"self": "ftp://x/y"}, "address 'ftp://x/y' refused"),
    ],
)
def test_entries_that_are_refused(
    server: Server, tmp_path, field: str, value: object, sentence: str
) -> None:
    server.record = json.dumps({"files": [server.entries()[0] | {field: value}]}).encode()
    with pytest.raises(DownloadError) as caught:
        download(tmp_path)
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == [] and server.requests == []


def test_too_little_space_is_said_before(server: Server, tmp_path, monkeypatch) -> None:
    space = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: space)
    with pytest.raises(OutputError, match=r"0\.001 GB free, 0\.00231 GB needed; free some"):
        download(tmp_path)
    assert server.requests == []


def test_a_disk_that_fills_up(server: Server, small_disk, monkeypatch) -> None:
    folder = small_disk(1_000_000)
    monkeypatch.setattr(coos7, "check_space", lambda plan: None)
    with pytest.raises(OutputError, match="no space left on the disk") as caught:
        download(folder)
    assert caught.value.exit_code == 7
    assert not (folder / "COOS7_v1.1_training.hdf5").exists()


def test_a_folder_that_cannot_be_written(server: Server, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        download(tmp_path / "file/coos7")


def test_a_read_only_folder(server: Server, tmp_path, monkeypatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)"):
        download(tmp_path)


def test_two_downloads_at_once(server: Server, tmp_path) -> None:
    plan = coos7.plan_download(tmp_path)
    with (
        _download.alone_in(tmp_path),
        pytest.raises(DownloadError, match="another download into it is running"),
    ):
        coos7.fetch(plan)


def test_the_command(server: Server, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COOS7_HOME", str(tmp_path / "home"))
    app = typer.Typer()
    register(app)
    dry = CliRunner().invoke(app, ["download", "--dry-run"])
    assert dry.exit_code == 0
    assert "2.3 MB to fetch" in dry.stdout
    assert "CC-BY-NC 4.0" in dry.stdout and "Lu AX" in dry.stdout and "NeurIPS 2019" in dry.stdout
    assert server.requests == [] and not (tmp_path / "home").exists()
    wet = CliRunner().invoke(app, ["download"])
    assert wet.exit_code == 0 and "3 files fetched and verified" in wet.stdout
    assert_complete(tmp_path / "home")
    again = CliRunner().invoke(app, ["download", "--to", str(tmp_path / "home")])
    assert again.exit_code == 0 and "0.0 MB to fetch" in again.stdout
