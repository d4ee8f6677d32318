"""VGG16: its layers, Keras' preprocessing by hand, and the separation of its kinds of weights."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from vgg16_files import small_published, write_pth

from coos_mlflow.errors import DataError, MissingWeightsError, OutputError, RegistryError
from coos_mlflow.representations import create, vgg16
from coos_mlflow.representations.nn import inference
from coos_mlflow.representations.nn.networks import (
    best_device,
    count_parameters,
    digest_of,
    read_tensors,
)
from coos_mlflow.representations.nn.vgg16_network import (
    CONVOLUTIONS,
    MEANS_RGB,
    Vgg16Network,
    convolutions_up_to,
    eight_bit,
    random_weights,
    tensor_shapes,
    zero_centred,
)

KERAS_MEANS_BGR = [103.939, 116.779, 123.68]
"""As `keras.applications.imagenet_utils` subtracts them in its mode "caffe"."""

TORCHVISION_MEANS_RGB = [0.48235, 0.45882, 0.40784]
"""`VGG16_Weights.IMAGENET1K_FEATURES`, of values in [0, 1]."""

TORCHVISION_NUMBERS = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
"""Places of the convolutions in `torchvision.models.vgg16().features`."""

FILTERS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
"""Simonyan & Zisserman 2015, Table 1, configuration D."""

SIDES = [64, 64, 32, 32, 16, 16, 16, 8, 8, 8, 4, 4, 4]
"""Of the activation maps of a 64 x 64 image."""

SHALLOW = ["conv1_1", "conv1_2"]


@pytest.fixture
def small_weights(tmp_path, monkeypatch):
    """A published file of the first two convolutions, kept as `coos weights` keeps it."""
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    tensors = random_weights(convolutions_up_to(SHALLOW), seed=5)
    file = write_pth(tmp_path / "weights.pth", tensors)
    small = small_published(tensors, file=file.read_bytes())
    monkeypatch.setattr(vgg16, "PUBLISHED", small)
    vgg16.cache_weights(file)
    return tensors


def test_layers_are_those_of_the_table():
    assert [c.outputs for c in CONVOLUTIONS.values()] == FILTERS
    assert [c.number for c in CONVOLUTIONS.values()] == TORCHVISION_NUMBERS
    assert list(CONVOLUTIONS)[6:10] == ["conv3_3", "conv4_1", "conv4_2", "conv4_3"]


def test_the_state_dict_is_that_of_torchvision():
    network = Vgg16Network(CONVOLUTIONS)
    keys = [f"features.{n}.{part}" for n in TORCHVISION_NUMBERS for part in ("weight", "bias")]
    assert list(network.state_dict()) == keys
    assert {k: tuple(t.shape) for k, t in network.state_dict().items()} == tensor_shapes(
        CONVOLUTIONS.values()
    )
    assert count_parameters(network) == 14_714_688  # of torchvision's 138,357,544, the features


def test_maps_and_pooled_features_have_the_tables_sizes():
    model = create("vgg16", weights="random", layers=list(CONVOLUTIONS))
    sides = []
    for convolution in model._loaded().features.values():
        convolution.register_forward_hook(lambda *call: sides.append(tuple(call[-1].shape[2:])))
    features = model.transform(np.arange(8192, dtype=np.uint16).reshape(1, 2, 64, 64))
    assert sides == [(side, side) for side in SIDES]
    assert [array.shape for array in features.values()] == [(1, n) for n in FILTERS]
    assert all(array.dtype == np.float32 for array in features.values())


def test_preprocessing_is_that_of_keras_on_an_image_worked_by_hand():
    """Counts 100..1100: stretched by 255 / 1000, so 102 counts above the least are 26.01."""
    found = eight_bit(np.array([[[100, 1100], [202, 600]]], np.uint16))
    expected = np.array([[0, 255], [26, 128]])  # 500 counts are 127.5, half to even
    np.testing.assert_array_equal(found[0], expected)
    red, green, blue = zero_centred(torch.from_numpy(found))[0].numpy()
    keras = [expected - mean for mean in KERAS_MEANS_BGR]
    np.testing.assert_allclose([blue, green, red], keras, atol=1e-5)


def test_torchvisions_rounded_means_are_as_far_away_as_is_said():
    away = 255 * np.array(TORCHVISION_MEANS_RGB) - MEANS_RGB
    np.testing.assert_allclose(away, [-0.681, 0.220, 0.060], atol=5e-4)


@pytest.mark.parametrize("count", [0, 7, 65535])
def test_a_constant_image_is_zero_before_the_means(count):
    found = eight_bit(np.full((1, 64, 64), count, np.float32))
    centred = zero_centred(torch.from_numpy(found))
    assert (centred == -torch.tensor(MEANS_RGB)[None, :, None, None]).all()


def test_the_nucleus_the_dtype_and_the_gain_change_nothing(random_cells):
    cells = random_cells(4)
    model = create("vgg16", weights="random", layers=["conv2_1"])
    plain = model.transform(cells)["conv2_1"]
    other = cells.astype(np.float32)
    other[:, 0] = 2 * other[:, 0] + 50
    other[:, 1] = 0
    np.testing.assert_array_equal(model.transform(other)["conv2_1"], plain)


def test_features_are_the_greatest_activations():
    """One filter that answers only to one pixel: its greatest activation is that pixel's."""
    network = Vgg16Network(["conv1_1"])
    for tensor in network.state_dict().values():
        tensor.zero_()
    network.features["0"].weight.data[3, 0, 1, 1] = 2.0
    network.features["0"].weight.data[4, 1, 1, 1] = -2.0
    images = torch.zeros(1, 3, 8, 8)
    images[0, 0, 2, 5], images[0, 1] = 11.0, 5.0
    pooled = network(images, ["conv1_1"])["conv1_1"][0]
    assert pooled[3] == 22 and pooled[4] == 0 and pooled.sum() == 22


