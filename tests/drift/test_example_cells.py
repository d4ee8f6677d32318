"""Example cells: the best of each class and of each well, for any division into batches."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift import example_cells
from coos_mlflow.drift.example_cells import MAX_WELLS, PER_CLASS, ROLES, WELL_ROLES, ExamplePicker
from coos_mlflow.plates.schema import Origins

N = 240


@pytest.fixture
def streamed(random_cells, monkeypatch):
    """Factory: a picker that got 240 cells of two plates with six wells each, in batches."""
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet(np.ones(7), N).astype(np.float64)
    novelty = rng.gamma(4, 0.3, N)
    plates = np.array(["P1", "P2"])[np.arange(N) * 2 // N]
    wells = np.array([f"B{column:02d}" for column in range(1, 7)])[np.arange(N) % 6]
    images = random_cells(N)

    def stream(size: int, order: np.ndarray | None = None, **columns) -> ExamplePicker:
        order = np.arange(N) if order is None else order
        columns = {"plates": plates, "wells": wells} | columns
        picker = ExamplePicker(7)
        for start in range(0, N, size):
            rows = order[start : start + size]
            own = {key: None if v is None else v[rows] for key, v in columns.items()}
            origins = Origins(np.arange(start, start + len(rows)), **own)
            thumbnails = images[rows].__getitem__
            picker.add(origins, probabilities[rows], novelty[rows], thumbnails)
        return picker

    stream.facts = (probabilities, novelty, plates, wells)
    return stream


def of_role(picker, role):
    return [cell for cell in picker.cells() if cell["role"] == role]


def test_the_cells_of_a_class_are_the_first_by_each_rank(streamed):
    probabilities, novelty, _, _ = streamed.facts
    labels = probabilities.argmax(axis=1)
    picker = streamed(64)
    ranks = dict(zip(ROLES, (novelty, probabilities.max(axis=1), -novelty), strict=True))
    for role, rank in ranks.items():
        for label in range(7):
            rows = np.flatnonzero(labels == label)
            best = rows[np.argsort(rank[rows])][:PER_CLASS].tolist()
            indices = [cell["index"] for cell in of_role(picker, role) if cell["label"] == label]
            assert indices == best


def test_each_well_keeps_its_most_typical_least_sure_and_farthest_cell(streamed):
    probabilities, novelty, plates, wells = streamed.facts
    picker = streamed(50)
    ranks = dict(zip(WELL_ROLES, (novelty, probabilities.max(axis=1), -novelty), strict=True))
    for role, rank in ranks.items():
        cells = of_role(picker, role)
        assert len(cells) == 12
        for cell in cells:
            rows = np.flatnonzero((plates == cell["plate"]) & (wells == cell["well"]))
            assert cell["index"] == rows[rank[rows].argmin()]


@pytest.mark.parametrize("size", [1, 7, 240])
def test_batches_do_not_matter(streamed, size):
    picker, whole = streamed(size), streamed(101)
    assert picker.cells() == whole.cells()
    thumbnails, others = picker.thumbnails(), whole.thumbnails()
    assert thumbnails.keys() == others.keys()
    assert all(np.array_equal(thumbnails[index], others[index]) for index in thumbnails)


def test_every_cell_of_drift_json_has_a_thumbnail(streamed):
    picker = streamed(64)
    assert {cell["index"] for cell in picker.cells()} == set(picker.thumbnails())


def test_picking_from_what_blocks_have_picked_is_picking_from_all(streamed, monkeypatch):
    """A part has thumbnails only of the cells that were picked in its block."""
    monkeypatch.setattr(example_cells, "PER_CLASS", 1)
    probabilities, novelty, plates, wells = streamed.facts
    whole, picker = streamed(240), ExamplePicker(7)
    for start in range(0, N, 120):
        rows = slice(start, start + 120)
        origins = Origins(np.arange(start, start + 120), plates[rows], wells[rows])
        own = ExamplePicker(7)
        own.add(origins, probabilities[rows], novelty[rows], str)
        kept = {index - start: thumbnail for index, thumbnail in own.thumbnails().items()}
        assert len(kept) < 60
        picker.add(origins, probabilities[rows], novelty[rows], kept.get)
    assert picker.cells() == whole.cells()


def test_what_is_told_of_a_cell_is_ready_for_drift_json(streamed):
    probabilities, _, _, _ = streamed.facts
    cell = of_role(streamed(64), "doubtful")[0]
    assert set(cell) == {"index", "role", "label", "confidence", "distance", "plate", "well"}
    assert cell["confidence"] == float(f"{probabilities[cell['index']].max():.6g}")


def test_without_well_ids_there_are_no_cells_of_wells(streamed):
    picker = streamed(64, plates=None, wells=None)
    assert {cell["role"] for cell in picker.cells()} == set(ROLES)
    assert not any("plate" in cell or "well" in cell for cell in picker.cells())


def test_wells_without_plate_ids_are_kept(streamed):
    cells = of_role(streamed(64, plates=None), WELL_ROLES[0])
    assert [cell["well"] for cell in cells] == [f"B{column:02d}" for column in range(1, 7)]
    assert "plate" not in cells[0]


def test_the_nearest_plates_wells_are_let_go_of_first(streamed, monkeypatch):
    _, novelty, plates, _ = streamed.facts
    monkeypatch.setattr(example_cells, "MAX_WELLS", 6)
    for farthest in ("P1", "P2"):
        novelty[plates == farthest] += 5
        assert {cell["plate"] for cell in of_role(streamed(60), WELL_ROLES[0])} == {farthest}
        novelty[plates == farthest] -= 5


def test_pictures_are_bounded_for_any_number_of_wells(streamed, monkeypatch):
    monkeypatch.setattr(example_cells, "MAX_WELLS", 5)
    names = np.array([f"no place {n}" for n in range(N)])
    picker = streamed(32, plates=None, wells=names)
    assert len({cell["well"] for cell in of_role(picker, WELL_ROLES[0])}) == 5
    assert MAX_WELLS == 4 * 16 * 24
