"""The copy of a model that is verified and loaded: it goes with its scorer, whatever happens."""

import gc
import tempfile
from pathlib import Path

import mlflow
import pytest

from coos_mlflow.errors import OutputError, RegistryError
from coos_mlflow.scoring import scorer as scoring


def test_the_copy_of_a_model_goes_with_its_scorer(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scorer = scoring.Scorer.load("texture-lr")
    assert scorer.bundle.is_relative_to(tmp_path)
    del scorer
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:

        def interrupted(*_, dst_path):
            (Path(dst_path) / "half").touch()
            raise KeyboardInterrupt

        patch.setattr(mlflow.artifacts, "download_artifacts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scoring.Scorer.load("texture-lr")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(scoring.bundles, "find", lambda _: None)
    with pytest.raises(RegistryError, match="holds no artifacts/bundle"):
        scoring.Scorer.load("texture-lr")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match="No temporary folder can be made"):
        scoring.Scorer.load("texture-lr")


def test_no_room_for_the_copy_of_a_model_is_said(trained, small_disk, monkeypatch):
    disk = small_disk(100_000)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with pytest.raises(OutputError, match=f"{disk}: no room for a copy of texture-lr"):
        scoring.Scorer.load("texture-lr")
    assert list(disk.iterdir()) == []
