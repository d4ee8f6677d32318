"""DeepLoc: size, preprocessing, crops and training."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn import deeploc_network
from coos_mlflow.representations.nn.deeploc_network import (
    DeepLocNetwork,
    augmented,
    averaged_outputs,
    input_side,
    stretch,
)
from coos_mlflow.representations.nn.networks import count_parameters
from coos_mlflow.representations.nn.training import TrainingContext
from coos_mlflow.simulate import simulate_plate_cells

SMALL = {"width": 0.06, "batch": 32, "learning_rate": 0.01, "decay_every": 2, "check_every": 20}


@pytest.fixture(scope="module")
def training():
    found = simulate_plate_cells(seed=2, wells_per_class=2, cells_per_well=20)
    order = np.random.default_rng(0).permutation(len(found["images"]))
    return CellBatch(0, found["images"][order], labels=found["labels"][order])


@pytest.fixture(scope="module")
def trained_deeploc(training, tmp_path_factory):
    deeploc = create("deeploc", iterations=40, **SMALL)
    deeploc.fit(training, TrainingContext(tmp_path_factory.mktemp("work")))
    return deeploc


def test_it_has_the_published_number_of_parameters():
    assert count_parameters(DeepLocNetwork(64, 7)) == 10_985_237


@pytest.mark.parametrize(("side", "n_classes"), [(32, 2), (33, 3), (48, 12), (80, 12), (256, 100)])
def test_the_first_dense_layer_and_the_logits_follow_crop_and_classes(side, n_classes):
    network = DeepLocNetwork(side, n_classes, 0.05).eval()
    like = DeepLocNetwork(64, 7, 0.05)
    differing = [
        name
        for name, tensor in like.state_dict().items()
        if network.state_dict()[name].shape != tensor.shape
    ]
    assert {name.split(".")[0] for name in differing} <= {"fc_1", "logits"}
    cells = torch.rand(2, 2, side, side)
    with torch.inference_mode():
        probabilities, fc2 = averaged_outputs(network, cells, 5)
    assert probabilities.shape == (2, n_classes) and fc2.shape == (2, 26)


def test_crops_have_the_same_share_of_a_cell_at_every_size():
    assert [input_side(side) for side in (32, 33, 48, 64, 80, 128, 256)] == [
        *(30, 31, 45, 60, 75, 120, 240)
    ]
    # Training draws offsets below the largest one, so there must be a largest one above 0.
    assert all(abs(input_side(side) - side * 60 / 64) <= 0.5 for side in range(32, 257))
    assert all(side - input_side(side) >= 2 for side in range(32, 257))


def test_maps_shrink_as_in_tensorflow():
    network = DeepLocNetwork(64, 7, 0.05).eval()
    sides = []
    for module in network.convolutions:
        if isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    network(torch.zeros(1, 2, 60, 60))
    assert sides == [30, 15, 8]


def test_weights_begin_as_a_normal_cut_at_two_deviations():
    weights = DeepLocNetwork(64, 7).fc_1[0].weight
    assert float(weights.detach().abs().max()) <= 0.2
    # A normal distribution cut at two deviations has 0.8796 of its deviation.
    assert float(weights.detach().std()) == pytest.approx(0.08796, rel=0.01)
    assert (DeepLocNetwork(64, 7).logits[0].bias == 0.1).all()


def test_the_seed_decides_the_weights():
    first, again, other = (DeepLocNetwork(64, 7, 0.1, seed).fc_2[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_stretch_of_a_ramp_by_hand():
    ramp = np.arange(4096, dtype=np.float32).reshape(1, 1, 64, 64)
    images = np.concatenate([ramp, np.full_like(ramp, 300)], axis=1)
    images[0, 1, 0, 0] = 301  # a range of at most one count divides nothing
    found = stretch(images)
    # 0.1 % of 0..4095 is 4.095, 99.9 % is 4090.905.
    expected = (np.minimum(ramp[0, 0], 4090.905) - 4.095) / (4090.905 - 4.095)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-5)
    assert found[0, 1].max() <= 1 and np.isfinite(found).all()
    np.testing.assert_array_equal(found[0, 1, 1:], 0)


def test_stretch_does_not_change_what_it_is_given(random_cells):
    images = random_cells(3)
    before = images.copy()
    stretch(images)
    np.testing.assert_array_equal(images, before)


def by_hand(image, offset, flips, turn):
    """Augment one image (2, side, side) the slow way."""
    (y, x), (up_down, left_right) = offset, flips
    size = round(image.shape[1] * 60 / 64)
    crop = image[:, y : y + size, x : x + size]
    crop = crop[:, ::-1] if up_down else crop
    crop = crop[:, :, ::-1] if left_right else crop
    return np.rot90(crop, turn, axes=(1, 2))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), side=st.sampled_from([64, 64, 32, 33, 80]))
def test_augmentation_in_one_gather_is_that_of_image_by_image(seed, side):
    images = np.random.default_rng(seed).normal(size=(6, 2, side, side)).astype(np.float32)
    rows = np.array([5, 0, 0, 3])
    drawn = np.random.default_rng(seed)
    room = {32: 2, 33: 2, 64: 4, 80: 5}[side]
    offsets, flips = drawn.integers(0, room, (4, 2)), drawn.random((4, 2)) < 0.5
    turns = drawn.integers(0, 3, 4)
    cells = zip(rows, offsets, flips, turns, strict=True)
    expected = [by_hand(images[row], *drawn) for row, *drawn in cells]
    last = torch.from_numpy(images).permute(0, 2, 3, 1).contiguous()
    found = augmented(last, rows, np.random.default_rng(seed))
    np.testing.assert_array_equal(found.numpy(), np.stack(expected))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("side", "size", "middle", "last"), [(64, 60, 2, 4), (48, 45, 1, 3), (33, 31, 1, 2)]
)
def test_an_answer_is_the_mean_over_centre_and_corners(side, size, middle, last):
    network = DeepLocNetwork(side, 7, 0.05).eval()
    images = torch.from_numpy(np.random.default_rng(0).random((2, 2, side, side), np.float32))
    with torch.inference_mode():
        corners = [(middle, middle), (0, 0), (0, last), (last, 0), (last, last)]
        crops = [images[:, :, y : y + size, x : x + size] for y, x in corners]
        expected = torch.stack([network(crop)[0].softmax(1) for crop in crops]).mean(0)
        found, _ = averaged_outputs(network, images, 5)
        centre, _ = averaged_outputs(network, images, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(centre, network(crops[0])[0].softmax(1))


def test_it_trains(trained_deeploc, training):
    assert trained_deeploc.training_summary["validation_error"] < 60  # chance is 85.7
    found = trained_deeploc.transform(training.images)
    assert found["fc2"].shape == (len(training), len(trained_deeploc.feature_names("fc2")))
    np.testing.assert_allclose(found["softmax"].sum(axis=1), 1, atol=1e-5)
    held = trained_deeploc.held_out(len(training))
    wrong = found["softmax"].argmax(axis=1)[held] != training.labels[held]
    assert 100 * wrong.mean() == pytest.approx(
        trained_deeploc.training_summary["validation_error"], abs=3
    )


def test_a_fifth_of_each_class_is_held_out(trained_deeploc, training):
    held = trained_deeploc.held_out(len(training))
    assert np.bincount(training.labels[held]).tolist() == [8] * 7


def test_a_cell_alone_gets_the_same_output_as_among_others(trained_deeploc, training):
    together = trained_deeploc.transform(training.images[:5])
    for i in range(5):
        alone = trained_deeploc.transform(training.images[i : i + 1])
        for layer, matrix in together.items():
            np.testing.assert_allclose(alone[layer][0], matrix[i], atol=1e-4)


def test_saved_weights_are_restored(trained_deeploc, training, tmp_path):
    trained_deeploc.save(tmp_path)
    again = create("deeploc", **trained_deeploc.params())
    assert again.digest == ""
    again.restore(tmp_path)
    assert (again.digest, again.training_summary) == (
        trained_deeploc.digest,
        trained_deeploc.training_summary,
    )
    np.testing.assert_array_equal(again.held_out(280), trained_deeploc.held_out(280))
    before, after = (d.transform(training.images[:9])["softmax"] for d in (trained_deeploc, again))
    np.testing.assert_array_equal(before, after)


def test_weights_for_another_crop_or_other_classes_are_refused(trained_deeploc, tmp_path):
    trained_deeploc.save(tmp_path)
    for changed, tensor in (
        ({"crop": 80}, "fc_1.0.weight"),
        ({"classes": coos7().classes[:3]}, "logits.0.bias"),
    ):
        other = create("deeploc", dataset=coos7().model_copy(update=changed), **SMALL)
        with pytest.raises(RegistryError, match=rf"deeploc.safetensors: {tensor} is .* expected"):
            other.restore(tmp_path)


def test_weights_of_another_width_are_refused(trained_deeploc, tmp_path):
    trained_deeploc.save(tmp_path)
    with pytest.raises(RegistryError, match=r"deeploc.safetensors: .* expected"):
        create("deeploc", width=0.1).restore(tmp_path)


def test_the_quick_preset_gives_way_to_what_is_asked():
    quick, asked = create("deeploc", "quick"), create("deeploc", "quick", iterations=7)
    assert quick.params()["width"] < 1 and quick.params()["iterations"] < 10_000
    assert asked.params() == quick.params() | {"iterations": 7}
    paper = create("deeploc").params()
    assert (paper["iterations"], paper["batch"], paper["learning_rate"]) == (10_000, 128, 0.1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crops": 3}, "crops=3 found, expected one of 1, 5"),
        ({"crops": [1]}, r"crops=\[1\] found, expected one of 1, 5"),
        ({"crops": 1.0}, r"crops=1.0 found, expected one of 1, 5"),
        ({"crops": True}, "crops=True found, expected one of 1, 5"),
        ({"width": 0}, "width=0 found, expected a number above 0 and up to 10"),
        ({"width": math.inf}, "width=inf found, expected a number above 0 and up to 10"),
        ({"width": math.nan}, "width=nan found"),
        ({"width": 10**400}, "width=10+ found"),
        ({"iterations": "many"}, "iterations='many' found, expected a whole number from 1 up"),
        ({"iterations": 1.5}, "iterations=1.5 found"),
        ({"batch": 1}, "batch=1 found, expected a whole number from 2 up"),
        ({"batch": 1.5}, "batch=1.5 found"),
        ({"check_every": 1.5}, "check_every=1.5 found"),
        ({"decay_every": 0}, "decay_every=0 found"),
        ({"decay": 1.01}, "decay=1.01 found, expected a number above 0 and up to 1"),
        ({"learning_rate": math.inf}, "learning_rate=inf found, .* above 0 and up to 1,000,000"),
        ({"learning_rate": 1e300}, r"learning_rate=1e\+300 found"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3' found"),
        ({"seed": -1}, "seed=-1 found, expected a whole number from 0 to 4,294,967,295"),
        ({"seed": 1.5}, "seed=1.5 found"),
        ({"seed": "abc"}, "seed='abc' found"),
        ({"seed": 2**32}, "seed=4294967296 found"),
        ({"precision": "fp16"}, "precision='fp16' found"),
        ({"precision": ["fp32"]}, r"precision=\['fp32'\] found"),
    ],
    ids=repr,
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(DataError, match=message) as caught:
        create("deeploc", **setting)
    assert "\n" not in str(caught.value)


def test_the_extreme_settings_can_be_trained(training, tmp_path):
    """The smallest batch and the largest seed, rate and decay all reach an end."""
    extremes = {"batch": 2, "seed": 2**32 - 1, "learning_rate": 1_000_000, "decay": 1}
    made = create("deeploc", width=0.01, iterations=1, precision="fp32", **extremes)
    made.fit(training, TrainingContext(tmp_path))
    assert made.training_summary["best_iteration"] == 1


def test_cells_are_stretched_some_at_a_time_and_land_where_they_belong(training, monkeypatch):
    seen = []
    monkeypatch.setattr(deeploc_network, "_BLOCK", 50)
    monkeypatch.setattr(
        deeploc_network, "stretch", lambda images: seen.append(len(images)) or stretch(images)
    )
    made = create("deeploc", **SMALL)
    task = made.training_task(training, torch.device("cpu"))
    assert seen == [50, 50, 50, 50, 24, 50, 6]  # 80 % and 20 % of 280
    held = made.held_out(len(training))
    expected = stretch(training.images)
    np.testing.assert_array_equal(task._images.permute(0, 3, 1, 2), expected[~held])
    np.testing.assert_array_equal(task._held_out_images, expected[held])
    np.testing.assert_array_equal(task._labels, training.labels[~held])
    np.testing.assert_array_equal(task._held_out_labels, training.labels[held])
    assert task._images.is_contiguous()


def test_too_few_cells_of_a_class_are_said(random_cells, tmp_path):
    cells = CellBatch(0, random_cells(8), labels=np.arange(8) % 7)
    with pytest.raises(DataError, match="8 labelled cells of 7 classes"):
        create("deeploc", **SMALL).fit(cells, TrainingContext(tmp_path))
