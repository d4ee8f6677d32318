"""The fusion of representations."""

import json

import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.training import TrainingContext
from coos_mlflow.simulate import simulate_plate_cells

MEMBERS = ("pci", "texture")


@pytest.fixture(scope="module")
def cells():
    plate = simulate_plate_cells(seed=4, wells_per_class=1, cells_per_well=6)
    return CellBatch(
        0, plate["images"], labels=plate["labels"], plates=plate["plates"], wells=plate["wells"]
    )


@pytest.fixture(scope="module")
def fused(cells, tmp_path_factory):
    made = create("fusion", "quick", members=MEMBERS)
    made.fit(cells, TrainingContext(tmp_path_factory.mktemp("fusion")))
    return made


def test_it_joins_the_last_layers_of_its_members_in_their_order(fused, cells):
    (joined,) = fused.transform(cells.images).values()
    pci, texture = (part.transform(cells.images) for part in fused.parts)
    np.testing.assert_array_equal(joined, np.hstack([pci["conv5"], texture["haralick"]]))


def test_a_member_learns_what_it_learns_alone(fused, cells, tmp_path):
    alone = create("pci", "quick")
    alone.fit(cells, TrainingContext(tmp_path))
    assert fused.parts[0].digest == alone.digest
    assert fused.training_summary["pci_loss"] == alone.training_summary["loss"]


def test_a_saved_fusion_keeps_the_settings_of_its_members(fused, cells, tmp_path):
    """A later version may have other presets."""
    fused.save(tmp_path)
    saved = json.loads((tmp_path / "members.json").read_text())
    saved["texture"]["scales"] = [1]
    (tmp_path / "members.json").write_text(json.dumps(saved))
    again = create("fusion", "paper", members=MEMBERS)
    again.restore(tmp_path)
    (joined,) = again.transform(cells.images).values()
    pci = fused.parts[0].transform(cells.images)["conv5"]
    np.testing.assert_array_equal(joined[:, : pci.shape[1]], pci)
    assert joined.shape[1] == pci.shape[1] + len(create("texture", scales=[1]).feature_names())


def test_other_members_make_another_model():
    assert create("fusion").name == "fusion" and create("fusion").title == "Fusion"
    other = create("fusion", members=MEMBERS)
    assert other.name == "fusion-pci-texture" and other.title == "Fusion, pci + texture"


def test_it_needs_the_packages_of_its_members_and_changes_with_their_versions():
    assert create("fusion", members=["texture"]).packages == ("numba",)
    fused = create("fusion", members=MEMBERS)
    assert {"numba", "torch"} <= set(fused.packages)
    for key in MEMBERS:
        assert f"{key} {create(key).version}" in fused.version


def test_cells_that_taught_a_member_are_not_held_out(cells, tmp_path):
    small = {"width": 0.03, "iterations": 4, "batch": 16, "check_every": 2}
    made = create("fusion", members=["texture", "deeploc"])
    made.parts = (made.parts[0], create("deeploc", **small))
    made.fit(cells, TrainingContext(tmp_path))
    held_out = made.held_out(len(cells))
    np.testing.assert_array_equal(held_out, made.parts[1].held_out(len(cells)))
    assert not held_out.all()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["texture", "dino"], "expected some of .*; 'dino' is none of them"),
        (["texture", "fusion"], "'fusion' is none of them"),
        (["texture", "texture"], "expected each once"),
    ],
)
def test_members_that_cannot_be_joined_are_refused(members, said):
    with pytest.raises(DataError, match=said):
        create("fusion", members=members)
