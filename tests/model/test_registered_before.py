"""A model whose reference holds other raw-image figures than today's is refused, in one sentence.

Its bundle was written by the package before its reference had sharpness and noise: texture features
at one scale, L1 logistic regression, 661 simulated cells.
"""

import shutil
from pathlib import Path

import mlflow
import pytest

from coos_mlflow.errors import RegistryError
from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.registry import artifacts, versions
from coos_mlflow.scoring.scorer import Scorer

BUNDLE = Path(__file__).parent / "registered_before" / "bundle"
REFUSED = (
    r"the drift reference of this model version cannot be read \(schema version 3 found, "
    r"expected \d+\); register the model again\.$"
)


def test_it_says_that_the_model_must_be_registered_again():
    with pytest.raises(RegistryError, match=REFUSED):
        CellModel.load(BUNDLE)


def test_its_digests_are_checked_first(tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    with (tmp_path / "bundle" / "model.json").open("a") as file:
        file.write(" ")
    with pytest.raises(LookupError, match=r"model\.json is not the file that was registered"):
        CellModel.load(tmp_path / "bundle")


@pytest.mark.slow
def test_the_scorer_refuses_it_too(own_store, tmp_path):
    folder = tmp_path / bundles.ARTIFACT
    shutil.copytree(BUNDLE, folder)
    with mlflow.start_run():
        uri = artifacts.log_model(folder, ["numpy"], "texture-lr").model_uri
    tags = {"fingerprint": "before", "package_version": "0.1.0", "simulated": True}
    tags[versions.DIGEST] = bundles.write_digests(folder)
    versions.register("texture-lr", uri, tags)
    with pytest.raises(RegistryError, match=REFUSED):
        Scorer.load("texture-lr/1")
