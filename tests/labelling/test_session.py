"""A person's labels of a plate: which cells, in which order, what is kept, what is not told."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coos_mlflow.audit.labels_file import CANNOT_SEE, NONE_WORDS, read_labels
from coos_mlflow.errors import DataError
from coos_mlflow.labelling.session import NEIGHBOURS, REFERENCES, NotAskedError
from coos_mlflow.scoring.audited import order_of


def kept(session) -> list[tuple[int, str, str]]:
    labels = read_labels(session.folder / "audit.csv")
    return [(one.cell, one.label, one.labeller) for one in labels]


def untold(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a state tells beside the person's own last label."""
    return {key: value for key, value in state.items() if key != "last"}


def test_the_cells_are_the_beginning_of_the_sequence(begin, label):
    for asked in (20, 30):
        session = begin(cells=asked)
        label(session, 20 if asked == 20 else 10)
        rows = order_of(session.frame)[:asked]
        assert {cell for cell, _, _ in kept(session)} == set(session.frame.cells[rows].tolist())
        assert session.progress()["cell"] is None


def test_each_label_is_on_disk_at_once_and_the_next_start_goes_on(begin, truths):
    first = begin()
    said = []
    for answer in ("the truth", NONE_WORDS, CANNOT_SEE):
        cell = first.progress()["cell"]
        first.record(cell, answer := truths[cell] if answer == "the truth" else answer)
        said.append((cell, answer, "Ada"))
        assert kept(first) == said
    following = first.progress()
    again = begin().progress()
    assert (again["done"], again["cell"]) == (3, following["cell"])


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (lambda cell, later, done: (cell, "mitochondrion"), DataError, "'mitochondrion'"),
        (lambda cell, later, done: (cell, ""), DataError, "expected one of"),
        (lambda cell, later, done: (10**9, CANNOT_SEE), DataError, "not one of those"),
        (lambda cell, later, done: (-1, CANNOT_SEE), DataError, "not one of those"),
        (lambda cell, later, done: (done, CANNOT_SEE), NotAskedError, "has its label already"),
        (lambda cell, later, done: (later, CANNOT_SEE), NotAskedError, "not the one"),
    ],
)
def test_what_was_not_asked_is_refused_and_not_kept(session, label, wrong, kind, words):
    (done,) = label(session, 1)
    cell = session.progress()["cell"]
    later = next(other for other in session._places if other not in (done, cell))
    before = kept(session)
    with pytest.raises(kind, match=words) as refused:
        session.record(*wrong(cell, later, done))
    assert type(refused.value) is kind and "\n" not in str(refused.value)
    assert kept(session) == before and session.progress()["cell"] == cell


def test_undo_takes_back_labels_until_the_models_were_shown(session, label):
    cells = label(session, 3)
    session.shown()
    with pytest.raises(NotAskedError):
        session.undo()
    label(session, 2)
    session.undo()
    session.undo()
    assert [cell for cell, _, _ in kept(session)] == cells
    assert session.progress()["last"] is None
    with pytest.raises(NotAskedError):
        session.undo()


def test_a_second_person_gets_the_same_cells_from_the_start(begin, label):
    first = label(begin("Ada"), 12)
    second = begin("Bo")
    assert second.progress()["done"] == 0
    assert label(second, 12) == first
    assert Counter(name for _, _, name in kept(second)) == {"Ada": 12, "Bo": 12}
    second.undo()
    assert Counter(name for _, _, name in kept(second)) == {"Ada": 12, "Bo": 11}


def test_the_width_moves_with_every_tenth_cell_alone(begin, session, label):
    """After each cell it would tell whether the model had said the same."""
    widths = []
    for _ in range(30):
        widths.append(session.progress()["width"])
        label(session, 1)
    widths.append(session.progress()["width"])
    assert set(widths[:10]) == {""}
    for start in (10, 20):
        (words,) = set(widths[start : start + 10])
        assert words.startswith("range so far: ") and words.endswith(" points wide")
    assert len({widths[10], widths[20], widths[30]}) > 1


def test_no_state_depends_on_what_is_said_before_ten_cells(begin, session, label, folder):
    rightly = [untold(session.progress())]
    for _ in range(9):
        label(session, 1)
        rightly.append(untold(session.progress()))
    (folder / "audit.csv").unlink()
    wrongly = begin()
    for state in rightly:
        assert untold(wrongly.progress()) == state
        wrongly.record(state["cell"], NONE_WORDS)


def test_a_label_taken_back_does_not_tell_by_the_width(session, label):
    label(session, 10)
    before = session.progress()["width"]
    session.undo()
    session.record(session.progress()["cell"], NONE_WORDS)
    assert session.progress()["width"] == before


def test_a_small_plate_is_asked_for_as_a_whole(begin):
    session = begin(cells=10_000)
    state = session.progress()
    assert state["target"] == len(session.frame) and state["all"]
    assert not begin(cells=len(session.frame) - 1).progress()["all"]


def test_pictures_are_smooth_and_large(session):
    pictures = session.picture(session.progress()["cell"])
    sizes = {name: Image.open(io.BytesIO(picture)) for name, picture in pictures.items()}
    assert sizes["composite"].size == (512, 512)
    for name in ("protein", "nucleus"):
        assert min(sizes[name].size) >= 256
        red, green, blue = np.asarray(sizes[name].convert("RGB")).reshape(-1, 3).T.astype(int)
        assert abs(red - green).max() <= 2 and abs(red - blue).max() <= 2
    # Enlarged eight times without blocks: no pixel differs much from the next one.
    green = np.asarray(sizes["composite"].convert("RGB"))[..., 1].astype(int)
    assert np.percentile(abs(np.diff(green, axis=1)), 99) < 40


def test_neighbours_are_other_cells_of_the_same_well(session, monkeypatch):
    seen: list[int] = []
    read = session._image
    monkeypatch.setattr(session, "_image", lambda cell: seen.append(cell) or read(cell))
    cell = session.progress()["cell"]
    assert len(session.neighbours(cell)) == NEIGHBOURS == len(set(seen))
    frame = session.frame
    well = frame.wells[frame.cells == cell][0]
    assert {frame.wells[frame.cells == one][0] for one in seen} == {well} and cell not in seen
    with pytest.raises(DataError):
        session.neighbours(10**9)


def test_references_are_training_cells_of_each_class(session):
    known = session.references()
    assert len(known) == session.dataset.n_classes
    assert all(1 <= len(pictures) <= REFERENCES for pictures in known)


def test_labels_of_another_model_are_refused(begin, label, folder):
    session = begin()
    label(session, 2)
    path = folder / "audit.csv"
    path.write_text(path.read_text().replace(kept_sample(folder), "s" + "0" * 12))
    with pytest.raises(DataError, match="another model version or plate"):
        begin()


def kept_sample(folder) -> str:
    (sample,) = {one.sample for one in read_labels(folder / "audit.csv")}
    return sample