def test_one_cell_or_many_are_the_same(random_cells, monkeypatch):
    monkeypatch.setitem(inference.CELLS_AT_A_TIME, best_device().type, 4)
    cells = random_cells(7)
    model = create("vgg16", weights="random", layers=["conv1_2", "conv3_3"])
    many = model.transform(cells)
    alone = [model.transform(cells[i : i + 1]) for i in range(len(cells))]
    for layer, features in many.items():
        rows = np.concatenate([one[layer] for one in alone])
        np.testing.assert_allclose(features, rows, rtol=1e-4)
        assert features.std(axis=0).max() > 0


def test_only_what_is_asked_for_is_computed(random_cells):
    model = create("vgg16", weights="random", layers=["conv4_1", "conv3_3", "conv2_2"])
    assert model.layers == ("conv2_2", "conv3_3", "conv4_1")
    assert list(model._loaded().features) == ["0", "2", "5", "7", "10", "12", "14", "17"]
    calls = []
    for number, convolution in model._loaded().features.items():
        convolution.register_forward_hook(lambda *_, number=number: calls.append(number))
    cells = random_cells(2)
    assert list(model.transform(cells, ["conv3_3"])) == ["conv3_3"]
    assert calls == ["0", "2", "5", "7", "10", "12", "14"]
    assert list(model.transform(cells)) == list(model.layers)


def test_random_weights_are_those_of_their_seed():
    digests = [create("vgg16", weights="random", layers=SHALLOW, seed=s).digest for s in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    shallow, deep = (
        random_weights(convolutions_up_to([layer]), 0) for layer in ("conv1_2", "conv2_1")
    )
    assert all(torch.equal(shallow[key], deep[key]) for key in shallow)


def test_random_weights_never_pass_for_vgg16():
    model, control = create("vgg16"), create("vgg16", weights="random")
    assert (model.name, model.title) == ("vgg16", "VGG16")
    assert (control.name, control.title) == ("vgg16-random", "VGG16 architecture, random weights")


def test_columns_are_named_by_layer_and_filter():
    model = create("vgg16")
    assert model.layers == ("conv3_3", "conv4_1", "conv4_2")
    assert [model.layer_titles[layer] for layer in model.layers] == [
        "Conv3_3",
        "Conv4_1",
        "Conv4_2",
    ]
    assert [len(set(model.feature_names(layer))) for layer in model.layers] == [256, 512, 512]
    assert model.feature_names("conv3_3")[:2] == ("Conv3_3 1", "Conv3_3 2")


@pytest.mark.parametrize("made", [{}, {"weights": "random", "seed": 3, "layers": ["conv4_3"]}])
def test_parameters_make_it_again(made):
    params = create("vgg16", **made).params()
    assert create("vgg16", **json.loads(json.dumps(params))).params() == params


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"layers": ["conv3_4"]}, "expected a list of some of conv1_1, .*, conv4_3, "),
        ({"layers": []}, "expected a list"),
        ({"layers": "conv3_3"}, "layers='conv3_3' found, expected a list"),
        ({"layers": [{}]}, "expected a list"),
        ({"weights": "keras"}, "weights='keras' found, expected one of imagenet, random"),
        ({"seed": -1}, "seed=-1 found"),
        ({"seed": True}, "seed=True found"),
        ({"seed": 2**32}, "seed=4294967296 found, expected a whole number from 0 to 4,294,967,295"),
    ],
)
def test_parameters_that_are_refused(params, sentence):
    with pytest.raises(DataError, match=sentence):
        create("vgg16", **params)


def test_a_layer_that_was_not_asked_for_is_refused(random_cells):
    model = create("vgg16", weights="random", layers=["conv1_1"])
    with pytest.raises(DataError, match="'conv4_1' found, expected one of the layers"):
        model.transform(random_cells(1), ["conv4_1"])


