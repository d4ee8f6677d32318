"""Segmenters of other packages and programs: what they are given, and what is missing.

The packages stand in as modules that take the arguments of the current releases: stardist 0.9.2,
csbdeep 0.8.2, cellpose 4.2.1 and instanseg-torch 0.1.2.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from planes import ArrayPlane, a_field

from coos_mlflow.errors import DataError, MissingWeightsError
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters import NucleusSize, cellpose, instanseg, segmenter, stardist

SIZE = NucleusSize()
NUCLEUS = np.random.default_rng(0).uniform(100, 900, (40, 50)).astype(np.float32)
FIELD = a_field(NUCLEUS, NUCLEUS)
FOUND = (NUCLEUS > 700).astype(np.uint16)
KEYS = ("cellpose", "instanseg", "stardist")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No package and no weights, wherever the tests run."""
    for name in (*KEYS, "stardist.models", "csbdeep.utils", "cellpose.models"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("INSTANSEG_BIOIMAGEIO_PATH", str(tmp_path))
    yield
    for module in (cellpose, instanseg, stardist):
        module._model.cache_clear()


def a_module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    parent, _, _ = name.rpartition(".")
    if parent:
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def a_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


class FakeStarDist:
    def __init__(self, config: None, name: str, basedir: Path) -> None:
        assert config is None
        self.folder = Path(basedir) / name

    def predict_instances(self, img: np.ndarray, *, scale: float) -> tuple[np.ndarray, dict]:
        assert (self.folder / "weights_best.h5").is_file()
        assert scale == pytest.approx(0.645)
        np.testing.assert_allclose(img, NUCLEUS / 100)
        return FOUND, {}


def fake_stardist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    def normalize(x: np.ndarray, pmin: float, pmax: float) -> np.ndarray:
        assert (pmin, pmax) == (1.0, 99.8)
        return x / 100

    a_module(monkeypatch, "stardist.models", StarDist2D=FakeStarDist)
    a_module(monkeypatch, "csbdeep.utils", normalize=normalize)
    return tmp_path / "models" / "StarDist2D" / "2D_versatile_fluo" / "weights_best.h5"


class FakeCellpose:
    def __init__(self, gpu: bool, pretrained_model: str, use_bfloat16: bool) -> None:
        # A name would be downloaded.
        assert Path(pretrained_model).is_file() and not gpu and not use_bfloat16

    def eval(self, x: np.ndarray) -> tuple[np.ndarray, list, np.ndarray]:
        assert x is NUCLEUS
        return FOUND, [], np.zeros(256)


def fake_cellpose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    a_module(monkeypatch, "cellpose.models", CellposeModel=FakeCellpose, MODEL_DIR=tmp_path)
    return tmp_path / "cpsam_v2"


class FakeInstanSeg:
    def __init__(self, model_type: object, device: str, verbosity: int) -> None:
        assert model_type == "loaded" and device == "cpu" and verbosity == 0

    def eval_small_image(
        self, image: np.ndarray, pixel_size: float, *, return_image_tensor: bool, target: str
    ) -> torch.Tensor:
        assert image.shape == (1, 40, 50) and pixel_size == 0.3225
        assert not return_image_tensor and target == "nuclei"
        return torch.from_numpy(FOUND.astype(np.float32))[None, None]


def fake_instanseg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    a_module(monkeypatch, "instanseg", InstanSeg=FakeInstanSeg, __file__=str(tmp_path / "a.py"))
    monkeypatch.setattr(torch.jit, "load", lambda path, map_location: "loaded")
    return tmp_path / "single_channel_nuclei" / "0.1.2" / "instanseg.pt"


FAKES = {"stardist": fake_stardist, "cellpose": fake_cellpose, "instanseg": fake_instanseg}


@pytest.mark.parametrize("key", KEYS)
def test_a_package_that_is_not_installed_is_named_with_its_extra(key: str) -> None:
    with pytest.raises(DataError, match=rf"--segmenter {key} needs {key}.*coos-mlflow\[{key}\]"):
        segmenter(key).facts()


@pytest.mark.parametrize("key", KEYS)
def test_missing_weights_are_named_with_their_place_and_address(
    key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = FAKES[key](monkeypatch, tmp_path)
    with pytest.raises(MissingWeightsError) as caught:
        segmenter(key).facts()
    assert str(caught.value).startswith(f"{place}: no such file, expected the weights of --segm")
    assert "download https://" in str(caught.value)
    with pytest.raises(MissingWeightsError):
        segmenter(key).segment(NUCLEUS, 0.3225, SIZE, FIELD)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("key", KEYS)
def test_labels_of_another_package_become_ours(
    key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_file(FAKES[key](monkeypatch, tmp_path))
    labels = segmenter(key).segment(NUCLEUS, 0.3225, SIZE, FIELD)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, FOUND)


@pytest.mark.parametrize("key", KEYS)
def test_facts_hold_the_digest_of_the_weights(
    key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_file(FAKES[key](monkeypatch, tmp_path))
    facts = segmenter(key).facts()
    assert facts["weights"] == hashlib.sha256(b"weights").hexdigest()
    assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize("folder", ["2D_versatile_fluo", "2D_versatile_fluo_extracted"])
def test_folders_of_other_versions_of_keras_are_found(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = fake_stardist(monkeypatch, tmp_path)
    a_file(usual.parent / folder / usual.name)
    assert segmenter("stardist").segment(NUCLEUS, 0.3225, SIZE, FIELD).any()


def labelled(**labels: np.ndarray) -> Field:
    planes = {name: ArrayPlane(image, f"{name}.tif") for name, image in labels.items()}
    return replace(FIELD, labels=planes)


def from_labels(field: Field) -> np.ndarray:
    return segmenter("labels").segment(NUCLEUS, 0.3225, SIZE, field)


TWO = np.zeros((40, 50), np.uint32)
TWO[5:15, 5:15], TWO[5:15, 15:25], TWO[30:35, 30:35] = 7, 9, 9


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32])
def test_a_label_image_that_is_there_is_taken_as_it_is(dtype: type) -> None:
    labels = from_labels(labelled(any_name=TWO.astype(dtype)))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, TWO)


def test_among_several_label_images_that_of_nuclei_is_taken() -> None:
    np.testing.assert_array_equal(from_labels(labelled(cells=TWO + 1, Nuclei=TWO)), TWO)
    with pytest.raises(DataError, match="'cells', 'other' found as label images, expected one, or"):
        from_labels(labelled(cells=TWO, other=TWO))
    with pytest.raises(DataError, match="B03, field 1: none found as label images"):
        from_labels(FIELD)


@pytest.mark.parametrize("mask", [(TWO > 0) * np.uint8(255), TWO > 0])
def test_connected_parts_of_a_mask_are_nuclei(mask: np.ndarray) -> None:
    labels = from_labels(labelled(nuclei=mask))
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, TWO > 0)


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        (TWO[:, :-1], r"nuclei.tif: labels of shape \(40, 49\) found, expected \(40, 50\)"),
        (TWO.astype(int) - 1, "nuclei.tif: values found that are no numbers of nuclei"),
        (TWO / 2, "nuclei.tif: values found that are no numbers of nuclei"),
        (TWO.astype(np.int64) << 40, "nuclei.tif: values found that are no numbers of nuclei"),
        (np.where(TWO, np.nan, 0), "nuclei.tif: values found that are no numbers of nuclei"),
    ],
)
def test_label_images_that_are_none_are_refused(odd: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        from_labels(labelled(nuclei=odd))
