"""audit.csv: what is kept, what a kill leaves, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow._utils import files
from coos_mlflow.audit.agreement import agreement
from coos_mlflow.audit.labels_file import (
    CANNOT_SEE,
    COLUMNS,
    MAX_LABELLER,
    Label,
    append,
    named,
    now,
    read_labels,
    sample_of,
    withdraw,
)
from coos_mlflow.audit.lock import locked
from coos_mlflow.errors import DataError, OutputError

ONE = Label(7, "P1", "B03", "Golgi", "Ada", "2026-01-01T10:00:00+00:00", 0.25, "s0123456789ab")


def labels_of(n: int, labeller: str = "Ada") -> list[Label]:
    return [replace(ONE, cell=cell, labeller=labeller) for cell in range(n)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.csv"


text = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)


@given(text, text, text)
def test_labels_come_back_as_they_were_given(tmp_path_factory, well, name, labeller):
    path = tmp_path_factory.mktemp("labels") / "audit.csv"
    given = [replace(ONE, well=well, label=name, labeller=labeller, cell=n) for n in range(3)]
    for label in given:
        append(path, label)
    assert read_labels(path, ONE.sample) == given


def test_what_is_added_leaves_what_was_there(path):
    append(path, ONE)
    before = path.read_bytes()
    append(path, replace(ONE, labeller="Bo"))
    append(path, labels_of(3, "Cy"))
    assert path.read_bytes().startswith(before)
    assert before.decode().splitlines()[0] == ",".join(COLUMNS)
    assert [label.labeller for label in read_labels(path)] == ["Ada", "Bo", *["Cy"] * 3]


def test_no_kill_costs_more_than_the_label_that_it_interrupts(path):
    append(path, labels_of(2))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        left = read_labels(path)
        assert left == labels_of(2)[: len(left)]
        assert len(left) >= whole[:length].count(b"\n") - 1
        append(path, replace(ONE, cell=99))
        assert read_labels(path) == [*left, replace(ONE, cell=99)]


def test_several_labels_are_added_all_or_none(path, monkeypatch):
    append(path, ONE)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        append(path, labels_of(5, "Bo"))
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["audit.csv"]


def test_a_labeller_takes_back_the_last_label_of_their_own(path):
    append(path, [*labels_of(2), *labels_of(1, "Bo")])
    assert withdraw(path, "Ada") == labels_of(2)[1]
    assert read_labels(path) == [*labels_of(1), *labels_of(1, "Bo")]
    assert withdraw(path, "Ada") == ONE.__class__(**{**vars(ONE), "cell": 0})
    assert withdraw(path, "Ada") is None
    assert read_labels(path) == labels_of(1, "Bo")


def test_no_file_holds_no_labels(path):
    assert read_labels(path) == [] and withdraw(path, "Ada") is None
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cell,label\n7,Golgi\n", "first line"),
        (",".join(COLUMNS) + "\n7,P1,B03,Golgi,Ada\n", "line 2"),
        (",".join(COLUMNS) + "\nseven,P1,B03,Golgi,Ada,T,0.5,s0123456789ab\n", "line 2"),
        (",".join(COLUMNS) + "\n-7,P1,B03,Golgi,Ada,T,0.5,s0123456789ab\n", "line 2"),
        (",".join(COLUMNS) + "\n7,P1,B03,,Ada,T,0.5,s0123456789ab\n", "line 2"),
        (
            ",".join(COLUMNS) + 2 * "\n7,P1,B03,Golgi,Ada,T,0.5,s0123456789ab" + "\n",
            "lines 2 and 3",
        ),
        (",".join(COLUMNS) + "\n7,P1,B03,Golgi,Ada,T,0.5,sffffffffffff\n", "another model version"),
    ],
)
def test_what_is_not_as_it_was_written_is_one_sentence(path, content, words):
    path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_labels(path, ONE.sample)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert path.read_text() == content


def test_a_file_of_a_spreadsheet_with_other_ends_of_lines_is_read(path):
    append(path, labels_of(2))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_labels(path) == labels_of(2)


def test_samples_differ_by_model_plate_and_kind_of_wells():
    facts = {
        "model": {"name": "m", "version": "1", "id": "m-1"},
        "plate_file": {"sha256": "ab"},
        "precision": "fp32",
        "mixed_wells": False,
        "layout": None,
    }
    others = [
        facts,
        facts | {"model": facts["model"] | {"version": "2"}},
        facts | {"model": facts["model"] | {"id": "m-2"}},
        facts | {"plate_file": {"sha256": "cd"}},
        facts | {"mixed_wells": True},
    ]
    assert len({sample_of(one) for one in others}) == len(others)
    assert sample_of(facts | {"layout": {"name": "map.csv"}}) == sample_of(facts)
    assert re.fullmatch("s[0-9a-f]{12}", sample_of(facts))


def test_names_of_labellers():
    assert named("  Ada ") == "Ada"
    for bad in ("", "  ", "a\nb", "a\0", "x" * (MAX_LABELLER + 1)):
        with pytest.raises(DataError, match="labeller"):
            named(bad)
    assert now().endswith("+00:00")


def test_agreement_is_that_of_a_published_example():
    """Cohen's kappa of 50 grants by two readers: 0.4 (Wikipedia, "Cohen's kappa")."""
    answers = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10
    answers += [("no", "no")] * 15
    labels = []
    for cell, (first, second) in enumerate(answers):
        labels.append(replace(ONE, cell=cell, label=first))
        labels.append(replace(ONE, cell=cell, label=second, labeller="Bo"))
    labels.append(replace(ONE, cell=99, label="yes"))
    labels += [replace(ONE, cell=98, label="yes"), replace(ONE, cell=98, label=CANNOT_SEE)]
    labels[-1] = replace(labels[-1], labeller="Bo")
    found = agreement(labels, "Ada")
    assert found["n_cells"] == 50 and found["agree"] == pytest.approx(0.7)
    assert found["kappa"] == pytest.approx(0.4)
    assert agreement(labels_of(3), "Ada") is None
    alike = agreement([*labels_of(3), *labels_of(3, "Bo")], "Ada")
    assert alike == {"n_cells": 3, "agree": 1.0, "kappa": None}


def test_one_holds_the_lock_at_a_time(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from coos_mlflow.audit.lock import locked\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    folder = tmp_path / "plate"
    with locked(folder, make=False):  # never labelled
        assert list(tmp_path.iterdir()) == []
    with locked(folder), locked(folder, make=False):
        other = subprocess.run(
            [sys.executable, "-c", code, str(folder)], check=False, capture_output=True, text=True
        )
    assert "OutputError" in other.stderr and "being labelled" in other.stderr
    with locked(folder):
        pass