def test_without_weights_it_says_how_to_get_them(tmp_path, monkeypatch, random_cells):
    monkeypatch.setenv("COOS_CACHE", str(tmp_path))
    model = create("vgg16")
    for attempt in (model.require, lambda: model.transform(random_cells(1)), lambda: model.digest):
        with pytest.raises(MissingWeightsError, match=r"`coos weights vgg16`.*--from FILE"):
            attempt()
    create("vgg16", weights="random", layers=SHALLOW).require()


def test_kept_weights_are_those_of_the_file(small_weights, random_cells):
    model = create("vgg16", layers=SHALLOW)
    model.require()
    assert model.digest == digest_of(small_weights)
    same = create("vgg16", layers=SHALLOW, weights="random", seed=5)
    cells = random_cells(2)
    np.testing.assert_array_equal(
        model.transform(cells)["conv1_2"], same.transform(cells)["conv1_2"]
    )
    _, facts = read_tensors(vgg16.weights_path())
    assert "CC BY 4.0" in facts["licence"] and "Simonyan" in facts["citation"]


def test_the_digest_is_of_the_weights_in_use(small_weights):
    first = create("vgg16", layers=["conv1_1"])
    assert first.digest != create("vgg16", layers=SHALLOW).digest
    assert set(first._tensors) == {"features.0.weight", "features.0.bias"}


def test_damaged_weights_are_replaced_by_force(small_weights):
    flip_a_bit(vgg16.weights_path())
    with pytest.raises(MissingWeightsError, match="damaged; `coos weights vgg16 --force`"):
        create("vgg16", layers=SHALLOW).require()
    vgg16.weights_path().write_bytes(vgg16.weights_path().read_bytes()[:1000])
    with pytest.raises(MissingWeightsError, match="damaged"):
        create("vgg16", layers=SHALLOW).require()


def test_a_disk_that_fills_up_leaves_what_was_there(
    small_weights, small_disk, monkeypatch, tmp_path
):
    disk = small_disk(100_000)
    monkeypatch.setenv("COOS_CACHE", str(disk))
    with pytest.raises(OutputError, match="cannot be written") as caught:
        vgg16.cache_weights(tmp_path / "weights.pth")
    assert caught.value.exit_code == 7
    assert list((disk / "weights").iterdir()) == []


def test_a_saved_model_carries_its_weights(small_weights, tmp_path, monkeypatch, random_cells):
    cells = random_cells(3)
    model = create("vgg16", layers=["conv1_1"])
    model.save(tmp_path / "saved")
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "nothing"))
    restored = create("vgg16", **model.params())
    restored.restore(tmp_path / "saved")
    restored.require()
    assert restored.digest == model.digest
    np.testing.assert_array_equal(
        restored.transform(cells)["conv1_1"], model.transform(cells)["conv1_1"]
    )
    tensors, facts = read_tensors(tmp_path / "saved" / vgg16.FILE)
    assert set(tensors) == {"features.0.weight", "features.0.bias"} and "CC BY" in facts["licence"]


def test_its_origin_goes_with_the_model(small_weights, tmp_path, monkeypatch):
    model = create("vgg16", layers=["conv1_1"])
    expected = "the file, http://127.0.0.1:9/vgg16.pth. Licence: CC BY 4.0 "
    assert model.origin.startswith(expected)
    assert " Cite: Simonyan K, Zisserman A. Very deep" in model.origin
    model.save(tmp_path / "saved")
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "nothing"))
    restored = create("vgg16", layers=["conv1_1"])
    restored.restore(tmp_path / "saved")
    assert restored.origin == model.origin
    assert create("vgg16", layers=["conv1_1"], weights="random").origin == ""


def test_random_weights_are_saved_without_oxfords_licence(tmp_path):
    create("vgg16", layers=["conv1_1"], weights="random").save(tmp_path)
    assert read_tensors(tmp_path / vgg16.FILE)[1] == {}


def test_tampered_weights_are_refused(tmp_path):
    model = create("vgg16", layers=SHALLOW, weights="random")
    model.save(tmp_path)
    file = tmp_path / vgg16.FILE
    flip_a_bit(file)
    with pytest.raises(RegistryError, match="not what was written"):
        model.restore(tmp_path)
    save_file(load_file(file), file)
    with pytest.raises(RegistryError, match="cannot be read"):
        model.restore(tmp_path)


def test_weights_of_other_layers_are_refused(tmp_path):
    create("vgg16", layers=SHALLOW, weights="random").save(tmp_path)
    with pytest.raises(RegistryError, match=r"features\.2\.bias is \(64,\), expected no such"):
        create("vgg16", layers=["conv1_1"], weights="random").restore(tmp_path)


def test_a_served_model_needs_nothing_that_downloads(tmp_path):
    """Its requirements name torch and safetensors alone."""
    create("vgg16", layers=["conv1_1"], weights="random").save(tmp_path)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from coos_mlflow.representations import create\n"
        "model = create('vgg16', layers=['conv1_1'])\n"
        f"model.restore(Path({str(tmp_path)!r}))\n"
        "print(sorted({'pooch', 'requests', 'filelock', 'platformdirs'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
