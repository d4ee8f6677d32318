"""What a real server answers, and how it refuses: one sentence, and nothing of itself."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from waiting import PATIENCE

from coos_mlflow.scoring.remote import packed
from coos_mlflow.serving.decoding import as_images
from coos_mlflow.serving.limits import JSON, MAX_BYTES, MAX_CELLS, NPY

REVEALING = re.compile(r"Traceback|File \"|\.py\b|site-packages|/[a-z]+/|0x[0-9a-f]{6}|\n")
"""Of the server: where it runs, what it is made of."""


def inputs(values) -> str:
    return json.dumps({"inputs": values if isinstance(values, list) else values.tolist()})


NAMED = {
    "inputs": lambda values: {"inputs": {"cell": values}},
    "instances": lambda values: {"instances": {"cell": values}},
    "rows": lambda values: {"instances": [{"cell": value} for value in values]},
}
"""The forms in which MLflow takes an array with a name."""


def refused(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"error_code", "message"}
    sentence = said["message"]
    assert sentence.endswith(".") and len(sentence) < 400
    assert not REVEALING.search(sentence), sentence
    return str(sentence)


def table(answer: requests.Response) -> pd.DataFrame:
    assert answer.status_code == 200, answer.text
    return pd.DataFrame(answer.json()["predictions"])


def test_every_form_of_the_same_cells_gets_the_same_answer(ask, cells):
    answers = [
        table(ask(inputs(cells))),
        table(ask(json.dumps({"instances": cells.tolist(), "params": None}))),
        table(ask(inputs(cells.astype(float)), f"{JSON}; charset=UTF-8")),
        *(table(ask(packed(cells.astype(d)), NPY)) for d in ("u2", ">u2", "i8", "f4", "f8")),
        table(ask(packed(np.asfortranarray(cells)), NPY)),
        table(ask(b"\xef\xbb\xbf" + inputs(cells).encode())),
        *(table(ask(json.dumps(form(cells.tolist())))) for form in NAMED.values()),
    ]
    assert len(answers[0]) == len(cells)
    for other in answers[1:]:
        pd.testing.assert_frame_equal(other, answers[0], check_exact=True)
    np.testing.assert_allclose(
        answers[0][[f"p_{label}" for label in range(7)]].sum(axis=1), 1, atol=1e-6
    )


def _with(cells, cell, value, dtype=float):
    changed = cells.astype(dtype)
    changed[cell, 1, 5, 7] = value
    return changed


def _nested(cells, change):
    values = cells[:3].tolist()
    change(values)
    return values


WRONG_VALUES = {
    "scaled": (lambda c: c / 65535.0, r"cell 0, channel 0 \(protein\): 0\.\d+ is the maximum"),
    "negative": (lambda c: _with(c, 2, -1, "i2"), r"cell 2, channel 1 \(nucleus\): -1 is negative"),
    "too large": (lambda c: _with(c, 3, 70000, "i8"), r"cell 3, .*: 70000 is above 65535"),
    "infinite": (lambda c: _with(c, 1, np.inf), r"cell 1, .*: inf is not a finite number"),
    "no number": (
        lambda c: _with(c, 1, np.nan),
        r"cell 1.*nan is not a finite",
    ),
    "constant once it is float32": (
        lambda c: np.where(np.arange(len(c)) == 4, 300 + 1e-9 * c.T, c.T).T,
        r"cell 4, .*: 300 stands in",
    ),
    "constant": (lambda c: np.where(np.arange(len(c)) == 4, 7, c.T).T, r"cell 4, .*: 7 stands in"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_wrong_value_is_named_with_its_cell_in_both_formats(ask, cells, case):
    change, sentence = WRONG_VALUES[case]
    changed = change(cells)
    for answer in (ask(inputs(changed)), ask(packed(changed), NPY)):
        assert re.search(sentence, refused(answer, 400))


WRONG_SHAPES = {
    "channels last": (lambda c: np.moveaxis(c, 1, 3).tolist(), "channels last"),
    "one channel": (lambda c: c[:, :1].tolist(), "one channel"),
    "one cell alone": (lambda c: c[0].tolist(), "3 axes"),
    "no cells": (lambda c: [], "no cells"),
    "32 pixels": (lambda c: c[:, :, ::2, ::2].tolist(), r"\(12, 2, 32, 32\)"),
    "ragged": (lambda c: _nested(c, lambda v: v[2][1][7].pop()), "cell 2, nucleus.*row 7.*of 63"),
    "null": (lambda c: _nested(c, lambda v: v[1][0][3].__setitem__(0, None)), "cell 1.*null"),
    "text": (lambda c: _nested(c, lambda v: v[1][0][3].__setitem__(0, "9")), "cell 1.*text"),
    "truth": (lambda c: _nested(c, lambda v: v[1][0][3].__setitem__(0, True)), "cell 1.*truth"),
    "row gone": (lambda c: _nested(c, lambda v: v[1][0].pop()), "cell 1, protein.*of 63"),
    "no list": (lambda c: _nested(c, lambda v: v.__setitem__(2, 5)), "cell 2 is a number"),
    "huge": (lambda c: _nested(c, lambda v: v[1][0][3].__setitem__(0, 10**400)), "hundreds"),
}


@pytest.mark.parametrize("case", WRONG_SHAPES)
def test_a_wrong_shape_is_named(ask, cells, case):
    change, sentence = WRONG_SHAPES[case]
    assert re.search(sentence, refused(ask(inputs(change(cells))), 400))


BODIES = {
    "empty": "",
    "deep": "[" * 100_000,
    "deep and closed": '{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "digits": '{"inputs": [' + "9" * 5000 + "]}",
    "not UTF-8": b'{"inputs": "\xff"}',
    "a list": "[1, 2]",
    "a number": "NaN",
    "no key": "{}",
    "two keys": '{"inputs": [1], "instances": [1]}',
    "a table": '{"dataframe_split": {"columns": ["a"], "data": [[1]]}}',
    "a named tensor of no cells": '{"inputs": {"cell": [1]}}',
    "a name in a name": '{"inputs": {"cell": {"cell": [1]}}}',
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"inputs": [1]}',
    "UTF-16": '{"inputs": [1]}'.encode("utf-16"),
    "parameters": '{"inputs": [1], "params": {"precision": "fp32"}}',
    "of a chat": '{"messages": [{"role": "user", "content": "hello"}]}',
}


def test_of_two_tensors_under_one_key_none_is_chosen(ask, cells):
    one, other = (json.dumps(some.tolist()) for some in (cells[:1], cells[1:2]))
    assert "a key that comes twice" in refused(ask(f'{{"inputs": {one}, "inputs": {other}}}'), 400)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ('{"inputs": {"protein": [], "nucleus": []}}', "inputs has names 'protein', 'nucleus'"),
        ('{"instances": {}}', "instances has no name"),
        ('{"instances": [{"protein": [], "well": "B02"}]}', "cell 0 has names 'protein', 'well'"),
        ('{"instances": [{"cell": []}, {"image": []}]}', "cell 1 has name 'image'.*name 'cell'"),
        ('{"instances": [{"cell": []}, []]}', "cell 1 is a list"),
    ],
)
def test_of_several_named_tensors_none_is_chosen(ask, said, named):
    assert re.search(named, refused(ask(said), 400))


@pytest.mark.parametrize("form", NAMED)
def test_a_model_takes_what_mlflow_itself_makes_of_a_named_tensor(cells, form):
    """As `mlflow models predict` does."""
    said = NAMED[form](cells.tolist())
    np.testing.assert_array_equal(as_images(infer_and_parse_data(said), 64), cells)


@pytest.mark.parametrize("case", BODIES)
def test_what_is_no_json_of_cells_is_refused(ask, case):
    assert "the request" in refused(ask(BODIES[case]), 400)


def pickled(cells) -> bytes:
    sink = io.BytesIO()
    np.save(sink, cells.astype(object), allow_pickle=True)
    return sink.getvalue()


ARRAYS = {
    "nothing": (lambda _: b"", "no .npy header"),
    "JSON": (lambda c: inputs(c).encode(), "no .npy header"),
    "objects": (pickled, "dtype object"),
    "truths": (lambda c: packed(c > 300), "dtype bool"),
    "channels last": (lambda c: packed(np.moveaxis(c, 1, 3)), "channels last"),
    "one cell alone": (lambda c: packed(c[0]), "3 axes"),
    "flat": (lambda c: packed(c.reshape(len(c), -1)), r"shape \(12, 8192\) has 2 axes"),
    "no cells": (lambda c: packed(c[:0]), "no cells"),
    "cut off": (lambda c: packed(c)[:-1], "196,607 bytes after .* expected 196,608 for shape"),
    "two arrays": (lambda c: packed(c) * 2, "expected 196,608 for shape"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_of_anything_else_is_refused(ask, cells, case):
    made, sentence = ARRAYS[case]
    assert re.search(sentence, refused(ask(made(cells), NPY), 400))


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        (None, "nothing found"),
        ("application/vnd.apache.parquet", "expected application/json or application/x-npy"),
        ("application/octet-stream", "expected application/json or application/x-npy"),
        ("text/csv", "'text/csv' found"),
        ("text/plain", "'text/plain' found"),
        (f"{JSON}; charset=latin-1", "charset 'latin-1'"),
    ],
)
def test_other_formats_are_refused(ask, cells, content_type, named):
    assert named in refused(ask(inputs(cells[:1]), content_type), 415)


def test_a_body_that_is_too_large_is_refused_with_a_sentence_not_a_broken_pipe(ask):
    for kind, said in ((JSON, "more than 16 MiB"), (NPY, "more than 65 MiB")):
        assert said in refused(ask(bytes(MAX_BYTES[kind] + 1), kind), 413)


def test_more_cells_than_a_request_may_bring_are_refused(ask):
    body = packed(np.zeros((MAX_CELLS + 1, 2, 64, 64), "u2"))
    assert f"{MAX_CELLS + 1:,} cells found" in refused(ask(body, NPY), 413)


def test_other_methods_and_places_are_refused(server):
    assert requests.get(server.invocations, timeout=PATIENCE).status_code == 405
    assert requests.post(f"{server.url}/other", timeout=PATIENCE).status_code == 404


def test_it_says_that_it_is_well_and_what_it_takes(server):
    assert requests.get(f"{server.url}/ping", timeout=PATIENCE).status_code == 200
    said = requests.get(f"{server.url}/openapi.json", timeout=PATIENCE).json()
    post = said["paths"]["/invocations"]["post"]
    assert set(post["requestBody"]["content"]) == {JSON, NPY}
    assert {"200", "400", "413", "415", "503"} <= set(post["responses"])
    (coding,) = post["parameters"]
    assert coding["name"] == "Content-Encoding" and "gzip" in coding["schema"]["enum"]
