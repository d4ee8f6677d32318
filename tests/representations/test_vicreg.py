"""VICReg: the published loss, two views of each cell, and training without labels."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn import two_views
from coos_mlflow.representations.nn.deeploc_network import stretch
from coos_mlflow.representations.nn.resnet_network import ResNet
from coos_mlflow.representations.nn.training import TrainingContext
from coos_mlflow.representations.nn.two_views import TwoViews, vicreg_loss
from coos_mlflow.simulate import simulate_plate_cells

CPU = torch.device("cpu")
SMALL = {"width": 0.12, "blocks": 1, "iterations": 50, "batch": 32, "learning_rate": 0.01,
         "check_every": 20, "precision": "fp32"}  # fmt: skip


@pytest.fixture(scope="module")
def training():
    found = simulate_plate_cells(seed=2, wells_per_class=1, cells_per_well=16)
    return CellBatch(0, found["images"], found["labels"], found["plates"], found["wells"])


@pytest.fixture(scope="module")
def curve():
    return []


@pytest.fixture(scope="module")
def trained(training, curve, tmp_path_factory):
    made = create("vicreg", **SMALL)
    folder = tmp_path_factory.mktemp("work")
    made.fit(training, TrainingContext(folder, lambda *point: curve.append(point)))
    return made


def test_the_loss_by_hand():
    one = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # variances 2 and 0, covariance 0
    other = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # variances 1/2 and 1/2, covariance -1/2
    invariance = (0 + 1 + 1 + 0) / 4
    lacking = (0 + 1 - math.sqrt(0.0001)) / 2 + (1 - math.sqrt(0.5001))
    covariance = (0.5**2 + 0.5**2) / 2
    expected = torch.tensor(25 * invariance + 25 * lacking + covariance)
    torch.testing.assert_close(vicreg_loss(one, other), expected)
    torch.testing.assert_close(vicreg_loss(other, one), expected)


def test_it_is_0_where_views_agree_and_dimensions_scatter_apart():
    """Variances of 4/3, and no covariance."""
    scattered = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert float(vicreg_loss(scattered, scattered)) == 0


def test_cells_that_all_have_the_same_embedding_are_punished():
    same = torch.full((8, 3), 0.7)
    torch.testing.assert_close(vicreg_loss(same, same), torch.tensor(25 * 2 * 0.99))
    near = (same + 0.05 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).detach()
    near.requires_grad_()
    vicreg_loss(near, near).backward()
    assert ((near - 0.01 * near.grad).std(dim=0) > near.std(dim=0)).all()


def test_dimensions_that_say_the_same_are_punished():
    """Two equal ones of variance 4/3: each of four covariances is 4/3."""
    column = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    both = torch.cat([column, column], dim=1)
    torch.testing.assert_close(vicreg_loss(both, both), torch.tensor(4 * (4 / 3) ** 2 / 2))


def test_the_encoder_is_that_of_resnet():
    shapes = {name: tensor.shape for name, tensor in ResNet(7, 0.3, 2).state_dict().items()}
    made = TwoViews(0.3, 2).encoder.state_dict()
    assert {name: tensor.shape for name, tensor in made.items()} == {
        name: shape for name, shape in shapes.items() if not name.startswith("logits.")
    }


def test_the_expander_is_four_times_as_wide_as_the_features():
    """8,192 by 2,048 in the paper: three layers, the first two normalised."""
    network = TwoViews(0.25, 1)
    linear = [layer for layer in network.expander if isinstance(layer, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(512, 128), (512, 512), (512, 512)]
    kinds = [type(layer).__name__ for layer in network.expander]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]


def test_the_seed_decides_the_weights():
    first, again, other = (TwoViews(0.1, 1, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    for name in ("encoder.stem.0.weight", "expander.0.weight"):
        assert not torch.equal(first[name], other[name])


def test_what_is_drawn_are_two_views_of_the_cells_asked_for(training, monkeypatch):
    asked = []

    def shifted(cells, rng, pixel_size):
        asked.append(pixel_size)
        return cells + float(rng.random())

    monkeypatch.setattr(two_views, "microscope", shifted)
    made = create("vicreg", **SMALL)
    rows = np.array([5, 3, 90])
    one, other = made.training_task(training, CPU).draw(rows, np.random.default_rng(4))
    numbers = np.random.default_rng(4).random(2)
    for view, number in zip((one, other), numbers, strict=True):
        np.testing.assert_allclose(view, stretch(training.images[rows]) + number, rtol=1e-6)
    assert asked == [made.dataset.pixel_size] * 2


def test_the_loss_is_of_the_embeddings_of_both_views(training):
    task = create("vicreg", **SMALL).training_task(training, CPU)
    one, other = task.draw(np.arange(16), np.random.default_rng(0))
    assert not torch.allclose(one, other)
    expected = vicreg_loss(task.network(one), task.network(other))
    torch.testing.assert_close(task.loss(one, other), expected)


def test_what_is_measured_tells_a_collapse(training):
    task = create("vicreg", **SMALL).training_task(training, CPU)
    task.network.eval()
    with torch.inference_mode():
        before = task.measured()
        assert 0 < before["least_embedding_deviation"] < before["embedding_deviation"]
        task.network.expander[-1].weight[3] = 0
        assert task.measured()["least_embedding_deviation"] == 0
        task.network.expander[-1].weight.zero_()
        assert task.measured() == dict.fromkeys(before, 0.0)


def test_it_trains_without_a_collapse(trained, curve):
    losses = [metrics["loss"] for _, metrics in curve if "loss" in metrics]
    assert losses[-1] < 0.95 * losses[0]
    measured = {i: m["embedding_deviation"] for i, m in curve if "embedding_deviation" in m}
    assert list(measured) == [20, 40, 50]
    summary = trained.training_summary
    assert (summary["loss"], summary["embedding_deviation"]) == (losses[-1], measured[50])
    assert 0 < summary["least_embedding_deviation"] <= summary["embedding_deviation"] < 3
    assert summary["embedding_deviation"] > 0.3


def test_features_are_those_of_the_encoder_and_not_of_the_expander(trained, training):
    found = trained.transform(training.images[:5])
    assert list(found) == ["pool"] and found["pool"].shape == (5, 2 * 31)
    assert not any("expander" in name for name in trained._tensors)
    with torch.inference_mode():
        expected = trained._network.pooled(torch.from_numpy(stretch(training.images[:5])))
    np.testing.assert_allclose(found["pool"], expected, rtol=1e-4, atol=1e-5)


def test_gain_and_offset_of_a_camera_change_no_feature(trained, training):
    some = training.images[:40].astype(np.float32)
    found, other = (trained.transform(images)["pool"] for images in (some, 3 * some + 200))
    np.testing.assert_allclose(other, found, atol=1e-3)


def test_labels_plates_and_wells_are_not_used(training, trained, tmp_path):
    order = np.random.default_rng(0).permutation(len(training))
    assert (training.labels[order] != training.labels).any()
    scrambled = replace(training, labels=training.labels[order], plates=None, wells=None)
    again = create("vicreg", **SMALL)
    again.fit(scrambled, TrainingContext(tmp_path))
    assert again.digest == trained.digest
    assert again.held_out(len(training)).all()


class PowerCut(BaseException):
    """Ends everything at once."""


def test_a_stopped_training_gives_the_same_weights(training, trained, tmp_path):
    def cut(iteration, metrics):
        if iteration == 25:
            raise PowerCut

    stopped = create("vicreg", **SMALL)
    with pytest.raises(PowerCut):
        stopped.fit(training, TrainingContext(tmp_path, cut))
    assert stopped.digest == ""
    stopped.fit(training, TrainingContext(tmp_path))
    assert stopped.digest == trained.digest
    assert stopped.training_summary == trained.training_summary


def test_weights_do_not_depend_on_the_interval_of_checks(training, trained, tmp_path):
    other = create("vicreg", **SMALL | {"check_every": 7})
    other.fit(training, TrainingContext(tmp_path))
    assert other.digest == trained.digest and other.params() == trained.params()


@pytest.mark.parametrize("setting", [{"batch": 1}, {"blocks": 0}, {"weight_decay": 2}])
def test_settings_that_cannot_be_are_refused(setting):
    with pytest.raises(DataError, match="found, expected a "):
        create("vicreg", **setting)
