"""`coos fields`: what is there, as text and as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from field_plates import some_counts, write_harmony
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import CoosError, DataError
from coos_mlflow.fields.sources import source_keys


def coos(*words: object) -> str:
    """Run a command; return what it prints, or raise what it raises."""
    done = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(done.exception, CoosError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, ...]:
    """Two wells with two fields at two depths."""
    return write_harmony(tmp_path, some_counts(depths=2))


def test_all_that_is_there_is_said(tmp_path, written):
    said = coos("fields", tmp_path)
    assert "harmony" in said
    assert "1 plate, 2 wells, 4 fields, 16 images" in said
    assert "1  Alexa 488      ? to 522 nm     2 depths   fluorescence" in said
    assert "2  HOECHST 33342" in said and "nucleus" in said
    assert "0.5 micrometres" in said and "40 x 50 pixels, uint16" in said
    assert "Missing     none" in said
    assert "Channel 1 (Alexa 488) is taken for the protein" in said


def test_the_map_shows_the_fields_of_each_well_where_it_lies(tmp_path, written):
    lines = coos("fields", tmp_path).splitlines()
    start = lines.index("Fields of each well of plate plate 7")
    assert lines[start + 1].split() == [*map(str, range(1, 13))]
    rows = {line.split()[0]: line.split()[1:] for line in lines[start + 2 :]}
    assert [*rows] == list("ABCDEFGH")
    found = {
        f"{row}{column:02d}": cell
        for row, cells in rows.items()
        for column, cell in enumerate(cells, 1)
        if cell != "."
    }
    assert found == {"B03": "2", "H12": "2"}


def test_a_missing_image_is_named(tmp_path, written):
    written[2].unlink()
    said = coos("fields", tmp_path)
    assert f"Missing     1 of 16 images, such as {written[2]}" in said


def test_the_pixel_size_is_asked_for_where_it_is_missing(tmp_path, written):
    index = written[0].parent / "Index.idx.xml"
    index.write_text(index.read_text("utf-8-sig").replace("ImageResolutionX", "Other"))
    assert "not given; --pixel-size gives it" in coos("fields", tmp_path)
    assert "0.25 micrometres" in coos("fields", tmp_path, "--pixel-size", "0.25")


def test_json_holds_the_same_facts(tmp_path, written):
    facts = json.loads(coos("fields", tmp_path, "--json"))
    assert facts["plates"][0]["fields_of_wells"] == {"B03": 2, "H12": 2}
    assert [one["probably"] for one in facts["channels"]] == ["fluorescence", "nucleus"]
    assert facts["pixel_size_um"] == 0.5 and facts["n_missing"] == 0
    assert "unreadable" not in facts


def test_check_opens_every_image_and_names_the_bad_ones(tmp_path, written):
    assert "Unreadable  none" in coos("fields", tmp_path, "--check")
    written[1].write_bytes(written[1].read_bytes()[:-64])
    assert "Unreadable" not in coos("fields", tmp_path)
    done = CliRunner().invoke(app, ["fields", str(tmp_path), "--check"])
    assert f"{written[1]}: its pixels are not all there" in done.output
    assert isinstance(done.exception, DataError)
    assert "1 of 16 images or files cannot be read" in str(done.exception)


def test_a_pattern_reads_other_names(tmp_path):
    for name in ("3_B_1", "3_B_2"):
        (tmp_path / f"{name}.tif").write_bytes(b"")
    said = coos("fields", tmp_path, "--pattern", "{column}_{row}_{field}.tif")
    assert "1 well, 2 fields, 2 images" in said and "none can be read" in said


def test_what_a_terminal_would_act_on_is_not_printed(tmp_path):
    (tmp_path / "B03_\x1b[31m x.tif").write_bytes(b"")
    (tmp_path / "B03_a x.tif").write_bytes(b"")
    assert "\x1b" not in coos("fields", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no such file or folder"),
        ([".", "--source", "lif"], f"--source 'lif' found, expected one of {source_keys()[0]}"),
        ([".", "--pattern", "{well}.tif", "--source", "harmony"], "which takes none"),
        ([".", "--pixel-size", "0"], "--pixel-size 0 found, expected micrometres above 0"),
        ([".", "--pixel-size", "nan"], "--pixel-size nan found"),
        (["https://host/plate", "--source", "harmony"], "reads folders only"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as said:
        coos("fields", *words)
    assert "\n" not in str(said.value)


def test_help_names_every_source_without_numpy():
    code = (
        "import sys; from coos_mlflow.cli.main import app; from typer.testing import CliRunner; "
        "print(CliRunner().invoke(app, ['fields', '--help']).output); "
        "assert 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert all(key in done.stdout for key in source_keys())
