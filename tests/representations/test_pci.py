"""PCI: size, inputs, and training without labels."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.inpainting import ROWS, Inpainting, flipped
from coos_mlflow.representations.nn.networks import count_parameters
from coos_mlflow.representations.nn.pairs import Pairs
from coos_mlflow.representations.nn.pci_network import (
    PairedCellInpainting,
    UpsamplingConvolution,
    unit_range,
)
from coos_mlflow.representations.nn.training import TrainingContext
from coos_mlflow.simulate import simulate_plate_cells

CPU = torch.device("cpu")
ALL_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
CHANNELS = (96, 256, 384, 384, 256)
SMALL = {
    "width": 0.06,
    "epochs": 8,
    "batch": 32,
    "learning_rate": 2e-3,
    "least_cells": 10,
    "precision": "fp32",
    "check_every": 20,
}


@pytest.fixture(scope="module")
def training():
    found = simulate_plate_cells(seed=2, wells_per_class=1, cells_per_well=20)
    return CellBatch(0, found["images"], plates=found["plates"], wells=found["wells"])


@pytest.fixture(scope="module")
def curve():
    return []


@pytest.fixture(scope="module")
def trained_pci(training, curve, tmp_path_factory):
    """PCI trained on cells without labels."""
    pci = create("pci", **SMALL)
    pci.fit(
        training,
        TrainingContext(tmp_path_factory.mktemp("work"), lambda *point: curve.append(point)),
    )
    return pci


def task_of(images, n_wells=1, width=0.05):
    wells = np.resize([f"{chr(65 + i)}01" for i in range(n_wells)], len(images))
    pairs = Pairs(np.full(len(images), "59"), np.sort(wells), 2)
    return Inpainting(PairedCellInpainting(width), images, pairs, 1e-3, CPU)


def test_it_has_the_published_number_of_parameters():
    """Keras counts the running means and variances too: 7,323,521."""
    network = PairedCellInpainting()
    running = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    assert count_parameters(network) == 7_320_609
    assert count_parameters(network) + running == 7_323_521


def test_layers_have_the_published_sizes():
    network = PairedCellInpainting()
    assert {
        "source": [tuple(c.weight.shape[:2]) for c in network.source.convolutions.values()],
        "target": [tuple(c.weight.shape[:2]) for c in network.target.convolutions.values()],
        "decoder": [tuple(m.weight.shape[:2]) for m in network.decoder if hasattr(m, "weight")],
    } == {
        "source": [(96, 2), (256, 96), (384, 256), (384, 384), (256, 384)],
        "target": [(16, 1), (32, 16), (32, 32)],
        "decoder": [(256, 288), (384, 256), (384, 384), (256, 384), (96, 256), (1, 96)],
    }
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.decoder.modules())
    assert {(n.eps, n.momentum) for n in network.source.norms.values()} == {(1e-3, 0.01)}


@pytest.mark.parametrize("crop", [32, 52, 256])
def test_a_prediction_has_the_size_of_the_cells(crop):
    network = PairedCellInpainting(0.01).eval()
    with torch.inference_mode():
        found = network(torch.zeros(1, 2, crop, crop), torch.zeros(1, 1, crop, crop))
    assert found.shape == (1, 1, crop, crop)


def test_maps_shrink_twice_and_grow_back():
    network = PairedCellInpainting(0.03).eval()
    sides = []
    for part in (network.source, network.target, network.decoder):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    assert network(torch.zeros(2, 2, 64, 64), torch.zeros(2, 1, 64, 64)).shape == (2, 1, 64, 64)
    assert sides == [*(64, 32, 16, 16, 16), *(64, 32, 16), *(16, 16, 16, 32, 64, 64)]


@pytest.mark.parametrize("shape", [(1, 1), (4, 7)])
def test_upsampling_convolution_is_nearest_upsampling_then_convolution(shape):
    torch.manual_seed(0)
    joined = UpsamplingConvolution(3, 5).double()
    images = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    larger = functional.interpolate(images, scale_factor=2, mode="nearest")
    expected = functional.conv2d(larger, joined.weight, joined.bias, padding=1)
    found = joined(images)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(expected)
    of = (images, joined.weight, joined.bias)
    for got, wanted in zip(
        torch.autograd.grad(found, of, slope), torch.autograd.grad(expected, of, slope), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_weights_begin_glorot_uniform_and_biases_zero():
    network = PairedCellInpainting()
    weights = network.source.convolutions["conv3"].weight.detach()
    limit = (6 / (9 * (256 + 384))) ** 0.5
    assert float(weights.abs().max()) <= limit
    assert float(weights.std()) == pytest.approx(limit / 3**0.5, rel=0.01)
    assert all((p == 0).all() for name, p in network.named_parameters() if "bias" in name)


def test_the_seed_decides_the_weights():
    first, again, other = (PairedCellInpainting(0.1, seed).decoder[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_features_are_the_largest_activations_before_normalisation():
    encoder = PairedCellInpainting(0.05).source.eval()
    with torch.no_grad():
        for norm in encoder.norms.values():
            norm.weight.copy_(torch.linspace(-2, 2, len(norm.weight)))
    before = {}
    for name, convolution in encoder.convolutions.items():
        convolution.register_forward_hook(lambda _, __, out, name=name: before.update({name: out}))
    images = torch.rand(4, 2, 64, 64)
    with torch.inference_mode():
        found = encoder.features(images, ALL_LAYERS)
    for name in ALL_LAYERS:
        expected = before[name].clamp(min=0).flatten(2).max(dim=2).values
        torch.testing.assert_close(found[name], expected)
        assert float(found[name].max()) > 0


def test_what_one_layer_hands_to_the_next_is_normalised():
    encoder = PairedCellInpainting(0.05).source.train()
    handed = []
    encoder.convolutions["conv4"].register_forward_pre_hook(lambda _, x: handed.append(x[0]))
    encoder(torch.rand(8, 2, 64, 64))
    torch.testing.assert_close(
        handed[0].mean(dim=(0, 2, 3)), torch.zeros(handed[0].shape[1]), atol=1e-5, rtol=0
    )


def test_nothing_behind_the_deepest_layer_asked_for_is_computed():
    encoder = PairedCellInpainting(0.05).source.eval()
    ran = []
    for name, convolution in encoder.convolutions.items():
        convolution.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert list(encoder.features(torch.rand(1, 2, 64, 64), ("conv3", "conv1"))) == [
        "conv1",
        "conv3",
    ]
    assert ran == ["conv1", "conv2", "conv3"]


def test_images_are_brought_to_the_unit_range_one_by_one():
    images = np.array([[[[3, 5], [4, 7]]], [[[9, 9], [9, 9]]]])
    expected = np.array([[[[0, 0.5], [0.25, 1]]], [[[0, 0], [0, 0]]]], np.float32)
    for dtype in (np.float32, np.uint16):
        found = unit_range(images.astype(dtype))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_flips_by_hand():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    images = torch.stack([torch.stack([image, image + 10])] * 4)
    left_right, up_down = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]], dtype=torch.bool)
    expected = [[[1, 2], [3, 4]], [[2, 1], [4, 3]], [[3, 4], [1, 2]], [[4, 3], [2, 1]]]
    found = flipped(images, left_right, up_down)
    torch.testing.assert_close(found[:, 0], torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(found[:, 1], found[:, 0] + 10)


def test_source_and_target_are_flipped_each_for_itself():
    """One cell stands twice in a well, so that source and target are alike but for their flips."""
    corner = np.zeros((1, 2, 64, 64), np.uint16)
    corner[..., :8, :16] = 1000
    task = task_of(np.repeat(corner, 2, axis=0))
    source, target = task.draw(np.zeros(4000, np.int64), np.random.default_rng(0))

    def flips(cells):
        assert torch.equal(cells[:, 0], cells[:, 1])
        corners = cells[:, 0][:, [0, 0, 63, 63], [0, 63, 0, 63]]
        assert (corners.sum(dim=1) == 1).all()
        return corners.argmax(dim=1)

    found = torch.bincount(4 * flips(source) + flips(target), minlength=16)
    # 250 of each of the 16 ways are expected, with a deviation of 15.
    assert found.min() > 175 and found.max() < 325


def test_what_is_drawn_are_the_cells_asked_for_and_partners_of_them(random_cells):
    images = random_cells(12)
    task = task_of(images, n_wells=3)
    rows = np.array([1, 5, 8, 10])
    partners = Pairs(np.full(12, "59"), np.repeat(["A01", "B01", "C01"], 4), 2).partners(
        rows, np.random.default_rng(3)
    )
    for drawn, cells in zip(
        task.draw(rows, np.random.default_rng(3)), (rows, partners), strict=True
    ):
        expected = torch.from_numpy(unit_range(images[cells])).flatten(2).sort().values
        # Flips move pixels only; half precision rounds them to 1 in 4096.
        torch.testing.assert_close(drawn.flatten(2).sort().values, expected, atol=3e-4, rtol=0)


def test_the_loss_is_of_the_targets_protein_told_by_its_nucleus_and_the_source(random_cells):
    task = task_of(random_cells(12), n_wells=3)
    asked = []
    task.network.register_forward_hook(lambda _, given, out: asked.append((*given, out)))
    rows = np.array([1, 5, 8])
    loss = task.loss(*task.draw(rows, np.random.default_rng(3)))
    ((source, nucleus, predicted),) = asked
    expected_source, target = task.draw(rows, np.random.default_rng(3))
    assert torch.equal(source, expected_source)
    assert torch.equal(nucleus, target[:, 1:])
    torch.testing.assert_close(loss, ((predicted - target[:, :1]) ** 2).mean())


def test_it_trains_without_labels(trained_pci, curve):
    losses = [metrics["loss"] for _, metrics in curve]
    assert losses[-1] < 0.7 * losses[0]
    assert trained_pci.training_summary["loss"] == losses[-1]
    assert trained_pci.training_summary["paired_cells"] == 140
    assert trained_pci.training_summary["iterations"] == 8 * 140 / 32


def test_labels_are_not_used(training, trained_pci, tmp_path):
    class Forbidden:
        def _touched(self, *_):
            raise AssertionError("labels were touched")

        __getattr__ = __getitem__ = __array__ = __len__ = __iter__ = __eq__ = _touched

    cells = CellBatch(0, training.images, Forbidden(), training.plates, training.wells, None, None)
    again = create("pci", **SMALL)
    again.fit(cells, TrainingContext(tmp_path))
    assert again.digest == trained_pci.digest


def test_a_resumed_training_ends_like_an_uninterrupted_one(training, trained_pci, tmp_path):
    def stop(iteration, metrics):
        if iteration >= 25:
            raise InterruptedError

    broken = create("pci", **SMALL)
    with pytest.raises(InterruptedError):
        broken.fit(training, TrainingContext(tmp_path, stop))
    assert broken.digest == ""
    broken.fit(training, TrainingContext(tmp_path))
    assert broken.digest == trained_pci.digest
    assert broken.training_summary == trained_pci.training_summary


def test_it_draws_pairs_with_what_it_predicts(training, tmp_path):
    drawn = {}
    settings = SMALL | {"epochs": 3, "check_every": 5}
    create("pci", **settings).fit(training, TrainingContext(tmp_path, on_figure=drawn.__setitem__))
    assert list(drawn) == [f"inpainting/{n:06d}.png" for n in (5, 10, 14)]
    first, last = drawn["inpainting/000005.png"], drawn["inpainting/000014.png"]
    shown = {
        figure: np.array([ax.images[0].get_array() for ax in figure.axes]).reshape(
            len(ROWS), -1, 64, 64
        )
        for figure in (first, last)
    }
    prediction = ROWS.index("predicted protein")
    for row in range(len(ROWS)):
        same = np.array_equal(shown[first][row], shown[last][row])
        assert same == (row != prediction)
    assert {ax.images[0].get_clim() for ax in first.axes} == {(0, 1)}
    assert "14 iterations" in last.get_suptitle()


@pytest.fixture(scope="module")
def every_layer(training, tmp_path_factory):
    """PCI at full width, as it was after one step on four cells."""
    some = slice(0, 4)
    cells = CellBatch(
        0, training.images[some], plates=training.plates[some], wells=training.wells[some]
    )
    pci = create("pci", layers=ALL_LAYERS, epochs=1, batch=4, least_cells=4)
    pci.fit(cells, TrainingContext(tmp_path_factory.mktemp("full")))
    return pci


def test_features_have_the_published_dimensions(every_layer, random_cells):
    found = every_layer.transform(random_cells(3))
    assert {name: matrix.shape for name, matrix in found.items()} == {
        name: (3, channels) for name, channels in zip(ALL_LAYERS, CHANNELS, strict=True)
    }
    for name, matrix in found.items():
        assert matrix.dtype == np.float32 and np.isfinite(matrix).all()
        assert len(set(every_layer.feature_names(name))) == matrix.shape[1]


def test_only_requested_layers_are_computed(trained_pci, random_cells):
    assert tuple(trained_pci.transform(random_cells(2))) == ("conv3", "conv4", "conv5")
    assert tuple(trained_pci.transform(random_cells(2), ["conv4"])) == ("conv4",)
    with pytest.raises(DataError, match=r"conv1.*conv3, conv4, conv5"):
        trained_pci.transform(random_cells(2), ["conv1"])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_batch_of_one_gives_what_a_batch_of_many_gives(trained_pci, random_cells, dtype):
    images = random_cells(70, dtype=dtype)
    many = trained_pci.transform(images)
    for cell in (0, 63, 69):
        for name, row in trained_pci.transform(images[cell : cell + 1]).items():
            np.testing.assert_allclose(row[0], many[name][cell], rtol=1e-4, atol=1e-5)


def test_offset_and_gain_of_the_camera_do_not_matter(trained_pci, random_cells):
    images = random_cells(5)
    plain, brighter = (trained_pci.transform(x)["conv5"] for x in (images, images * 3.0 + 100))
    np.testing.assert_allclose(plain, brighter, rtol=1e-3, atol=1e-4)


def test_what_is_restored_is_what_was_saved(trained_pci, random_cells, tmp_path):
    trained_pci.save(tmp_path)
    again = create("pci", **(trained_pci.params()))
    again.restore(tmp_path)
    assert again.digest == trained_pci.digest and len(again.digest) == 64
    assert again.training_summary == trained_pci.training_summary
    images = random_cells(4)
    expected = trained_pci.transform(images)
    for name, matrix in again.transform(images).items():
        np.testing.assert_array_equal(matrix, expected[name])


def test_weights_of_another_width_are_refused(trained_pci, tmp_path):
    trained_pci.save(tmp_path)
    with pytest.raises(RegistryError, match=r"conv1.* is \(6,.* expected \(10,"):
        create("pci", width=0.1).restore(tmp_path)


def test_the_quick_preset_pairs_cells_of_the_smallest_simulated_wells():
    from coos_mlflow.simulate.coos7_layout import MIN_CELLS_PER_WELL

    assert create("pci", "quick").least_cells <= MIN_CELLS_PER_WELL
    assert create("pci").params() == {
        "layers": ["conv3", "conv4", "conv5"],
        "width": 1.0,
        "epochs": 30,
        "batch": 64,
        "learning_rate": 1e-4,
        "least_cells": 30,
        "seed": 0,
        "precision": "auto",
    }


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("layers", []),
        ("layers", "conv3"),
        ("layers", ["conv6"]),
        ("width", 0),
        ("width", float("inf")),
        ("learning_rate", float("nan")),
        ("epochs", 0.5),
        ("batch", 0),
        ("learning_rate", -1.0),
        ("least_cells", 1),
        ("seed", -1),
        ("seed", 2**32),
        ("precision", "fp8"),
        ("check_every", True),
    ],
)
def test_settings_that_make_no_sense_are_named(setting, value):
    with pytest.raises(DataError, match=setting):
        create("pci", **{setting: value})


def test_cells_without_wells_are_refused(training, tmp_path):
    with pytest.raises(DataError, match="wellIDs"):
        create("pci").fit(
            CellBatch(0, training.images, plates=training.plates), TrainingContext(tmp_path)
        )


def test_wells_that_are_too_small_are_refused(training, tmp_path):
    with pytest.raises(DataError, match=r"least_cells=30 .* 20 cells"):
        create("pci").fit(training, TrainingContext(tmp_path))


def test_features_before_any_weights_are_refused(random_cells):
    with pytest.raises(DataError, match="fit or restore"):
        create("pci").transform(random_cells(1))
