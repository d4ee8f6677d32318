"""A model whose reference holds other raw-image figures than today's is refused, in one sentence.

Its bundle was written by the package before its reference had sharpness and noise: texture features
at one scale, L1 logistic regression, 661 simulated cells.
"""

import shutil
from pathlib import Path

import pytest

from coos_mlflow.errors import RegistryError
from coos_mlflow.model.cell_model import CellModel

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
