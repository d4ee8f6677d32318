"""ResNet: its size and crops, its training, and the plates that it holds out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.inference import inference_network
from coos_mlflow.representations.nn.networks import count_parameters
from coos_mlflow.representations.nn.resnet_network import ResNet
from coos_mlflow.representations.nn.training import TrainingContext
from coos_mlflow.simulate import simulate_plate_cells

SMALL = {"width": 0.12, "blocks": 1, "batch": 32, "check_every": 20, "precision": "fp32",
         "hold_out": "plates"}  # fmt: skip


@pytest.fixture(scope="module")
def training():
    """Three plates of all classes."""
    parts = [simulate_plate_cells(seed=s, wells_per_class=1, cells_per_well=16) for s in range(3)]
    n = len(parts[0]["images"])
    return CellBatch(
        0,
        np.concatenate([part["images"] for part in parts]),
        labels=np.concatenate([part["labels"] for part in parts]),
        plates=np.repeat(["1", "2", "3"], n),
    )


@pytest.fixture(scope="module")
def trained(training, tmp_path_factory):
    made = create("resnet", iterations=80, **SMALL)
    made.fit(training, TrainingContext(tmp_path_factory.mktemp("work")))
    return made


@pytest.mark.parametrize(("blocks", "layers"), [(1, 8), (2, 14)])
def test_it_has_few_layers(blocks, layers):
    network = ResNet(7, blocks=blocks)
    shortcuts = sum(
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        for module in network.modules()
    )
    weighted = sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in network.modules())
    assert (weighted - shortcuts, shortcuts) == (layers, 3)


def test_its_parameters_by_hand():
    """Width 1, one block: stem, three stages, shortcuts, normalisations, one linear layer."""
    stages = 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256
    convolutions = 9 * (2 * 32 + stages)
    shortcuts, dense = 32 * 64 + 64 * 128 + 128 * 256, 2 * 256 * 7 + 7
    normalisations = 2 * (32 + 3 * 64 + 3 * 128 + 3 * 256)
    expected = convolutions + shortcuts + normalisations + dense
    assert count_parameters(ResNet(7, blocks=1)) == expected


@pytest.mark.parametrize(("side", "n_classes"), [(32, 2), (33, 3), (64, 7), (100, 12)])
def test_it_takes_any_crop(side, n_classes):
    network = ResNet(n_classes, 0.1, 1).eval()
    logits, features = network(torch.rand(2, 2, side, side))
    assert logits.shape == (2, n_classes) and features.shape == (2, 2 * 26)
    same = ResNet(n_classes, 0.1, 1).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in network.state_dict().items())


def test_blocks_begin_as_their_shortcuts():
    network = ResNet(7, 0.2, 2).eval()
    maps = torch.rand(2, 13, 8, 8)
    torch.testing.assert_close(network.stages[1](maps), maps)


def test_the_network_for_inference_gives_the_same_answer():
    network = ResNet(7, 0.2, 2)
    images = torch.rand(20, 2, 64, 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    for _ in range(5):
        network(images)  # running statistics that are not 0 and 1
    fast = inference_network(network, bf16=False)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    with torch.inference_mode():
        plain, found = network.eval()(images), fast(images)
        rounded = inference_network(network, bf16=True)(images)
    for a, b, c in zip(plain, found, rounded, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(c, a, rtol=0.05, atol=0.05)


def test_pooled_are_the_mean_and_the_maximum():
    network = ResNet(7, 0.1, 1).eval()
    images = torch.rand(2, 2, 64, 64)
    maps = network.stages(network.stem(images))
    assert maps.shape == (2, 26, 8, 8)
    _, features = network(images)
    torch.testing.assert_close(features[:, :26], maps.mean(dim=(2, 3)))
    torch.testing.assert_close(features[:, 26:], maps.amax(dim=(2, 3)))


def test_it_trains_and_says_which_plates_it_holds_out(trained, training):
    summary = trained.training_summary
    assert summary["validation_error"] < 60  # chance is 85.7
    assert summary["held_out_plates"] == 1
    held = trained.held_out(len(training))
    assert len(set(training.plates[held])) == 1
    assert not set(training.plates[held]) & set(training.plates[~held])
    wrong = trained.transform(training.images[held])["softmax"].argmax(axis=1)
    error = 100 * (wrong != training.labels[held]).mean()  # classes have the same size
    assert error == pytest.approx(summary["validation_error"], abs=1)


def test_gain_and_offset_of_a_camera_change_no_answer(trained, training):
    some = training.images[:40].astype(np.float32)
    found, other = (trained.transform(images)["softmax"] for images in (some, 3 * some + 200))
    np.testing.assert_allclose(other, found, atol=1e-3)


def test_with_one_plate_cells_are_held_out(training, tmp_path):
    alone = replace(training, plates=np.full(len(training), "1"))
    made = create("resnet", iterations=2, **SMALL)
    made.fit(alone, TrainingContext(tmp_path))
    assert made.training_summary["held_out_plates"] == 0
    assert abs(made.held_out(len(alone)).mean() - 0.2) < 0.02


def test_the_rate_rises_and_falls(training):
    made = create("resnet", iterations=100, **SMALL)
    task = made.training_task(training, torch.device("cpu"))
    rates = [task.learning_rate(i) for i in range(100)]
    assert rates[0] == pytest.approx(3e-3 / 5)
    assert np.argmax(rates) == 4 and max(rates) <= 3e-3
    assert rates[50] == pytest.approx(1.5e-3)
    assert 0 < rates[99] < 1e-5 and (np.diff(rates[5:]) < 0).all()


class PowerCut(BaseException):
    """Ends everything at once."""


def test_a_stopped_training_gives_the_same_weights(training, tmp_path):
    def cut(iteration, metrics):
        if iteration == 15:
            raise PowerCut

    settings = SMALL | {"iterations": 15, "check_every": 5, "objective": "groupdro"}
    stopped, whole = create("resnet", **settings), create("resnet", **settings)
    with pytest.raises(PowerCut):
        stopped.fit(training, TrainingContext(tmp_path, cut))
    stopped.fit(training, TrainingContext(tmp_path))
    whole.fit(training, TrainingContext(tmp_path / "whole"))
    assert stopped.digest == whole.digest and math.isfinite(
        whole.training_summary["validation_error"]
    )


def test_variants_have_names_of_their_own():
    assert create("resnet").name == "resnet" and create("deeploc").name == "deeploc"
    crops = create("resnet", augment="crops")
    assert (crops.name, crops.title) == ("resnet-crops", "ResNet, crops")
    lit = create("deeploc", augment="microscope")
    assert (lit.name, lit.title) == ("deeploc-microscope", "DeepLoc, microscope")
    assert "title" not in lit.params()


@pytest.mark.parametrize(
    "setting", [{"augment": "none"}, {"hold_out": "wells"}, {"batches": 1}, {"objective": "worst"}]
)
def test_settings_that_cannot_be_are_refused(setting):
    with pytest.raises(DataError, match="found, expected one of "):
        create("resnet", **setting)
