"""Bodies turned into cells: whatever NumPy saves, and what no header may hide."""

import importlib
import io
import json
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.scoring.remote import packed
from coos_mlflow.serving.decoding import as_images, decode, media_type
from coos_mlflow.serving.limits import JSON, MAX_BYTES, MAX_CELLS, NPY

DTYPES = ("u1", "<u2", ">u2", "i4", ">i8", "u8", "f2", "f4", ">f4", "f8")


@pytest.fixture
def npy_lies(serving):
    yield importlib.import_module("fuzz.npy_lies")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fuzz"]:
        del sys.modules[name]


def saved(images: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, images, version)
    return sink.getvalue()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_whatever_numpy_saves_is_read(cells, dtype, version, order):
    images = cells[:4] % 120 + np.arange(64, dtype=np.uint16) % 7
    found = decode(saved(images.astype(dtype, order=order), version), NPY, 64)
    assert found.dtype in (np.uint16, np.float32)
    assert found.flags.c_contiguous and found.flags.aligned
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_what_the_client_packs_comes_out_as_it_went_in(cells, dtype):
    images = decode(packed(cells.astype(dtype)), NPY, 64)
    assert images.dtype == dtype
    np.testing.assert_array_equal(images, cells)


@pytest.mark.parametrize("crop", [32, 100])
def test_cells_of_another_crop(cells, crop):
    images = np.ascontiguousarray(np.tile(cells[:2], (1, 1, 2, 2))[..., :crop, :crop])
    body = json.dumps({"inputs": images.tolist()}).encode()
    frame = pd.DataFrame({"cell": list(images.reshape(2, -1))})
    for found in (
        decode(packed(images), NPY, crop),
        decode(body, JSON, crop),
        as_images(images, crop),
        as_images(frame, crop),
    ):
        np.testing.assert_array_equal(found, images)
    with pytest.raises(DataError, match=f"crops of {crop} pixels, expected .N, 2, 64, 64"):
        decode(packed(images), NPY, 64)
    with pytest.raises(DataError, match=f"crops of {crop} pixels, expected .N, 2, 64, 64"):
        decode(body, JSON, 64)
    with pytest.raises(DataError, match=r"expected a flat list of 8,192 counts \(2 x 64 x 64\)"):
        as_images(frame, 64)


def test_the_most_cells_of_a_request_fit_into_a_body(cells):
    most = np.resize(cells, (MAX_CELLS, *cells.shape[1:])).astype(np.float32)
    assert len(packed(most)) <= MAX_BYTES[NPY]
    assert len(decode(packed(most), NPY, 64)) == MAX_CELLS


@pytest.mark.parametrize("spaces", range(8))
def test_a_header_of_any_length_leaves_cells_aligned(npy_lies, spaces):
    body = npy_lies.npy(order="False" + " " * spaces)
    found = decode(body, NPY, 64)
    assert found.flags.aligned
    np.testing.assert_array_equal(found, npy_lies.cells(1))


def test_every_lie_is_refused_in_no_time_and_no_memory(npy_lies):
    assert len(decode(npy_lies.npy(), NPY, 64)) == 1  # else all would be refused for their form
    assert len(npy_lies.LIES) > 40
    for name, made in npy_lies.LIES.items():
        body = made()
        tracemalloc.start()
        began = time.process_time()
        with pytest.raises(DataError) as refused:
            decode(body, NPY, 64)
        seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert str(refused.value).isprintable() and len(str(refused.value)) < 400, name
        assert seconds < 0.5 and peak < 2**19, name


@pytest.mark.parametrize(
    ("lie", "status", "sentence"),
    [
        ("2**60 cells", 413, "1,152,921,504,606,846,976 cells found, expected at most 2,048"),
        ("a negative number of cells", 400, "-1 cells found, expected at least one"),
        ("no cells", 400, "no cells found"),
        ("channels last", 400, r"shape \(1, 64, 64, 2\) has its channels last"),
        ("more cells than there are", 400, "16,384 bytes after .* expected 32,768 for shape"),
        ("fewer cells than there are", 400, "20,000 bytes after .* expected 16,384 for shape"),
        ("a pickle", 400, "dtype object found, expected uint16 or float32"),
        ("truth values", 400, "dtype bool found"),
        ("version 3", 400, r"no \.npy header of version 1\.0 or 2\.0 found"),
        ("a zip file", 400, r"no \.npy header"),
        ("a header of 16 MiB", 400, r"no \.npy header"),
    ],
)
def test_a_refusal_says_what_came_and_what_was_expected(npy_lies, lie, status, sentence):
    with pytest.raises(DataError, match=sentence) as refused:
        decode(npy_lies.LIES[lie](), NPY, 64)
    assert getattr(refused.value, "status", 400) == status


def test_no_pickle_is_opened(npy_lies, monkeypatch):
    opened = []
    monkeypatch.setattr("pickle.load", lambda *_, **__: opened.append(1))
    with pytest.raises(DataError):
        decode(npy_lies.LIES["a pickle"](), NPY, 64)
    assert opened == []
    np.load(io.BytesIO(npy_lies.LIES["a pickle"]()), allow_pickle=True)
    assert opened == [1]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (JSON, JSON),
        ("APPLICATION/JSON ; charset=UTF-8", JSON),
        (f'{JSON}; charset="utf-8"', JSON),
        (NPY, NPY),
    ],
)
def test_a_format_may_be_spelled_in_any_way_that_http_allows(said, kind):
    assert media_type(said) == kind
