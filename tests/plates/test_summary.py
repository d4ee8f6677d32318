"""What `coos check` finds in a plate."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from coos_mlflow.cli.plates import print_summary, register
from coos_mlflow.errors import DataError
from coos_mlflow.plates.summary import PERCENTILES, inspect


def rendered(path: Path) -> str:
    file = io.StringIO()
    print_summary(inspect(path), Console(file=file, width=200))
    return file.getvalue()


def test_counts_and_intensities(make_plate, random_cells) -> None:
    images = random_cells(30)
    images[4, 1, :2, :3] = 65535
    seen: list[int] = []
    summary = inspect(make_plate(images=images), seen.append)
    assert sum(seen) == summary.n_cells == 30
    assert summary.plates == {"109": 15, "59": 15}
    assert summary.classes is not None
    assert list(summary.classes.values()) == [5, 5, 4, 4, 4, 4, 4]
    assert summary.n_wells == 6
    assert summary.well_ids is not None and summary.well_ids.note is None
    assert (summary.dtype, summary.missing, summary.simulated) == ("uint16", (), False)
    protein, nucleus = summary.channels
    assert protein.minimum == images[:, 0].min()
    assert protein.maximum == images[:, 0].max()
    assert protein.saturated == 0
    assert nucleus.maximum == 65535
    assert nucleus.saturated == pytest.approx(6 / (30 * 4096))
    assert nucleus.percentiles == pytest.approx(
        dict(zip(PERCENTILES, np.percentile(images[:, 1], PERCENTILES), strict=True))
    )


def test_labels_and_size_of_any_data_set(make_plate, random_cells) -> None:
    labels = np.array([4, 9, 9, -1] * 3)
    images = np.ascontiguousarray(random_cells(12)[..., :48, :48])
    path = make_plate(images=images, labels=labels, attrs={"pixel_size_um": 0.65})
    summary = inspect(path)
    assert (summary.crop, summary.pixel_size, summary.dataset) == (48, 0.65, "")
    assert list(summary.classes.values()) == [3, 6]
    assert summary.unlabelled == 3


def test_intensities_do_not_depend_on_the_batch_of_a_cell(make_plate, random_cells) -> None:
    images = np.tile(random_cells(100), (15, 1, 1, 1))
    images[::400, 0, 0, 0] = 4095 * 4
    images[1400, 0, 0, :2] = 65535
    channel = inspect(make_plate(images=images)).channels[0]
    assert channel.maximum == 65535
    assert channel.saturated == pytest.approx(2 / (1500 * 4096))
    images[1, 0, 0, :5] = 65535
    channel = inspect(make_plate(images=images)).channels[0]
    assert channel.saturated == pytest.approx(7 / (1500 * 4096))


def test_percentiles_come_from_cells_of_the_whole_file(make_plate, random_cells) -> None:
    images = np.tile(random_cells(100), (11, 1, 1, 1))
    images[1000:] += 20_000
    low, _, high = inspect(make_plate(images=images)).channels[0].percentiles.values()
    assert low < 1000 and high > 20_000


def test_wells_count_on_their_plate(make_plate) -> None:
    wells = np.array(["B03", "b3", "002003001", "x"] * 6)
    summary = inspect(make_plate(wells=wells))
    assert summary.n_wells == 4
    assert inspect(make_plate(wells=wells, plates=None)).n_wells == 2
    assert summary.well_ids is not None and summary.well_ids.note == (
        "1 of 4 well ids are not understood as row/column and are kept as names, e.g. 'x'"
    )


def test_what_is_missing_is_said(make_plate) -> None:
    text = rendered(make_plate(labels=None, dates=None, wells=None))
    assert "missing      labels, wellIDs, dateIDs" in text
    assert "SIMULATED" not in text


def test_simulated_is_said(make_plate) -> None:
    assert "SIMULATED" in rendered(make_plate(attrs={"simulated": True}))


def test_names_are_shown_as_they_are(make_plate) -> None:
    wells = np.array(["[red]x[/]"] * 24)
    assert "'[red]x[/]'" in rendered(make_plate(wells=wells, plates=wells))


def test_many_plates_are_cut_short(make_plate) -> None:
    plates = np.array([f"p{i:02d}" for i in range(24)])
    assert "24: p00 (1), p01 (1)" in (text := rendered(make_plate(plates=plates)))
    assert "p07 (1) and 16 more" in text and "p08" not in text


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def test_the_command(make_plate, app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["check", str(make_plate())])
    assert result.exit_code == 0
    assert "Every cell passed the checks." in result.stdout


def test_the_command_raises_what_the_top_prints(tmp_path, app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["check", str(tmp_path / "gone.h5")])
    assert isinstance(result.exception, DataError)
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["check", "download", "unpack", "pack"])
def test_help_has_an_example(app: typer.Typer, command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: coos {command} " in result.stdout


def test_the_real_plate(shared_file) -> None:
    text = rendered(shared_file("real/yeast_cells.hdf5"))
    assert "1,090" in text
    assert "3: AAC1 (366), AAC3 (416), AAP1 (308)" in text
    assert "4 of 4 well ids are not understood" in text
