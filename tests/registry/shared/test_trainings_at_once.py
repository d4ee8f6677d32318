"""`coos train` in several processes that share a fresh store, the data and a cache."""

from __future__ import annotations

import os

import pytest
from forks import Forks
from mlflow import MlflowClient

from coos_mlflow.registry import versions

TRAININGS = int(os.environ.get("COOS_TRAININGS", "3"))
"""How many; eight take a minute on two cores."""

COMMAND = ["coos", "train", "texture", "--classifiers", "lr", "--cv-folds", "2"]

IMPORTED = [
    "coos_mlflow.cli.main",
    "coos_mlflow.training.train",
    "coos_mlflow.representations.texture",
]


@pytest.mark.slow
def test_trainings_at_once_make_each_model_once(trained, tmp_path, monkeypatch):
    """Two of each seed but the last; the SQLite file is one that nobody has migrated."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/fresh/mlflow.db")
    seeds = [number // 2 for number in range(TRAININGS)]
    with Forks(IMPORTED) as forks:
        trainings = [
            forks.start(
                "from coos_mlflow.cli.main import coos; coos()",
                [*COMMAND, "--data", trained.data, "--seed", seed],
                folder=tmp_path,
                said=tmp_path / f"said-{number}",
                errors=tmp_path / f"errors-{number}",
            )
            for number, seed in enumerate(seeds)
        ]
        codes = [training.wait() for training in trainings]
    assert codes == [0] * TRAININGS, [path.read_text() for path in tmp_path.glob("errors-*")]
    made = versions.versions("texture-lr")
    trained_with = [MlflowClient().get_run(version.run_id).data.params["seed"] for version in made]
    assert sorted(trained_with) == sorted(set(map(str, seeds)))
    assert len({version.tags["fingerprint"] for version in made}) == len(made)
    champion = versions.resolve("texture-lr")
    errors = [float(version.tags["left_out_error"]) for version in made]
    assert float(champion.tags["left_out_error"]) == min(errors)
