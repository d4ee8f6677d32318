"""Networks for inference give the plain network's output, in fp32 and in bf16."""

import numpy as np
import pytest
import torch
from torch import nn

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import PROBABILITIES, create, names
from coos_mlflow.representations.nn.deeploc_network import STRETCH, DeepLocNetwork, stretch
from coos_mlflow.representations.nn.inference import (
    FusedConvolution,
    RectifiedConvolution,
    inference_network,
)
from coos_mlflow.representations.nn.networks import best_device, uses_bf16
from coos_mlflow.representations.nn.training import TrainingContext
from coos_mlflow.simulate import simulate_plate_cells

NETWORKS = ("deeploc", "pci", "resnet", "vgg16")

SMALL = {
    "deeploc": {"width": 0.1, "iterations": 300, "batch": 32, "learning_rate": 0.01,
                "decay_every": 10, "check_every": 150, "crops": 1, "precision": "fp32"},
    "pci": {"width": 0.1, "epochs": 2, "batch": 16, "learning_rate": 2e-3, "least_cells": 2,
            "precision": "fp32"},
    "resnet": {"width": 0.2, "blocks": 1, "iterations": 150, "batch": 32, "check_every": 75,
               "augment": "crops", "precision": "fp32"},
    "vgg16": {"weights": "random", "layers": ["conv2_2"]},
}  # fmt: skip


def cells_of(seed, per_well):
    found = simulate_plate_cells(seed=seed, wells_per_class=2, cells_per_well=per_well)
    n = len(found["images"])
    wells = np.repeat([f"{i:03d}{i:03d}000" for i in range(14)], n // 14)
    return CellBatch(0, found["images"], found["labels"], np.full(n, str(seed)), wells)


@pytest.fixture(scope="module")
def training():
    return cells_of(1, 30)


@pytest.fixture(scope="module")
def new():
    return cells_of(2, 150)


@pytest.fixture(scope="module")
def make_trained(training, tmp_path_factory):
    """Factory of trained networks, each time without any preparation."""
    folder = tmp_path_factory.mktemp("networks")
    for key in NETWORKS:
        made = create(key, **SMALL[key])
        made.fit(training, TrainingContext(folder / key))
        made.save(folder / key)

    def restored(key):
        made = create(key, **SMALL[key])
        made.restore(folder / key)
        return made

    return restored


@pytest.mark.parametrize("key", NETWORKS)
def test_prepared_for_single_precision_it_gives_the_plain_networks_output(make_trained, new, key):
    plain, prepared = make_trained(key), make_trained(key)
    assert prepared.prepare("fp32") == "fp32"
    images = new.images[::70]
    for layer, matrix in plain.transform(images).items():
        found = prepared.transform(images)[layer]
        np.testing.assert_allclose(found, matrix, rtol=1e-5, atol=1e-5)


# Without AVX-512, oneDNN has no bfloat16: `--precision auto` is float32 there, and torch rounds
# elsewhere than the fused operators whose precision these tests measure.
needs_onednn_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="this processor has no AVX-512, so that oneDNN has no bfloat16",
)


def agreement(one, other):
    """Return the share of labels that are the same, and the largest difference in probability."""
    return np.mean(one.argmax(axis=1) == other.argmax(axis=1)), np.abs(one - other).max()


@needs_onednn_bf16
def test_labels_and_probabilities_of_deeploc_are_those_of_single_precision(make_trained, new):
    single, half = make_trained("deeploc"), make_trained("deeploc")
    assert half.prepare("bf16") == "bf16"
    expected, found = (d.transform(new.images)[PROBABILITIES] for d in (single, half))
    assert len(new) > 2000 and np.mean(expected.argmax(axis=1) == new.labels) > 0.5
    same, farthest = agreement(expected, found)
    assert 0 < farthest < 0.02
    # Over six seeds of the training 0, 0, 1, 3, 0 and 3 of 2,100 labels changed: 99.94 % stayed.
    assert same >= 0.999


@needs_onednn_bf16
@pytest.mark.parametrize(("key", "layer"), [("pci", "conv5"), ("vgg16", "conv2_2")])
def test_features_in_bf16_are_near_those_of_single_precision(make_trained, new, key, layer):
    """Within a twentieth of what cells differ by, and within a fiftieth on average."""
    single, half = make_trained(key), make_trained(key)
    assert half.prepare("bf16") == "bf16"
    images = new.images[::16]
    expected, found = (r.transform(images, [layer])[layer] for r in (single, half))
    spread = expected.std(axis=0)
    alive = spread > 1e-3 * expected.max()
    error = (found - expected)[:, alive] / spread[alive]
    assert alive.mean() > 0.5
    assert 0 < np.sqrt(np.mean(error**2)) < 0.05
    assert np.abs(error.mean(axis=0)).mean() < 0.02


@pytest.mark.parametrize("key", NETWORKS)
def test_the_same_cells_give_the_same_bytes(make_trained, new, key):
    first, second = make_trained(key), make_trained(key)
    images = new.images[:37]
    for made in (first, second):
        made.prepare("bf16")
    second.transform(images[:5])  # what came before changes nothing
    expected, again = first.transform(images), first.transform(images)
    for layer, matrix in second.transform(images).items():
        np.testing.assert_array_equal(matrix, expected[layer])
        np.testing.assert_array_equal(matrix, again[layer])


