"""Layouts on a cluster: the same bytes as without one, and a bad one scores no cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from result_files import result_files

from coos_mlflow._utils.cluster import connect
from coos_mlflow.errors import DataError
from coos_mlflow.plates.layout import Layout, read_layout
from coos_mlflow.scoring.cluster import score_on
from coos_mlflow.scoring.scorer import Scorer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def scorer(trained) -> Scorer:
    return Scorer.load("texture-lr")


def layout(folder: Path, well: str) -> Layout:
    path = folder / "layout.csv"
    path.write_text(f"well,compound\n{well},DMSO\n")
    return read_layout(path)


def test_workers_join_a_layout_and_replace_another(machines, scorer, make_plate, tmp_path):
    plate, treated = make_plate("a.h5", 100), layout(tmp_path, "B03")
    alone = scorer.score(plate, tmp_path / "alone", layout=treated)
    machines.worker()
    with connect(machines.address, 1) as client:
        (plain,) = score_on(client, scorer, [plate], tmp_path / "out")
        assert plain.drift["layout"] is None
        (joined,) = score_on(client, scorer, [plate], tmp_path / "out", layout=treated)
        wrong = layout(tmp_path, "H12")
        (refused,) = score_on(client, scorer, [plate], tmp_path / "none", layout=wrong)
    assert result_files(joined.folder) == result_files(alone.folder)
    assert joined.drift["layout"]["columns"] == ["compound"]
    assert isinstance(refused, DataError)
    assert "well H12 found" in str(refused)
    assert not (tmp_path / "none").exists()
