"""A model that was registered before the modules moved to their rooms still loads and scores.

Its bundle was written by the package as it was then: texture features at one scale, L1 logistic
regression, 661 simulated cells. The cells of its reference were replaced by drawn ones, which
compress well.
"""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest

from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.registry import artifacts, versions
from coos_mlflow.scoring.scorer import Scorer

FOLDER = Path(__file__).parent / "registered_before"


def drawn_cell(number: int) -> np.ndarray:
    """Draw a cell with a disc and stripes, uint16 (2, 64, 64)."""
    y, x = np.mgrid[:64, :64]
    distance = (x - 32) ** 2 + (y - 32) ** 2
    protein = 200 + 40 * (number % 7) + (distance < (10 + number) ** 2) * (500 + 50 * number)
    protein += ((x * (number + 1) + y) % (3 + number % 5)) * 20
    nucleus = 150 + (distance < (8 + number % 5) ** 2) * 900 + (x + y) % 7
    return np.stack([protein, nucleus]).astype(np.uint16)


CELLS = np.stack([drawn_cell(number) for number in range(12)])


def test_its_probabilities_are_those_of_then():
    model = CellModel.load(FOLDER / "bundle")
    expected = json.loads((FOLDER / "expected.json").read_text())
    np.testing.assert_allclose(model.score(CELLS).probabilities, expected, atol=1e-5)


def test_its_digests_are_checked(tmp_path):
    shutil.copytree(FOLDER / "bundle", tmp_path / "bundle")
    with (tmp_path / "bundle" / "model.json").open("a") as file:
        file.write(" ")
    with pytest.raises(LookupError, match=r"model\.json is not the file that was registered"):
        CellModel.load(tmp_path / "bundle")


@pytest.mark.slow
def test_it_scores_a_plate_from_the_registry(own_store, tmp_path):
    folder = tmp_path / bundles.ARTIFACT
    shutil.copytree(FOLDER / "bundle", folder)
    digest = versions.DIGEST
    with mlflow.start_run():
        uri = artifacts.log_model(folder, ["numpy"], "texture-lr").model_uri
    tags = {"fingerprint": "before", "package_version": "0.1.0", "simulated": True}
    tags[digest] = bundles.write_digests(folder)
    versions.register("texture-lr", uri, tags)
    plate = tmp_path / "plate.h5"
    names = np.array(["p"] * 240)
    with PlateWriter(plate, 240) as writer:
        wells = np.array([f"A{1 + n // 40:02d}" for n in range(240)])
        writer.append(
            np.concatenate([CELLS] * 20) + np.arange(240)[:, None, None, None].astype(np.uint16),
            plates=names,
            wells=wells,
        )
    scored = Scorer.load("texture-lr/1").score(plate, tmp_path / "scores")
    assert scored.drift["verdict"] in ("in range", "shifted", "cannot tell")
    assert scored.drift["n_cells"] == 240 and all(file.is_file() for file in scored.files)
