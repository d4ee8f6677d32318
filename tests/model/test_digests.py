"""A model's files are those that were registered, or none of them is loaded."""

import shutil
from pathlib import Path

import mlflow
import pytest

from coos_mlflow._utils.versions import __version__
from coos_mlflow.errors import RegistryError
from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.digests import DIGESTS, check_digests, write_digests
from coos_mlflow.registry import versions
from coos_mlflow.scoring.scorer import Scorer


@pytest.fixture
def bundle(trained, tmp_path):
    """A copy of the model's files; anything that reads one before its digest fails."""
    files = Path(mlflow.artifacts.download_artifacts(trained.row("texture-rf").model.uri))
    copy = tmp_path / "bundle"
    shutil.copytree(bundles.find(files), copy)
    return copy


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def loaded(*_args, **_options):
        raise AssertionError("was loaded")

    monkeypatch.setattr(bundles._skops, "load", loaded)
    monkeypatch.setattr(bundles.Reference, "load", loaded)


def files_of(bundle: Path) -> list[Path]:
    return [path for path in sorted(bundle.rglob("*")) if path.is_file() and path.name != DIGESTS]


def test_the_registry_knows_the_digest_of_what_was_logged(trained, bundle):
    model = trained.row("texture-rf").model
    assert len(model.digest) == 64
    check_digests(bundle, model.digest)
    assert write_digests(bundle) == model.digest


def test_a_flipped_bit_of_any_file_is_refused_before_it_is_loaded(bundle, nothing_is_loaded):
    assert len(files_of(bundle)) >= 4
    for path in files_of(bundle):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            flipped = bytearray(whole)
            flipped[place] ^= 1
            path.write_bytes(flipped)
            with pytest.raises(RegistryError, match=f"{path.name} is not the file that"):
                CellModel.load(bundle)
        path.write_bytes(whole)
    with pytest.raises(AssertionError, match="was loaded"):
        CellModel.load(bundle)


def test_a_file_that_was_added_or_taken_away_is_named(bundle, nothing_is_loaded):
    (bundle / "more.skops").write_bytes(b"")
    with pytest.raises(RegistryError, match=r"more\.skops was added"):
        CellModel.load(bundle)
    (bundle / "more.skops").unlink()
    (bundle / "classifier.skops").unlink()
    with pytest.raises(RegistryError, match=r"classifier\.skops is missing"):
        CellModel.load(bundle)


@pytest.mark.parametrize("said", [b"", b"[]", b"\xff", b"[" * 5000, b'{"a": 1}'])
def test_digests_that_cannot_be_read_are_no_digests(bundle, nothing_is_loaded, said):
    (bundle / DIGESTS).write_bytes(said)
    with pytest.raises(RegistryError, match="train it again"):
        CellModel.load(bundle)


def test_files_of_another_model_under_new_digests_are_refused_by_the_registry(trained, bundle):
    """Who can write the artifacts can write the list of digests too, but not the registry."""
    other = trained.row("texture-knn").model
    write_digests(bundle)
    with pytest.raises(RegistryError, match="not the one that was registered"):
        CellModel.load(bundle, other.digest)


def test_tampered_artifacts_are_refused_by_the_scorer(trained, tmp_path, monkeypatch):
    model = trained.row("texture-lr").model
    files = tmp_path / "files"
    shutil.copytree(mlflow.artifacts.download_artifacts(model.uri), files)

    def fetched(_, dst_path):
        shutil.copytree(files, dst_path, dirs_exist_ok=True)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fetched)
    assert Scorer.load("texture-lr").model.digest == model.digest
    found = bundles.find(files)
    found.joinpath("model.json").write_text(found.joinpath("model.json").read_text() + " ")
    write_digests(found)
    with pytest.raises(RegistryError, match="not the one that was registered"):
        Scorer.load("texture-lr")


def test_a_version_of_another_release_is_refused_with_what_to_install(trained, monkeypatch):
    real = versions.resolve

    def older(asked):
        found = real(asked)
        found.tags["package_version"] = "0.0.9"
        return found

    monkeypatch.setattr(versions, "resolve", older)
    with pytest.raises(RegistryError, match=f"0.0.9, which {__version__}.*install"):
        Scorer.load("texture-lr")
