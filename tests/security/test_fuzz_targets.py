"""The targets of coverage-guided runs hold for what hypothesis makes up, and can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coos_mlflow.errors import DataError


@pytest.fixture(scope="module")
def targets(fuzz):
    from fuzz import request_bodies, well_ids

    return {"wells": well_ids, "bodies": request_bodies}


briefly = settings(max_examples=150)
lines = st.lists(
    st.binary(max_size=12)
    | st.from_regex(
        rb"[A-Pa-p][0-9]{1,3}|[0-9]{9}|i-?[0-9]{1,21}| [a-p]0[0-9] ?|"
        rb"[a-f]{1,2}[ -_/]{0,3}[0-9]{1,2}[_(]?(s|fld|/|Seq)?[0-9]{0,2}[)]?|"
        rb"[0-9]{1,2}[-,][0-9]{1,2}",
        fullmatch=True,
    )
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
).map(b"\n".join)

numbers = st.integers(-70000, 70000) | st.floats() | st.none() | st.booleans() | st.text(max_size=3)
nested = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
documents = st.dictionaries(
    st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records", "params", ""]),
    nested | st.dictionaries(st.text(max_size=8), nested, max_size=3),
    max_size=3,
).map(lambda document: json.dumps(document).encode())
pieces = [b"@C", b"@R", b"@A", b"@P", b"@G", b"[", b"]", b",", b'{"inputs":', b"}"]
bodies = st.builds(
    lambda choice, headers, body: bytes([choice]) + headers + body,
    st.integers(0, 5),
    st.sampled_from([b"", b"application/json|gzip\n", b"application/json|br\n"]),
    documents | st.binary(max_size=60) | st.text(max_size=60).map(str.encode)
    | st.lists(st.sampled_from(pieces)).map(b"".join),
)  # fmt: skip

words = st.text(st.characters(codec="latin-1"), max_size=20)
literals = st.recursive(
    st.integers() | st.booleans() | st.none() | st.floats() | words | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
).map(lambda value: repr(value).encode("latin-1", "replace").decode("latin-1"))
descrs = st.sampled_from(["'<u2'", "'>f4'", "'|O'", "'2u2'", "'u2,u2'", "[('a', '<u2')]"])
shapes = st.tuples(st.integers(-1, 3), st.just(2), st.just(64), st.just(64)).map(str)


@briefly
@given(data=lines)
def test_ids_of_any_bytes(targets, data):
    targets["wells"].try_bytes(data)


@briefly
@given(data=bodies)
def test_bodies_of_any_bytes(targets, data):
    targets["bodies"].try_bytes(data)


@briefly
@given(
    descr=descrs | literals | words,
    shape=shapes | literals | words,
    order=st.sampled_from(["True", "False", "0", ""]),
)
def test_headers_of_any_text(targets, descr, shape, order):
    npy = targets["bodies"].npy(descr, shape, order)
    targets["bodies"].try_bytes(b"\1" + npy)


@pytest.mark.parametrize(("name", "taken"), [("wells", 6), ("bodies", 9)])
def test_examples_reach_both_ends(targets, name, taken):
    target = targets[name]
    assert sum(map(target.try_bytes, target.EXAMPLES)) == taken


def test_ids_that_are_too_long_are_refused(targets):
    assert targets["wells"].try_bytes(b"x" * 256)
    assert not targets["wells"].try_bytes(b"x" * 257)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clean_ids", lambda *_: (_ for _ in ()).throw(KeyError("id"))),
        ("clean_ids", lambda *_: (_ for _ in ()).throw(DataError("why not"))),
        ("parse_well", lambda text: __import__("types").SimpleNamespace(row=33, column=1)),
        ("well_positions", lambda names: (np.zeros(len(names)), np.ones(len(names)))),
    ],
)
def test_a_faulty_reader_of_ids_is_noticed(targets, monkeypatch, name, value):
    monkeypatch.setattr(targets["wells"], name, value)
    with pytest.raises((AssertionError, KeyError)):
        targets["wells"].try_bytes(b"B03\nx")


@pytest.mark.parametrize("sentence", ["two\nlines.", "", "no full stop", "x" * 2000 + "."])
def test_a_faulty_refusal_of_a_body_is_noticed(targets, monkeypatch, sentence):
    def refuse(*_):
        raise DataError(sentence)

    monkeypatch.setattr(targets["bodies"], "decode", refuse)
    with pytest.raises(AssertionError):
        targets["bodies"].try_bytes(b"\0{}")


def test_cells_that_nobody_checked_are_noticed(targets, monkeypatch, random_cells):
    cells = random_cells(2)
    for wrong in (cells.astype(float), cells[:, :1], cells[:0], cells * 0):
        monkeypatch.setattr(targets["bodies"], "decode", lambda *_, wrong=wrong: wrong)
        with pytest.raises((AssertionError, DataError)):
            targets["bodies"].try_bytes(b"\0{}")
