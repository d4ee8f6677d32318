"""Streams that show too little, are full, closed, or read by nobody: no result is lost by them."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forks import Forks
from typer.testing import CliRunner
from waiting import PATIENCE

from coos_mlflow._utils import streams
from coos_mlflow.cli.main import app
from coos_mlflow.registry.results import RESULTS

BIN = Path(sys.executable).parent
NAMES = ("細胞", "emoji\U0001f52c", "a\u0308")
"""Plates in Japanese, with an emoji, and with a decomposed ä."""

IMPORTED = [
    *(
        "coos_mlflow.cli.main",
        "coos_mlflow.scoring.scorer",
        "coos_mlflow.scoring.overview",
        "coos_mlflow.cli.tables",
    ),
    *("coos_mlflow.cli.model_tables", "coos_mlflow.simulate"),
    *("coos_mlflow.reports.history_figure", "coos_mlflow.registry.comparison"),
    "coos_mlflow.representations.texture",
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
]

CLOSED = "import os, sys; os.close(1); sys.stdout = sys.__stdout__ = None\n"
STREAMS = {
    "as they are": "",
    "ascii": "import sys; sys.stdout.reconfigure(encoding='ascii', errors='strict')",
    "full": "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)",
    "closed": CLOSED,
    "both closed": f"{CLOSED}os.close(2); sys.stderr = sys.__stderr__ = None",
    "no reader": "import os; end, pipe = os.pipe(); os.close(end); os.dup2(pipe, 1)",
}
"""What makes the streams of a process so, as Python would find them."""

REASONS = {"full": "No space left", "closed": "it is closed"}

Run = Callable[..., int]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(IMPORTED) as forks:
        yield forks


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> Run:
    """Run a command whose streams are one of `STREAMS`; returns its exit code.

    What it prints lies in `said` and `errors`.
    """

    def run(streams_are: str, *words: object) -> int:
        code = f"{STREAMS[streams_are]}\nfrom coos_mlflow.cli.main import coos\ncoos()"
        files = {"said": tmp_path / "said", "errors": tmp_path / "errors"}
        return forks.start(code, ["coos", *words], folder=tmp_path, **files).wait()

    return run


def bash(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | environment
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def is_one_sentence(errors: str, reason: str) -> None:
    assert errors.startswith("error: stdout could not be written") and errors.count("\n") == 1
    assert reason in errors


# Scoring


@pytest.mark.parametrize(
    ("streams_are", "code"),
    [("ascii", 0), ("full", 10), ("closed", 10), ("both closed", 10), ("no reader", 0)],
)
def test_every_plate_is_scored_whatever_stdout_is(
    trained, make_plate, run, tmp_path, streams_are, code
):
    plates = [make_plate(f"{name}.h5", 12) for name in NAMES]
    ended = run(streams_are, "score", *plates, "--model", "texture-lr", "--out", "out")
    errors = (tmp_path / "errors").read_text()
    assert ended == code, errors
    for name in NAMES:
        assert {path.name for path in (tmp_path / "out" / name).iterdir()} == set(RESULTS)
    assert (tmp_path / "out" / "overview.html").exists()
    if streams_are == "ascii":
        said = (tmp_path / "said").read_bytes().decode("ascii")
        assert r"out/\u7d30\u80de/report.html" in said
    if streams_are in REASONS:
        is_one_sentence(errors, REASONS[streams_are])
    else:
        assert errors == ""


def test_a_plate_that_meets_a_condition_keeps_its_exit_code(trained, make_plate, run, tmp_path):
    words = [make_plate(), "--model", "texture-lr", "--out", "out", "--fail-on", "cannot-tell"]
    assert run("full", "score", *words) == 4
    assert "No space left" in (tmp_path / "errors").read_text().splitlines()[-1]


def test_an_out_folder_whose_name_is_no_text_is_refused_at_once(trained, make_plate, run, tmp_path):
    out = os.fsdecode(b"out\xff")
    assert run("as they are", "score", make_plate(), "--model", "texture-lr", "--out", out) == 7
    errors = (tmp_path / "errors").read_text()
    assert r"'out\udcff/plate'" in errors and errors.count("\n") == 1
    assert not (tmp_path / out).exists()


# The other commands


OTHERS = [
    ("full", "models list"),
    ("closed", "models show texture-lr"),
    ("full", "models compare texture-lr texture-rf"),
    ("closed", "models prune texture-lr --dry-run"),
    ("full", "drift history --model texture-lr"),
    ("closed", "sync --dry-run"),
    ("full", "train --data data --classifiers lr --search-samples 2 --cv-folds 2"),
    ("closed", "simulate-plate new.h5 --wells 1 --cells 1 --classes 0"),
    ("full", "contact-sheet data new.png"),
    ("closed", "unpack plate.h5 new"),
    ("full", "unpack plate.h5 new"),
]


@pytest.mark.parametrize(("streams_are", "command"), OTHERS)
def test_a_command_does_its_work_when_stdout_is_full_or_closed(
    trained, make_plate, run, tmp_path, streams_are, command
):
    make_plate()
    (tmp_path / "data").symlink_to(trained.data)
    ended = run(streams_are, *command.split())
    errors = (tmp_path / "errors").read_text()
    assert ended == 10, errors
    is_one_sentence(errors, REASONS[streams_are])
    assert ("new" in command) == bool(list(tmp_path.glob("new*")))


def test_a_reader_that_has_enough_of_a_list_is_no_error(trained, tmp_path, run):
    assert run("no reader", "models", "list", "--json") == 0
    assert (tmp_path / "errors").read_text() == ""


@pytest.mark.parametrize("columns", ["0", "1", "20"])
def test_a_very_narrow_terminal_is_no_error(trained, make_plate, columns):
    plate = str(make_plate("細胞.h5"))
    for words in (
        ["models", "list"],
        ["models", "show", "texture-lr"],
        ["check", plate],
        ["--help"],
    ):
        done = CliRunner().invoke(app, words, env={"COLUMNS": columns})
        assert done.exit_code == 0, done.output


# As a shell closes streams


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("coos check plate.h5 >&-", 10),
        ("coos check plate.h5 >/dev/full", 10),
        ("coos check plate.h5 2>&-", 0),
        ("coos check plate.h5 2>/dev/full", 0),
        ("coos check plate.h5 >&- 2>&- <&-", 10),
        ("coos check none.h5 2>&-", 2),
        ("coos check none.h5 >&- 2>/dev/full", 2),
        ("coos nonsense 2>&-", 2),
        ("coos models prune texture-lr/1 <&- 2>&- --tracking-uri sqlite:///none.db", 3),
        ("coos --help >/dev/full", 10),
        ("coos-score --help >&-", 10),
        ("coos --version >/dev/full", 10),
        ("set -o pipefail; coos --help | true", 0),
    ],
)
def test_a_shell_gets_a_documented_exit_code(make_plate, tmp_path, command, code):
    make_plate()
    done = bash(tmp_path, command)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if code == 10 and "2>" not in command:
        is_one_sentence(done.stderr, REASONS["closed" if ">&-" in command else "full"])


def test_nothing_is_written_into_a_file_that_takes_the_number_of_a_closed_stream(
    make_plate, tmp_path
):
    """HDF5 and SQLite would open theirs as number 1, and a library's print would damage it."""
    code = (
        "import os; from coos_mlflow._utils import streams; streams.make_safe();"
        "file = os.open('kept', os.O_WRONLY | os.O_CREAT); os.write(1, b'x'); os.write(2, b'x')"
    )
    assert bash(tmp_path, f'python -c "{code}" >&- 2>&- <&-').returncode == 0
    assert (tmp_path / "kept").read_bytes() == b""


def test_a_name_that_the_terminal_cannot_show_is_escaped(make_plate, tmp_path):
    make_plate("細胞.h5")
    for encoding in ("ascii", "latin-1"):
        done = bash(tmp_path, "coos check 細胞.h5", PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert r"\u7d30\u80de.h5" in done.stdout and done.stdout.isascii()


# The stream itself


@pytest.fixture
def ascii_stream() -> tuple[streams._Safe, io.BytesIO]:
    streams.make_safe()
    written = io.BytesIO()
    return streams._Safe(io.TextIOWrapper(written, "ascii")), written


def test_ranges_stay_legible_in_ascii(ascii_stream):
    stream, written = ascii_stream
    print("11.0–12.0 ± 0.3 µm 細…", file=stream, flush=True)
    assert written.getvalue() == rb"11.0-12.0 +- 0.3 \xb5m \u7d30." + b"\n"


def test_a_question_can_be_asked_and_answered_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    code = (
        "import sys; from coos_mlflow._utils import streams; streams.make_safe();"
        "print(input('細胞? ') + '!', sys.stdout.isatty())"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"yes\n")
        assert process.wait(PATIENCE) == 0
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "細胞? " in said and "yes! True" in said
