"""Cells that cannot be scored, and cells that stand in a plate twice: what is flagged and told."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError
from coos_mlflow.plates.copies import CopyFinder, cell_digests
from coos_mlflow.plates.flags import (
    CONSTANT,
    COPY,
    IDENTICAL,
    NOT_FINITE,
    USABLE,
    check_images,
    flag_unusable,
)
from coos_mlflow.plates.reader import PlateWriter, open_plate
from coos_mlflow.plates.summary import inspect


def changed(cells: np.ndarray, flag: int, row: int) -> None:
    if flag == CONSTANT:
        cells[row, 1] = 7
    elif flag == IDENTICAL:
        cells[row, 1] = cells[row, 0]
    elif flag == NOT_FINITE:
        cells[row, 0, 3, 3] = np.nan


def file_of(path: Path, cells: np.ndarray) -> Path:
    """Write a plate past the writer, which refuses unusable cells."""
    with h5py.File(path, "w") as file:
        file["data"] = cells
    return path


def checked(path: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", str(path)], catch_exceptions=True)
    text = result.output if result.exception is None else str(result.exception)
    return result.exit_code, " ".join(text.split())


@pytest.mark.parametrize("flag", [CONSTANT, IDENTICAL, NOT_FINITE])
def test_one_unusable_cell_is_flagged_and_the_others_are_not(random_cells, flag) -> None:
    cells = random_cells(30, dtype="float32")
    changed(cells, flag, 17)
    flags = flag_unusable(cells, "plate")
    assert flags[17] == flag
    assert (np.delete(flags, 17) == USABLE).all()
    with pytest.raises(DataError, match="cell 17, channel"):
        check_images(cells, "the request")


@pytest.mark.parametrize(
    ("value", "words"), [(-1, "negative"), (70_000, "above 65535"), (1.0, "scaled")]
)
def test_what_speaks_against_all_cells_is_refused_beside_an_unusable_one(
    random_cells, value, words
) -> None:
    cells = random_cells(30, dtype="float32")
    changed(cells, NOT_FINITE, 3)
    if value == 1.0:
        cells[20, 0] /= cells[20, 0].max()
    else:
        cells[20, 0, 5, 5] = value
    with pytest.raises(DataError, match=f"cell 20, channel 0 .*{words}"):
        flag_unusable(cells, "plate")


def test_a_channel_that_is_constant_in_single_precision_is_flagged(tmp_path, random_cells) -> None:
    cells = random_cells(30).astype(np.float64)
    cells[4, 0] = 300 + 1e-9 * cells[4, 0]
    with open_plate(file_of(tmp_path / "p.h5", cells)) as plate:
        (batch,) = plate.batches(keep_unusable=True)
    assert np.flatnonzero(batch.flags).tolist() == [4] and batch.flags[4] == CONSTANT


def test_check_counts_cells_that_cannot_be_scored(tmp_path, random_cells) -> None:
    cells = random_cells(60, dtype="float32")
    for flag, row in ((CONSTANT, 5), (NOT_FINITE, 59)):
        changed(cells, flag, row)
    path = file_of(tmp_path / "plate.h5", cells)
    code, text = checked(path)
    assert code == 0
    assert "2 of 60 cells cannot be scored and get no label" in text
    assert "constant channel (1), not a finite number (1)" in text
    assert "Every cell passed" not in text
    # Their pixels are no intensities of the plate.
    nucleus = np.delete(cells[:, 1], [5, 59], axis=0)
    assert inspect(path).channels[1].minimum == nucleus.min()


def test_a_plate_with_more_than_5_percent_unusable_cells_is_refused(tmp_path, random_cells) -> None:
    cells = random_cells(60)
    for row in range(20, 23):
        changed(cells, CONSTANT, row)
    assert checked(file_of(tmp_path / "at_the_limit.h5", cells))[0] == 0
    changed(cells, CONSTANT, 23)
    code, sentence = checked(file_of(tmp_path / "beyond.h5", cells))
    assert code != 0
    assert "cell 20, channel 1 (nucleus): 7 stands in every pixel" in sentence
    assert "4 of 60 cells cannot be used: constant channel (4); expected at most 5 %" in sentence


def test_protein_and_nucleus_that_are_the_same_images_are_refused(tmp_path, random_cells) -> None:
    cells = random_cells(12)
    cells[:, 1] = cells[:, 0]
    code, sentence = checked(file_of(tmp_path / "same.h5", cells))
    assert code != 0 and "both channels, which are the same image" in sentence
    assert "12 of 12 cells" in sentence
    with (
        pytest.raises(DataError, match="both channels, which are the same image"),
        PlateWriter(tmp_path / "new.h5", 12) as writer,
    ):
        writer.append(cells)
    assert not (tmp_path / "new.h5").exists()


def test_check_counts_the_same_cell_twice(tmp_path, random_cells) -> None:
    cells = random_cells(40)
    cells[30:34] = cells[2]
    code, text = checked(file_of(tmp_path / "plate.h5", cells))
    assert code == 0
    assert "4 of 40 cells are copies of earlier cells" in text


def test_cells_that_share_one_channel_are_no_copies(random_cells) -> None:
    """The same nucleus beside several dyes makes several cells."""
    cells = random_cells(10)
    cells[5, 1] = cells[4, 1]
    found = CopyFinder().flagged(flag_unusable(cells, "plate"), cell_digests(cells))
    assert (found == USABLE).all()


@given(
    drawn=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    unusable=st.sets(st.integers(0, 5)),
    size=st.integers(1, 30),
)
def test_all_but_the_first_of_each_usable_cell_are_copies_in_any_batches(
    drawn, unusable, size
) -> None:
    rows = np.array(drawn)
    flags = np.where(np.isin(rows, list(unusable)), CONSTANT, USABLE).astype(np.int8)
    finder = CopyFinder()
    found = np.concatenate(
        [
            finder.flagged(flags[at : at + size], rows[at : at + size].astype(np.uint64))
            for at in range(0, len(rows), size)
        ]
    )
    assert (found[flags == CONSTANT] == CONSTANT).all()
    first = rows[found == USABLE].tolist()
    assert sorted(first) == sorted(set(drawn) - unusable)
    assert ((found == COPY) | (found == USABLE) | (found == CONSTANT)).all()


def test_a_digest_tells_the_place_of_a_pixel(random_cells) -> None:
    cells = random_cells(2)
    cells[1] = cells[0]
    cells[1, 0, 0, :2] = cells[1, 0, 0, 1::-1]
    cells[0, 0, 0, :2] = (100, 200)
    cells[1, 0, 0, :2] = (200, 100)
    assert len(set(cell_digests(cells).tolist())) == 2
    flipped = np.ascontiguousarray(cells[:, ::-1])
    assert not set(cell_digests(flipped).tolist()) & set(cell_digests(cells).tolist())
