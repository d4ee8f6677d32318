"""`coos dataset init` and `check` as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from noise import described, write_noise
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError, OutputError


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "plates"
    write_noise(folder / "train_1.h5", labels=["actin", "golgi"], plates="P1")
    write_noise(folder / "train_2.h5", labels=["actin", "golgi"], plates="P2")
    write_noise(folder / "later.h5", labels=["actin", "golgi"], plates="P3")
    return folder


def test_init_writes_a_file_that_check_accepts(folder: Path) -> None:
    said = run("dataset", "init", folder)
    assert "2 classes, crops of 48 pixels, 1 reference split" in said
    assert f"coos dataset check {folder}" in said
    said = run("dataset", "check", folder)
    assert "The data can train and test models." in said
    assert "actin" in said and "P2" in said


def test_a_dry_run_prints_the_file_and_writes_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    said = run("dataset", "init", folder, "--dry-run")
    assert "name: plates" in said and "# " in said
    assert sorted(folder.iterdir()) == before


def test_a_file_that_is_there_stays_unless_forced(folder: Path) -> None:
    (folder / "dataset.yaml").write_text("mine")
    with pytest.raises(OutputError, match="is there already; --force replaces it"):
        run("dataset", "init", folder)
    assert (folder / "dataset.yaml").read_text() == "mine"
    run("dataset", "init", folder, "--force")
    assert "mine" not in (folder / "dataset.yaml").read_text()


def test_check_names_every_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    folder = described(tmp_path / "mydata")
    write_noise(folder / "train.h5", labels=[0, 1], plates="P1")
    write_noise(folder / "near.h5", labels=[0, 1], plates="P1")
    with pytest.raises(DataError) as refused:
        run("dataset", "check", folder)
    faults = str(refused.value).splitlines()
    assert len(faults) == 3
    assert "no cell of gamma" in faults[0]
    assert "one plate only" in faults[1]
    assert "shares" in faults[2]


def test_a_folder_without_description_says_how_to_get_one(folder: Path) -> None:
    with pytest.raises(DataError, match="`coos dataset init"):
        run("dataset", "check", folder)
