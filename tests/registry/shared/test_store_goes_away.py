"""A server that is killed while a row is fitted and a plate is scored; nothing of it is lost."""

import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from stores import forget_experiment
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import RunNotLoggedError
from coos_mlflow.registry import outbox, retry
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training import train
from coos_mlflow.training.data import choose

COOS = Path(sys.executable).parent / "coos"


def sync(*options: str) -> str:
    done = CliRunner().invoke(app, ["sync", *options])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def fit(trained, kind):
    texture, data = create("texture"), choose(str(trained.data))
    rows = train.rows_of(texture, [kind])
    return train.train_rows(texture, data, rows=rows, overrides={"cv_folds": 2, "seed": 3})


@pytest.mark.slow
def test_a_killed_server_costs_no_result(
    trained, new_plate, tmp_path, monkeypatch, start_server, empty_store
):
    forget_experiment(monkeypatch)
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    database = f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    server = start_server(database, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    fit(trained, "lr")
    scorer = Scorer.load("texture-lr")
    keep = outbox.keep

    def keep_and_kill(*row):
        server.end()
        return keep(*row)

    monkeypatch.setattr(outbox, "keep", keep_and_kill)
    with pytest.raises(RunNotLoggedError, match=r"texture-knn\): fitted and kept in .*`coos sync`"):
        fit(trained, "knn")
    with pytest.raises(RunNotLoggedError, match=r"results are there.*`coos sync`"):
        scorer.score(new_plate, tmp_path / "scores")
    assert len(pd.read_parquet(tmp_path / "scores" / "new_plate" / "predictions.parquet")) == 160
    away = subprocess.run([COOS, "sync"], capture_output=True, text=True, check=False)
    assert away.returncode == 3 and "does not answer" in away.stderr
    assert len(away.stderr.splitlines()) == 1

    monkeypatch.setenv("MLFLOW_TRACKING_URI", start_server(database, tmp_path).uri)
    elsewhere = sync()  # the same store under another address
    assert elsewhere.count("--any-store logs it here") == 2
    back = sync("--any-store")
    assert "registered texture-knn version 1" in back
    assert f"logged {tmp_path}/scores/new_plate as run" in back
    assert "nothing waits" in sync()
    assert Scorer.load("texture-knn").model.version == "1"
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    finished = sorted(r.info.run_name for r in runs if r.info.status == "FINISHED")
    assert finished == ["score new_plate", "texture", "texture-knn haralick", "texture-lr haralick"]
