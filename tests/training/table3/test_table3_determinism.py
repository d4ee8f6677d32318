"""The same cells and seed give the same table, byte for byte, where nothing is known of either."""

from __future__ import annotations

from pathlib import Path

import pytest

from coos_mlflow.representations.deeploc import DeepLoc
from coos_mlflow.training.data import choose
from coos_mlflow.training.table3.files import CONFUSIONS, files_of, pages_of
from coos_mlflow.training.table3.rows import Table, all_lines, choose_lines

TINY = {"width": 0.03, "iterations": 8, "batch": 16, "check_every": 4, "crops": 1}
SEARCH = {"search_samples": 2, "cv_folds": 2}
ROWS = "deeploc,deeploc-fc2-rf"


@pytest.fixture
def make_anew(trained, tmp_path, monkeypatch, use_store):
    """Factory ``make_anew(name)`` of tables filled with a cache and a store of their own."""
    monkeypatch.setitem(DeepLoc.presets, "quick", TINY)

    def made(name: str) -> tuple[Table, Path]:
        home = tmp_path / name
        home.mkdir()
        monkeypatch.setenv("COOS_CACHE", str(home / "cache"))
        use_store(home)
        lines = choose_lines(all_lines("quick"), ROWS)
        data, out = choose(str(trained.data)), home / "table"
        settings = {"preset": "quick", "seeds": (3,), "settings": SEARCH}
        return pages_of(data.dataset).make(
            lines, data, out, **settings, say=lambda words: None
        ), out

    return made


@pytest.mark.slow
def test_rows_trained_twice_make_the_same_files(make_anew, monkeypatch):
    taught, fit = [], DeepLoc.fit

    def counted(self, training, context):
        taught.append(self.params()["iterations"])
        fit(self, training, context)

    monkeypatch.setattr(DeepLoc, "fit", counted)
    (first, here), (second, there) = make_anew("first"), make_anew("second")
    assert taught == [TINY["iterations"]] * 2
    rows = [row for table in (first, second) for entry in table.entries for row in entry.rows]
    assert len(rows) == 4 and all(row.trained for row in rows)
    files = [file for file in files_of(first.dataset) if file != CONFUSIONS]
    assert len(files) == 6
    for file in files:
        assert (here / file).read_bytes() == (there / file).read_bytes(), file