@pytest.mark.parametrize("key", NETWORKS)
def test_it_can_be_prepared_again(make_trained, new, key):
    made, images = make_trained(key), new.images[:9]
    made.prepare("fp32")
    expected = made.transform(images)
    made.prepare("bf16")
    other = made.transform(images)
    made.prepare("fp32")
    for layer, matrix in made.transform(images).items():
        np.testing.assert_array_equal(matrix, expected[layer])
        assert not np.array_equal(matrix, other[layer])


@pytest.mark.parametrize("key", NETWORKS)
def test_to_prepare_for_the_same_costs_nothing(make_trained, monkeypatch, key):
    made = make_trained(key)
    made.prepare("fp32")
    made.prepare("bf16")
    monkeypatch.setattr("coos_mlflow.representations.nn.networked.inference_network", None)
    assert [made.prepare(p) for p in ("bf16", "fp32", "bf16")] == ["bf16", "fp32", "bf16"]


def test_new_weights_replace_the_prepared_old_ones(make_trained, new, tmp_path):
    made, other = make_trained("deeploc"), create("deeploc", **SMALL["deeploc"])
    made.prepare("bf16")
    other._use(DeepLocNetwork(64, 7, other.width, seed=5).state_dict(), "other")
    other.save(tmp_path)
    made.restore(tmp_path)
    for layer, matrix in other.transform(new.images[:3]).items():
        np.testing.assert_array_equal(made.transform(new.images[:3])[layer], matrix)


@pytest.mark.parametrize("key", names())
def test_auto_is_what_the_device_has(key):
    made = create(key, **({"weights": "random"} if key == "vgg16" else {}))
    parts = made.parts or (made,)
    for part in parts:
        if part.trainable:
            part._use(part._build().state_dict(), "random weights")
    networks = any(part.key in NETWORKS for part in parts)
    bf16 = networks and uses_bf16("auto", best_device())
    assert made.prepare("auto") == ("bf16" if bf16 else "fp32")
    with pytest.raises(DataError, match="precision='fp8' found, expected one of auto, fp32, bf16"):
        made.prepare("fp8")


def test_an_untrained_network_cannot_be_prepared():
    with pytest.raises(DataError, match="DeepLoc is not trained yet; call fit or restore"):
        create("deeploc").prepare("fp32")


def test_normalisation_is_folded_whatever_it_has_learnt():
    network = DeepLocNetwork(64, 7, 0.05).eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(generator=generator)
    crops = torch.rand(3, 2, 60, 60, generator=generator)
    form = inference_network(network, bf16=False)
    kinds = {type(module) for module in form.modules()}
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.Conv2d}
    with torch.inference_mode():
        for found, expected in zip(form(crops), network(crops), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def convolution(inputs, seed=0):
    made = RectifiedConvolution(inputs, 8, 3, padding=1)
    generator = torch.Generator().manual_seed(seed)
    for tensor in made.parameters():
        tensor.data.normal_(generator=generator)
    return made, torch.rand(2, inputs, 12, 12, generator=generator)


def test_rounded_windows_keep_their_sums():
    plain, _ = convolution(16)
    fused = FusedConvolution(plain, torch.bfloat16).weight.double()
    exact = plain.weight.detach().double()
    assert not torch.equal(fused, exact)
    lost = (fused - exact).sum(dim=(2, 3)).abs().max()
    nearest = (exact.bfloat16().double() - exact).sum(dim=(2, 3)).abs().max()
    # What remains is the rounding of one weight: 2**-9 of it, which is below 8.
    assert lost <= 2**-9 * 8 < 2 * nearest


@pytest.mark.parametrize("fused", [pytest.param(True, marks=needs_onednn_bf16), False])
@pytest.mark.parametrize(("inputs", "error"), [(2, 2**-8), (16, 2**-6)])
def test_the_first_layer_loses_only_what_its_result_is_rounded_by(
    monkeypatch, fused, inputs, error
):
    monkeypatch.setattr("coos_mlflow.representations.nn.inference._fuses", lambda weight: fused)
    plain, images = convolution(inputs)
    with torch.inference_mode():
        found = FusedConvolution(plain, torch.bfloat16)(images)
        expected = plain(images)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() <= error * expected.abs().max()


def by_numpy(images):
    """Stretch as the definition says, by sorting."""
    images = images.astype(np.float32)
    low, high = np.percentile(images, STRETCH, axis=(2, 3), keepdims=True).astype(np.float32)
    spread = high - low
    return (np.minimum(images, high) - low) / np.where(spread > 1, spread, 1)


@pytest.mark.parametrize("side", [1, 2, 7, 33, 64])
@pytest.mark.parametrize("highest", [1, 3, 500, 65_536])
def test_stretch_is_that_of_numpys_percentiles_digit_for_digit(side, highest):
    rng = np.random.default_rng(side * highest)
    counts = rng.integers(0, highest, (20, 2, side, side)).astype(np.uint16)
    real = rng.normal(0, highest, counts.shape).astype(np.float32)
    for images in (counts, counts[:, ::-1], counts.astype(np.float32), real, real.swapaxes(2, 3)):
        found = stretch(images)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, by_numpy(images))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_number_of_threads_changes_no_bit(precision):
    """A scoring goes on, after a kill, on a machine with other cores; sums must not tell."""
    made = create("deeploc", width=0.5, crops=1)
    made._use(made._build().state_dict(), "random weights")
    made.prepare(precision)
    prepared = made.preprocess(cells_of(3, 2).images)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(made.compute(prepared))
    finally:
        torch.set_num_threads(threads)
    for layer, matrix in found[0].items():
        for other in found[1:]:
            np.testing.assert_array_equal(other[layer], matrix, strict=True)
